// Signed orders to redact, between the wire and the values that agents, the coordinator and the command line use. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/crypto/sign.h"
#include "common/policy/model.h"

namespace bailiwick::rpc {

inline constexpr size_t kMaxRedactedContents = 2000;
inline constexpr size_t kMaxRedactedChunks = 20'000;

struct RedactionOrder {  // fields as in agent.v1.RedactionOrder
  std::string order_id;
  std::string trust_domain;
  DatasetId dataset_id;
  std::string dataset;
  std::vector<Digest> contents, chunks;
  std::string reason;
  absl::Time issued_at;
  bool override_locks = false;
};

std::string EncodeRedaction(const RedactionOrder& order);
// PERMISSION_DENIED unless the threshold of the world's root signed it, for its trust domain. INVALID_ARGUMENT: signed,
// but not usable.
absl::StatusOr<RedactionOrder> OpenRedaction(const crypto::Envelope& envelope, const policy::World& world);
// What it says, without a look at signatures: of one that waits for them, or was verified before.
absl::StatusOr<RedactionOrder> ReadRedaction(const crypto::Envelope& envelope);
// "the order has 1 of 2 signatures of the policy root"; empty when nothing is missing.
std::string MissingSignatures(const crypto::Envelope& envelope, const policy::World& world);

}  // namespace bailiwick::rpc
