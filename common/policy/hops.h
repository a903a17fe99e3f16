// How far copies may go from their home (maxHops, noTransit). What obliged any of the hops that led to a copy binds all
// that is made from it, as reach.h follows it. Pure, thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/policy/evaluator.h"

namespace bailiwick::policy {

struct Hop {  // one transfer that was made
  std::string from_site;
  std::string to_site;
  std::string purpose;
  absl::Time at;
};

// Whether a permit that may be about such data bounds hops: only then does it matter how a copy came.
bool BoundsHops(const World& world, const Labels& data);

struct HopLimit {
  static constexpr uint32_t kAny = UINT32_MAX;
  uint32_t max = kAny;     // transfers, counted from the home
  std::string obligation;  // that says so: "maxHops: 2", "noTransit"
  std::string rule;        // whose it is
};

// The strictest bound that `world` puts on any of the hops, each judged as of its time; one that it would not have
// permitted binds nothing. FAILED_PRECONDITION: one cannot be evaluated, which denies; the message says why.
absl::StatusOr<HopLimit> CarriedLimit(const World& world, const Labels& data, const std::string& home_site,
                                      const std::vector<Hop>& hops);

struct HopVerdict {
  bool permitted = true;
  std::string sentence;  // which obligation forbids it, when it is not
  std::string rule;
};

// May a permitted flow go, of a copy that `hops` transfers brought from the home to the sender under `carried`?
// `obligations`: of the flow's permit. `flow.home_site` must be set.
HopVerdict CheckHops(const World& world, const HopLimit& carried, size_t hops, const Flow& flow,
                     const Obligations& obligations, absl::Time now);

}  // namespace bailiwick::policy
