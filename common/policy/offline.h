// What sites may grant themselves while the coordinator is out of reach: the delegations of the signed law. Pure and
// thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

// The delegation that covers flows between sites of the two regions: of those whose jurisdiction contains both the one
// that lasts longest. Where any guardrail policy delegates, one of each tier must, and the shorter counts. nullopt:
// none covers both.
std::optional<Offline> SelfGrantLimit(const World& world, const std::string& from_region, const std::string& to_region);

// Why a site may not grant itself a flow between the two regions now: the code as in transfer.v1.Goodbye and a
// sentence. `called_current`: when a signed word last said that this law is the current one. Empty code: it may.
struct SelfGrantRefusal {
  std::string code;  // NOT_DELEGATED, POLICY_STALE
  std::string message;
};
SelfGrantRefusal CheckSelfGrant(const World& world, const std::string& from_region, const std::string& to_region,
                                absl::Time called_current, absl::Time now);

}  // namespace bailiwick::policy
