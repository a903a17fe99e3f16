// Signed receipts of erasures, between the wire and the values that agents, the coordinator and the command line use.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/agent/v1/evict.pb.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/crypto/sign.h"
#include "common/policy/model.h"

namespace bailiwick::rpc {

struct VersionRef {
  VersionNumber number = 0;
  Digest identity;
  bool operator==(const VersionRef&) const = default;
};

struct ErasureReceipt {  // fields as in agent.v1.ErasureReceipt
  std::string receipt_id;
  DatasetId dataset_id;
  std::string dataset;
  std::string site;
  std::string agent;
  std::vector<VersionRef> versions;
  uint64_t bytes = 0;
  bool everything = false;
  std::string cause;
  std::string rule;
  uint64_t policy_revision = 0;
  std::string policy_digest;
  std::optional<absl::Time> fenced_at;
  absl::Time erased_at;
  std::string method;
  std::string order_id;  // of a redaction
  uint64_t chunks = 0;
  std::vector<std::string> held_at;  // of what a home gave up
};

// The key that the world pins for the agent that `what` names. PERMISSION_DENIED: none, or the agent is not of `site`.
absl::StatusOr<std::string> PinnedAgentKey(const std::string& what, const std::string& agent, const std::string& site,
                                           const policy::World& world);

void ToProto(const VersionRef& version, agent::v1::VersionRef* out);
absl::StatusOr<VersionRef> FromProto(const agent::v1::VersionRef& version);

std::string EncodeReceipt(const ErasureReceipt& receipt);
// PERMISSION_DENIED unless the key that the world pins for the agent named in it signed it. INVALID_ARGUMENT: signed,
// but not usable.
absl::StatusOr<ErasureReceipt> OpenReceipt(const crypto::Envelope& envelope, const policy::World& world);

}  // namespace bailiwick::rpc
