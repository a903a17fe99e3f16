// spiffe://<trust-domain>/region/<r>/site/<s>/agent/<a>, /admin/<name>, /coordinator. A region has slashes of its own.
// (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md)
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace bailiwick::identity {

enum class Kind { kAgent, kAdmin, kCoordinator };

struct SpiffeId {
  Kind kind = Kind::kAgent;
  std::string trust_domain;
  std::string region;  // agents
  std::string site;    // agents
  std::string name;    // agent or admin
  std::string str() const;
  bool operator==(const SpiffeId&) const = default;
};

absl::StatusOr<SpiffeId> ParseSpiffeId(std::string_view uri);  // strict; INVALID_ARGUMENT

}  // namespace bailiwick::identity
