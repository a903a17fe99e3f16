#include "services/coordinator/planner/eviction.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/units.h"
#include "services/coordinator/planner/targets.h"

namespace bailiwick::coordinator {
namespace {

using Stage = UnlawfulCopy::Stage;

std::string Numbers(const std::set<VersionNumber>& numbers) {
  return absl::StrCat(numbers.size() == 1 ? "version " : "versions ", absl::StrJoin(numbers, ", "));
}

// One dataset, and what is asked of it for every copy, found once.
class Lookup {
 public:
  Lookup(const PlanInput& input, const PlannedDataset& dataset) : input_(input), dataset_(dataset) {
    for (const auto& [site, numbers] : dataset.held) {
      for (VersionNumber number : numbers) ++holders_[number];
    }
  }
  const PlannedDataset& dataset() const { return dataset_; }
  bool LiesAt(VersionNumber number, const std::string& except) const {
    auto holders = holders_.find(number);
    return holders != holders_.end() && holders->second > HeldAt(dataset_, except).count(number);
  }
  // The dataset's own retention lets it go, and its newest lies elsewhere: no lawful copy would be kept either.
  bool Retired(VersionNumber number, const std::string& except) const {
    return dataset_.retired.count(number) != 0 && !dataset_.versions.empty() &&
           LiesAt(dataset_.versions.back().number, except);
  }
  const std::map<std::string, Wanted>& desired() {
    if (!desired_.has_value()) desired_ = Desired(input_, dataset_);
    return *desired_;
  }

 private:
  const PlanInput& input_;
  const PlannedDataset& dataset_;
  std::map<VersionNumber, size_t> holders_;
  std::optional<std::map<std::string, Wanted>> desired_;
};

// The site that is about to stand in and can be waited for; empty: none.
std::string Repairing(const PlanInput& input, Lookup& lookup, const UnlawfulCopy& copy) {
  if (copy.versions.empty()) return "";
  const VersionNumber newest = *copy.versions.rbegin();
  if (!lookup.LiesAt(newest, copy.site)) return "";
  const PlannedDataset& dataset = lookup.dataset();
  const std::map<std::string, Wanted>& desired = lookup.desired();
  for (const std::string& name : Substitutes(input, dataset, copy.site)) {
    auto wanted = desired.find(name);
    if (wanted == desired.end()) continue;
    const PlannedSite* site = FindSite(input, name);
    const bool can = site != nullptr && site->connected && site->approved &&
                     PermitFor(input, dataset, dataset.home_site, name, wanted->second.purposes).has_value();
    const std::set<VersionNumber>& held = HeldAt(dataset, name);
    if (can && (held.empty() || *held.rbegin() < newest)) return name;
  }
  return "";
}

// What its agent has not confirmed is told with how long it has been silent.
bool Unconfirmed(const PlanInput& input, const UnlawfulCopy& copy, const PlannedSite* site, EvictionStatus* status) {
  const bool connected = site != nullptr && site->connected;
  if (connected && copy.stage != Stage::kSilent) return false;
  status->state = "unconfirmed";
  status->since = site == nullptr ? absl::Time() : site->last_seen;
  const std::string age = status->since == absl::Time()
                              ? "an unknown time"
                              : FormatAge(std::max(input.now - status->since, absl::ZeroDuration()));
  status->sentence =
      absl::StrCat(copy.sentence, connected ? absl::StrCat("; ", copy.site, " has not said yet that it fenced its copy")
                                            : absl::StrCat("; ", copy.site,
                                                           copy.stage == Stage::kSilent
                                                               ? " has not confirmed that it fenced its copy"
                                                               : " fenced its copy and has not confirmed its erasure",
                                                           " and has been silent for ", age));
  return true;
}

void Assess(const PlanInput& input, Lookup* lookup, const UnlawfulCopy& copy, EvictionPlan* plan) {
  EvictionStatus status{copy.dataset, copy.dataset_name, copy.site,         "fenced",   copy.sentence,
                        copy.rule,    copy.versions,     copy.stored_bytes, copy.since, copy.overdue};
  auto because = [&](const char* state, const std::string& why) {
    status.state = state;
    status.sentence = absl::StrCat(copy.sentence, "; ", why);
  };
  std::set<VersionNumber> safe, last;
  if (lookup != nullptr) {
    for (VersionNumber number : copy.versions) {
      if (copy.held.count(number) != 0) continue;
      (lookup->LiesAt(number, copy.site) || lookup->Retired(number, copy.site) ? safe : last).insert(number);
    }
  }
  const std::string substitute = lookup == nullptr || copy.overdue ? "" : Repairing(input, *lookup, copy);
  if (Unconfirmed(input, copy, FindSite(input, copy.site), &status)) {
    // Nothing can be told to it now; what may go is told when it is back.
  } else if (copy.stage == Stage::kErasing) {
    because("erasing", absl::StrCat("it is being erased at ", copy.site));
  } else if (!copy.judged) {
    because("unjudged", "the law cannot be evaluated there, so the copy is fenced and kept; mend the law");
  } else if (!substitute.empty()) {
    because("repairing", absl::StrCat("it is erased once ", substitute, " has ", Numbers({*copy.versions.rbegin()})));
  } else if (!safe.empty()) {
    because("fenced", absl::StrCat(copy.site, " is told to erase ", Numbers(safe)));
    plan->orders.push_back({copy.dataset, copy.site, safe});
  } else if (!last.empty()) {
    because("last-copy", absl::StrCat("nobody else holds ", Numbers(last),
                                      ", so it stays fenced; let the law permit it somewhere, or commit it anew"));
  } else if (!copy.held.empty()) {
    because("held", absl::StrCat("a hold keeps ", Numbers(copy.held),
                                 ", so it stays fenced; see: bailiwick dataset holds ", copy.dataset_name));
  }
  plan->copies.push_back(std::move(status));
}

}  // namespace

EvictionPlan PlanEvictions(const PlanInput& input, const std::vector<UnlawfulCopy>& copies) {
  EvictionPlan plan;
  std::set<DatasetId> concerned;
  for (const UnlawfulCopy& copy : copies) concerned.insert(copy.dataset);
  std::map<DatasetId, Lookup> lookups;
  for (const PlannedDataset& dataset : input.datasets) {
    if (concerned.count(dataset.id) != 0) lookups.try_emplace(dataset.id, input, dataset);
  }
  for (const UnlawfulCopy& copy : copies) {
    if (copy.stage == Stage::kErased) continue;
    auto lookup = lookups.find(copy.dataset);
    Assess(input, lookup == lookups.end() ? nullptr : &lookup->second, copy, &plan);
  }
  std::sort(plan.copies.begin(), plan.copies.end(), [](const EvictionStatus& a, const EvictionStatus& b) {
    return std::tie(a.dataset_name, a.site, a.dataset) < std::tie(b.dataset_name, b.site, b.dataset);
  });
  std::sort(plan.orders.begin(), plan.orders.end(), [](const Eviction& a, const Eviction& b) {
    return std::tie(a.dataset, a.site) < std::tie(b.dataset, b.site);
  });
  for (size_t i = 0; i < plan.copies.size(); ++i) plan.by_copy[{plan.copies[i].dataset, plan.copies[i].site}] = i;
  return plan;
}

}  // namespace bailiwick::coordinator
