// What a law says in vain: rules that can never apply, rules that others always overrule, sites and datasets that no
// rule serves. A finding is never wrong about the world given; what the law does not declare (sites to come) may still
// make use of a rule, so all are warnings but those about sets that have expired. Pure, deterministic.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

struct NamedData {  // a dataset, as law sees it
  std::string name;
  Labels labels;
  std::string home;  // site; empty for a family
};

struct LawFinding {
  enum class About { kRule, kSet, kSite, kDataset };
  About about = About::kRule;
  bool error = false;
  std::string
      code;  // contradiction, ended, flapping, shadowed, redundant, unmatched, expired, expiring, unused, uncovered
  std::string policy;  // of rules and sets
  std::string name;    // rule id, set, site or dataset
  std::string part;    // of a rule: "data", "from", "to", "when", "effect"
  std::string text;
};

inline constexpr absl::Duration kExpiringSoon = absl::Hours(24 * 30);

// In the order: rules as in the world, sets, sites, datasets.
std::vector<LawFinding> CheckLaw(const World& world, const std::vector<NamedData>& datasets, absl::Time now);

}  // namespace bailiwick::policy
