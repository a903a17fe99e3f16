#include "common/policy/offline.h"

#include "absl/strings/str_cat.h"
#include "common/base/units.h"

namespace bailiwick::policy {

std::optional<Offline> SelfGrantLimit(const World& world, const std::string& from_region,
                                      const std::string& to_region) {
  std::optional<Offline> guardrail, policy;
  bool guarded = false;
  for (const Offline& offline : world.offline) {
    const bool of_guardrail = offline.tier == Tier::kGuardrail;
    guarded |= of_guardrail;
    if (!RegionContains(offline.jurisdiction, from_region) || !RegionContains(offline.jurisdiction, to_region))
      continue;
    std::optional<Offline>& best = of_guardrail ? guardrail : policy;
    if (!best.has_value() || best->max_staleness < offline.max_staleness) best = offline;
  }
  if (!guarded || !policy.has_value()) return policy;
  if (!guardrail.has_value()) return std::nullopt;
  return guardrail->max_staleness < policy->max_staleness ? guardrail : policy;
}

SelfGrantRefusal CheckSelfGrant(const World& world, const std::string& from_region, const std::string& to_region,
                                absl::Time called_current, absl::Time now) {
  const std::optional<Offline> limit = SelfGrantLimit(world, from_region, to_region);
  if (!limit.has_value()) {
    return {"NOT_DELEGATED", absl::StrCat("policy revision ", world.revision, " lets no site grant itself flows from ",
                                          from_region, " to ", to_region)};
  }
  if (called_current == absl::InfinitePast()) {
    return {"POLICY_STALE",
            absl::StrCat("nobody has said yet that policy revision ", world.revision, " is the current one")};
  }
  const absl::Duration age = now - called_current;
  if (age < limit->max_staleness) return {};
  return {"POLICY_STALE", absl::StrCat("policy revision ", world.revision, " was last called current ", FormatAge(age),
                                       " ago; policy ", limit->policy, " lets sites below ", limit->jurisdiction,
                                       " grant themselves flows for ", FormatAge(limit->max_staleness))};
}

}  // namespace bailiwick::policy
