#include "services/coordinator/planner/targets.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/policy/evaluator.h"
#include "common/policy/residence.h"

namespace bailiwick::coordinator {

const PlannedSite* FindSite(const PlanInput& input, const std::string& name) {
  auto it = input.sites.find(name);
  return it == input.sites.end() ? nullptr : &it->second;
}

const std::set<VersionNumber>& HeldAt(const PlannedDataset& dataset, const std::string& site) {
  static const auto* const kNone = new std::set<VersionNumber>;
  auto it = dataset.held.find(site);
  return it == dataset.held.end() ? *kNone : it->second;
}

policy::Flow FlowOf(const PlannedDataset& dataset, const std::string& from, const std::string& to,
                    const std::string& purpose) {
  return {dataset.labels, from, to, purpose, dataset.home_site};
}

namespace {

std::optional<policy::Obligations> Permitted(const PlanInput& input, const policy::Flow& flow) {
  if (input.law != nullptr) {
    policy::Verdict verdict =
        input.law->Replication(flow.data, flow.from_site, flow.to_site, flow.purpose, flow.home_site, input.now);
    return verdict.permitted ? std::optional(std::move(verdict.obligations)) : std::nullopt;
  }
  policy::Decision decision = policy::EvaluateReplication(*input.world, flow, input.now);
  return decision.permitted ? std::optional(std::move(decision.obligations)) : std::nullopt;
}

}  // namespace

std::optional<Permit> PermitFor(const PlanInput& input, const PlannedDataset& dataset, const std::string& from,
                                const std::string& to, const std::set<std::string>& purposes) {
  if (input.world == nullptr) return std::nullopt;
  std::optional<Permit> best;
  for (const std::string& purpose : purposes) {
    const std::optional<policy::Obligations> permitted = Permitted(input, FlowOf(dataset, from, to, purpose));
    if (!permitted.has_value() || (best.has_value() && permitted->max_retention <= best->retention)) continue;
    best = Permit{purpose, permitted->max_retention};
  }
  return best;
}

absl::Duration RetentionAt(const PlanInput& input, const PlannedDataset& dataset, const std::string& site) {
  if (input.world == nullptr) return absl::InfiniteDuration();
  if (input.law != nullptr) {
    const policy::Verdict verdict = input.law->Residence(dataset.labels, dataset.home_site, site, input.now);
    return verdict.permitted ? verdict.obligations.max_retention : absl::InfiniteDuration();
  }
  const policy::Decision decision =
      policy::EvaluateResidence(*input.world, dataset.labels, dataset.home_site, site, input.now);
  return decision.permitted ? decision.obligations.max_retention : absl::InfiniteDuration();
}

int SharedRegionParts(const std::string& a, const std::string& b) {
  const std::vector<std::string> left = absl::StrSplit(a, '/');
  const std::vector<std::string> right = absl::StrSplit(b, '/');
  const size_t size = std::min(left.size(), right.size());
  return static_cast<int>(std::mismatch(left.begin(), left.begin() + size, right.begin()).first - left.begin());
}

std::vector<const PlannedDataset*> ByName(const std::vector<PlannedDataset>& datasets) {
  std::vector<const PlannedDataset*> sorted;
  for (const PlannedDataset& dataset : datasets) sorted.push_back(&dataset);
  std::sort(sorted.begin(), sorted.end(), [](const PlannedDataset* a, const PlannedDataset* b) {
    return std::tie(a->name, a->id) < std::tie(b->name, b->id);
  });
  return sorted;
}

namespace {

bool Selects(const PlannedPolicy& policy, const PlannedDataset& dataset) {
  return policy::Matches(policy.select, dataset.labels, nullptr) == policy::Match::kYes;
}

// Which sites the target is about, before `copies` and the home are taken into account. In name order.
std::vector<std::string> Matching(const PlanInput& input, const PlannedTarget& target) {
  if (target.kind == PlannedTarget::Kind::kSite) return {target.site};
  std::vector<std::string> names;
  for (const auto& [name, site] : input.sites) {
    const bool matches = target.kind == PlannedTarget::Kind::kRegion
                             ? policy::RegionContains(target.region, site.region)
                             : policy::Matches(target.sites, site.labels, nullptr) == policy::Match::kYes;
    if (matches) names.push_back(name);
  }
  return names;
}

// The destinations the target wants. The home is a copy already, unless it gives its up, and never a destination.
std::vector<std::string> Destinations(const PlanInput& input, const PlannedDataset& dataset,
                                      const PlannedPolicy& policy, const PlannedTarget& target) {
  std::vector<std::string> names = Matching(input, target);
  size_t copies = target.copies;
  auto home = std::find(names.begin(), names.end(), dataset.home_site);
  if (home != names.end()) {
    names.erase(home);
    if (copies > 0 && dataset.drop_after == 0 && --copies == 0) return {};
  }
  if (copies == 0 || copies >= names.size()) return names;
  // Those that hold something come first: a choice once made does not wander when a site is added.
  std::vector<std::tuple<bool, bool, std::string>> ranked;
  for (const std::string& name : names) {
    const bool denied = !PermitFor(input, dataset, dataset.home_site, name, {policy.purpose});
    ranked.emplace_back(denied, HeldAt(dataset, name).empty(), name);
  }
  std::sort(ranked.begin(), ranked.end());
  names.clear();
  for (size_t i = 0; i < copies; ++i) names.push_back(std::get<2>(ranked[i]));
  return names;
}

std::string CopyCount(uint32_t copies) { return absl::StrCat(copies, copies == 1 ? " copy" : " copies"); }

}  // namespace

// Every desired pair with what the policies together ask of it, sorted by site.
std::map<std::string, Wanted> Desired(const PlanInput& input, const PlannedDataset& dataset) {
  std::map<std::string, Wanted> desired;
  for (const PlannedPolicy& policy : input.policies) {
    if (!Selects(policy, dataset)) continue;
    for (const PlannedTarget& target : policy.to) {
      for (const std::string& site : Destinations(input, dataset, policy, target)) {
        auto [it, added] = desired.try_emplace(site);
        Wanted& wanted = it->second;
        wanted.priority = added ? policy.priority : std::max(wanted.priority, policy.priority);
        wanted.rpo = std::min(wanted.rpo, policy.rpo);
        wanted.materialize = wanted.materialize || policy.materialize;
        wanted.purposes.insert(policy.purpose);
        wanted.history = wanted.history || policy.history;
        if (policy.order == Order::kInOrder) wanted.order = Order::kInOrder;
      }
    }
  }
  for (auto& [site, wanted] : desired) {
    wanted.dataset = dataset.id;
    wanted.dataset_name = dataset.name;
    wanted.site = site;
  }
  return desired;
}

std::set<std::string> PurposesOf(const PlanInput& input, const PlannedDataset& dataset) {
  std::set<std::string> purposes;
  for (const PlannedPolicy& policy : input.policies) {
    if (Selects(policy, dataset)) purposes.insert(policy.purpose);
  }
  if (purposes.empty()) purposes.insert("");
  return purposes;
}

std::set<std::string> Substitutes(const PlanInput& input, const PlannedDataset& dataset, const std::string& site) {
  std::set<std::string> substitutes;
  for (const PlannedPolicy& policy : input.policies) {
    if (!Selects(policy, dataset)) continue;
    for (const PlannedTarget& target : policy.to) {
      if (target.copies == 0) continue;
      const std::vector<std::string> matching = Matching(input, target);
      if (std::find(matching.begin(), matching.end(), site) == matching.end()) continue;
      for (const std::string& destination : Destinations(input, dataset, policy, target)) {
        if (destination != site) substitutes.insert(destination);
      }
    }
  }
  return substitutes;
}

Reason NotSelected(const PlanInput& input, const std::string& dataset_name, const std::string& site_name,
                   const Plan& last) {
  auto reason = [](std::string code, std::string sentence) {
    Reason result;
    result.code = std::move(code);
    result.sentence = std::move(sentence);
    return result;
  };
  const PlannedDataset* dataset = nullptr;
  for (const PlannedDataset* each : ByName(input.datasets)) {
    if (each->name == dataset_name && dataset == nullptr) dataset = each;
  }
  if (dataset == nullptr) return reason("no-dataset", absl::StrCat("no dataset ", dataset_name, " is known"));
  if (site_name == dataset->home_site) {
    Reason home = reason("home", absl::StrCat("site ", site_name, " is the home of ", dataset_name));
    home.satisfied = true;
    if (!dataset->versions.empty()) home.version = dataset->versions.back().number;
    if (!dataset->damaged.empty()) {
      absl::StrAppend(&home.sentence, "; what it has of version ", *dataset->damaged.rbegin(), " is damaged");
      if (auto healing = last.healing.find(dataset->id); healing != last.healing.end()) {
        absl::StrAppend(&home.sentence, "; ", healing->second);
      }
      home.satisfied = dataset->damaged.count(home.version) == 0;
    }
    return home;
  }
  const PlannedSite* site = FindSite(input, site_name);
  if (site == nullptr) return reason("no-site", absl::StrCat("no site ", site_name, " is declared"));
  if (input.policies.empty()) return reason("no-policy", "no replication policy is declared");

  std::map<std::string, const PlannedPolicy*> policies;  // by name: the answer must not depend on their order
  for (const PlannedPolicy& policy : input.policies) policies[policy.name] = &policy;
  std::vector<std::string> selecting, failing;
  for (const auto& [name, policy] : policies) {
    std::string condition;
    if (policy::Matches(policy->select, dataset->labels, &condition) != policy::Match::kYes) {
      failing.push_back(absl::StrCat(name, " (", condition, ")"));
      continue;
    }
    selecting.push_back(name);
    for (const PlannedTarget& target : policy->to) {
      const std::vector<std::string> matching = Matching(input, target);
      if (std::find(matching.begin(), matching.end(), site_name) == matching.end()) continue;
      std::vector<std::string> chosen = Destinations(input, *dataset, *policy, target);
      if (std::find(chosen.begin(), chosen.end(), site_name) != chosen.end()) {
        return reason("wanted", absl::StrCat("policy ", name, " wants ", dataset_name, " at ", site_name));
      }
      if (std::find(matching.begin(), matching.end(), dataset->home_site) != matching.end()) {
        chosen.insert(chosen.begin(), dataset->home_site);
      }
      return reason("enough-copies", absl::StrCat("policy ", name, " keeps ", CopyCount(target.copies), " of ",
                                                  dataset_name, ", at ", absl::StrJoin(chosen, ", ")));
    }
  }
  if (!selecting.empty()) {
    return reason("not-selected", absl::StrCat("policy ", absl::StrJoin(selecting, ", "), " selects ", dataset_name,
                                               ", but no target of it names ", site_name, " (", site->region, ")"));
  }
  return reason("not-selected",
                absl::StrCat("no replication policy selects ", dataset_name, ": ", absl::StrJoin(failing, ", ")));
}

}  // namespace bailiwick::coordinator
