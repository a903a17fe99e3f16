#include "services/coordinator/planner/eviction.h"

#include <algorithm>
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

bool LiesAt(const PlannedDataset& dataset, VersionNumber number, const std::string& except) {
  return std::any_of(dataset.held.begin(), dataset.held.end(),
                     [&](const auto& copy) { return copy.first != except && copy.second.count(number) != 0; });
}

// The site that is about to stand in and can be waited for; empty: none.
std::string Repairing(const PlanInput& input, const PlannedDataset& dataset, const UnlawfulCopy& copy) {
  if (copy.versions.empty()) return "";
  const VersionNumber newest = *copy.versions.rbegin();
  if (!LiesAt(dataset, newest, copy.site)) return "";
  const std::map<std::string, Wanted> desired = Desired(input, dataset);
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

void Assess(const PlanInput& input, const PlannedDataset* dataset, const UnlawfulCopy& copy, EvictionPlan* plan) {
  EvictionStatus status{copy.dataset, copy.dataset_name, copy.site,         "fenced",   copy.sentence,
                        copy.rule,    copy.versions,     copy.stored_bytes, copy.since, copy.overdue};
  auto because = [&](const char* state, const std::string& why) {
    status.state = state;
    status.sentence = absl::StrCat(copy.sentence, "; ", why);
  };
  std::set<VersionNumber> safe, last;
  if (dataset != nullptr) {
    for (VersionNumber number : copy.versions) {
      if (copy.held.count(number) != 0) continue;
      (LiesAt(*dataset, number, copy.site) ? safe : last).insert(number);
    }
  }
  const std::string substitute = dataset == nullptr || copy.overdue ? "" : Repairing(input, *dataset, copy);
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
  for (const UnlawfulCopy& copy : copies) {
    if (copy.stage == Stage::kErased) continue;
    const PlannedDataset* dataset = nullptr;
    for (const PlannedDataset& each : input.datasets) {
      if (each.id == copy.dataset) dataset = &each;
    }
    Assess(input, dataset, copy, &plan);
  }
  std::sort(plan.copies.begin(), plan.copies.end(), [](const EvictionStatus& a, const EvictionStatus& b) {
    return std::tie(a.dataset_name, a.site, a.dataset) < std::tie(b.dataset_name, b.site, b.dataset);
  });
  std::sort(plan.orders.begin(), plan.orders.end(), [](const Eviction& a, const Eviction& b) {
    return std::tie(a.dataset, a.site) < std::tie(b.dataset, b.site);
  });
  return plan;
}

}  // namespace bailiwick::coordinator
