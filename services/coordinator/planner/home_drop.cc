#include "services/coordinator/planner/home_drop.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/coordinator/planner/targets.h"

namespace bailiwick::coordinator {

HomeDrop PlanHomeDrop(const PlanInput& input, const PlannedDataset& dataset, const std::set<VersionNumber>& kept,
                      const std::set<std::string>& heard) {
  HomeDrop drop;
  if (dataset.drop_after == 0) return drop;
  std::set<VersionNumber> here = HeldAt(dataset, dataset.home_site);
  for (const auto& [number, base] : dataset.partial) here.insert(number);
  if (here.empty()) return drop;
  const absl::Duration at_home = RetentionAt(input, dataset, dataset.home_site);
  // A copy that has to go before the home's would have to is none to rely on.
  std::set<std::string> counted;
  for (const auto& [name, numbers] : dataset.held) {
    const PlannedSite* site = FindSite(input, name);
    if (name == dataset.home_site || heard.count(name) == 0 || site == nullptr) continue;
    if (!site->connected || !site->approved || RetentionAt(input, dataset, name) < at_home) continue;
    counted.insert(name);
  }
  for (VersionNumber number : here) {
    std::set<std::string> holders;
    for (const std::string& name : counted) {
      if (HeldAt(dataset, name).count(number) != 0) holders.insert(name);
    }
    const bool newest = number == *here.rbegin();
    if (kept.count(number) != 0) {
      if (newest) drop.waits = absl::StrCat("a hold or a pin keeps version ", number);
    } else if (holders.size() >= dataset.drop_after) {
      drop.versions.insert(number);
      for (const std::string& name : holders) drop.holders[name].insert(number);
    } else if (newest) {
      drop.waits = absl::StrCat("version ", number, " stays until ", dataset.drop_after,
                                " other sites that are connected hold it, ",
                                holders.empty() ? "none does" : absl::StrCat("now: ", absl::StrJoin(holders, ", ")));
    }
  }
  return drop;
}

}  // namespace bailiwick::coordinator
