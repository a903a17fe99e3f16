#include "common/config/steps.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/policy/evaluator.h"

namespace bailiwick::config {
namespace {

using policy::Action;

bool Names(const policy::World& law, Action action) {
  return std::any_of(law.rules.begin(), law.rules.end(), [action](const policy::Rule& rule) {
    return std::find(rule.actions.begin(), rule.actions.end(), action) != rule.actions.end();
  });
}

class Steps {
 public:
  Steps(const policy::World& law, const std::vector<Classification>& known, const Catalog& after,
        const std::vector<Located>& located, absl::Time now)
      : law_(law), known_(known), after_(after), now_(now) {
    for (const Located& one : located) located_[{KindOf(one.resource), one.resource.metadata().name()}] = &one;
    for (const auto& [key, resource] : after) {  // a step into a region that comes with it
      if (resource.has_region()) law_.regions.push_back(key.second);
    }
    std::sort(law_.regions.begin(), law_.regions.end());
    law_.regions.erase(std::unique(law_.regions.begin(), law_.regions.end()), law_.regions.end());
  }

  void Relabellings() {
    for (const Classification& before : known_) {
      auto dataset = after_.find({"Dataset", before.dataset});
      if (dataset == after_.end()) continue;
      const auto& declared = dataset->second.metadata().labels();
      const policy::Labels labels(declared.begin(), declared.end());
      if (labels == before.labels) continue;
      for (const std::string& home : HomesOf(before)) {
        if (!Relabelling(dataset->first, before.labels, labels, home)) break;
      }
    }
  }

  void Moves() {
    for (const auto& [name, before] : law_.sites) {
      auto resource = after_.find({"Site", name});
      if (resource == after_.end()) continue;
      policy::Site moved = before;
      moved.region = resource->second.site().region();
      moved.entity = resource->second.site().entity();
      if (moved.region == before.region && moved.entity == before.entity) continue;
      for (const Classification& dataset : known_) {
        if (MayLieAt(dataset, name) && !Move(resource->first, dataset, before, moved)) break;
      }
    }
  }

  absl::Status Result() const {
    if (denied_.empty()) return absl::OkStatus();
    return absl::PermissionDeniedError(absl::StrJoin(denied_, "\n"));
  }

 private:
  bool Relabelling(const ResourceKey& key, const policy::Labels& before, const policy::Labels& after,
                   const std::string& home) {
    for (const policy::Labels* labels : {&before, &after}) {
      const policy::Decision decision = policy::Evaluate(law_, {*labels, home, home, Action::kRelabel}, now_);
      if (decision.permitted) continue;
      Deny(key, "metadata.labels",
           absl::StrCat("the law in force does not let dataset ", key.second, " be relabelled (judged with the labels ",
                        labels == &before ? "before" : "after", "): ", decision.sentence));
      return false;
    }
    return true;
  }

  bool Move(const ResourceKey& key, const Classification& dataset, const policy::Site& before,
            const policy::Site& moved) {
    const policy::Decision decision =
        policy::EvaluateSites(law_, dataset.labels, before, moved, Action::kMoveSite, "", now_);
    if (decision.permitted) return true;
    Deny(key, moved.region != before.region ? "spec.region" : "spec.entity",
         absl::StrCat("the law in force does not let site ", key.second, " move, where dataset ", dataset.dataset,
                      " may lie: ", decision.sentence));
    return false;
  }

  std::vector<std::string> HomesOf(const Classification& dataset) const {
    if (!dataset.family) return {dataset.home_site};
    std::vector<std::string> homes;
    for (const auto& [name, site] : law_.sites) {
      if (policy::Matches(dataset.home_selector, site.labels, nullptr) == policy::Match::kYes) homes.push_back(name);
    }
    return homes;
  }

  // Unless the law says clearly that no copy may: what it cannot tell may be so.
  bool MayLieAt(const Classification& dataset, const std::string& site) const {
    for (const std::string& home : HomesOf(dataset)) {
      if (home == site) return true;
      const policy::Decision decision = policy::Evaluate(law_, {dataset.labels, home, site, Action::kReside}, now_);
      if (decision.permitted || decision.reason == policy::Reason::kError) return true;
    }
    return false;
  }

  void Deny(const ResourceKey& key, const std::string& path, const std::string& text) {
    auto it = located_.find(key);
    const Position at = it == located_.end() ? Position{} : it->second->At(path);
    denied_.push_back(
        absl::StrCat(at.line == 0 ? absl::StrCat(key.first, "/", key.second) : at.str(), ": ", path, ": ", text));
  }

  policy::World law_;
  const std::vector<Classification>& known_;
  const Catalog& after_;
  const absl::Time now_;
  std::map<ResourceKey, const Located*> located_;
  std::vector<std::string> denied_;
};

}  // namespace

absl::Status CheckSteps(const policy::World& law, const std::vector<Classification>& known, const Catalog& after,
                        const std::vector<Located>& located, absl::Time now) {
  const bool relabel = Names(law, Action::kRelabel), move = Names(law, Action::kMoveSite);
  if (!relabel && !move) return absl::OkStatus();
  Steps steps(law, known, after, located, now);
  if (relabel) steps.Relabellings();
  if (move) steps.Moves();
  return steps.Result();
}

}  // namespace bailiwick::config
