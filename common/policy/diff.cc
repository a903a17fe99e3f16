#include "common/policy/diff.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "common/policy/flow_table.h"

namespace bailiwick::policy {
namespace {

// Both laws over the same data, with the sites of either in groups that neither tells apart.
class Pair {
 public:
  Pair(const World& before, const World& after, const std::vector<Labels>& data, absl::Time now)
      : before_(before, data, Now(now)), after_(after, data, Now(now)), now_(now) {
    std::set<std::string> names;
    for (const World* world : {&before, &after}) {
      for (const auto& [name, site] : world->sites) names.insert(name);
    }
    std::map<std::pair<size_t, size_t>, size_t> numbers;
    for (const std::string& name : names) {
      const std::pair<size_t, size_t> classes{before_.ClassOf(name), after_.ClassOf(name)};
      auto [it, fresh] = numbers.try_emplace(classes, groups.size());
      if (fresh) groups.push_back({classes.first, classes.second, {}, {}});
      Group& group = groups[it->second];
      group.sites.push_back(name);
      auto site = after.sites.find(name);
      group.regions.insert(site != after.sites.end() ? site->second.region : before.sites.at(name).region);
      group_of[name] = it->second;
    }
    data_before_ = before_.DataClasses();
    data_after_ = after_.DataClasses();
  }

  struct Group {
    size_t before, after;  // classes; classes(): not declared
    std::vector<std::string> sites;
    std::set<std::string> regions;
  };
  std::vector<Group> groups;
  std::map<std::string, size_t> group_of;

  std::pair<size_t, size_t> DataClass(size_t data) const { return {data_before_[data], data_after_[data]}; }

  // Both moments for a purpose.
  void At(const std::string& purpose) {
    moment_before_ = before_.At(now_, purpose);
    moment_after_ = after_.At(now_, purpose);
  }
  bool Permits(bool after, size_t data, const std::vector<Action>& actions, size_t from, size_t to) const {
    const FlowTable& table = after ? after_ : before_;
    const auto [a, b] = Classes(after, from, to);
    if (a == table.classes() || b == table.classes()) return false;
    for (Action action : actions) {
      if (!table.Permits(after ? moment_after_ : moment_before_, data, action, a, b)) return false;
    }
    return true;
  }
  CopyVerdict Judge(bool after, size_t data, const std::vector<Action>& actions, size_t from, size_t to) const {
    const FlowTable& table = after ? after_ : before_;
    const auto [a, b] = Classes(after, from, to);
    CopyVerdict out;
    out.reason = Reason::kError;
    out.what = "site";
    if (a == table.classes() || b == table.classes()) return out;
    Obligations obligations;
    for (Action action : actions) {
      const FlowTable::Verdict verdict = table.Judge(after ? moment_after_ : moment_before_, data, action, a, b);
      out.reason = verdict.reason;
      out.what = ActionName(action);
      out.rule = verdict.rule == nullptr ? "" : verdict.rule->name();
      if (!verdict.permitted()) return out;
      obligations.Add(verdict.obligations);
    }
    out.obligations = obligations;
    return out;
  }
  bool obliges() const { return before_.obliges() || after_.obliges(); }

 private:
  static FlowTable::Options Now(absl::Time now) {
    FlowTable::Options options;
    options.from = now;
    return options;
  }
  std::pair<size_t, size_t> Classes(bool after, size_t from, size_t to) const {
    return after ? std::pair(groups[from].after, groups[to].after) : std::pair(groups[from].before, groups[to].before);
  }

  FlowTable before_, after_;
  const absl::Time now_;
  FlowTable::Moment moment_before_, moment_after_;
  std::vector<size_t> data_before_, data_after_;
};

const std::vector<Action> kCopy = {Action::kTransfer, Action::kReside};
const std::vector<Action> kLie = {Action::kReside};

std::vector<Labels> LabelsOf(const std::vector<NamedData>& datasets) {
  std::vector<Labels> labels;
  for (const NamedData& dataset : datasets) labels.push_back(dataset.labels);
  return labels;
}

// Datasets by their labels: most fleets have few sets of labels and many datasets.
struct DataGroups {
  std::vector<Labels> labels;
  std::map<Labels, size_t> numbers;
  std::vector<size_t> Of(const std::vector<NamedData>& datasets) {
    std::vector<size_t> of;
    for (const NamedData& dataset : datasets) {
      auto [it, fresh] = numbers.try_emplace(dataset.labels, labels.size());
      if (fresh) labels.push_back(dataset.labels);
      of.push_back(it->second);
    }
    return of;
  }
};

std::set<std::string> Purposes(const World& before, const World& after) {
  std::set<std::string> purposes = {""};
  for (const World* world : {&before, &after}) {
    for (const Rule& rule : world->rules) purposes.insert(rule.purposes.begin(), rule.purposes.end());
  }
  return purposes;
}

struct ChangeKey {
  std::pair<size_t, size_t> data;
  std::string purpose;
  std::string before, after;
  bool operator<(const ChangeKey& o) const {
    return std::tie(data, purpose, before, after) < std::tie(o.data, o.purpose, o.before, o.after);
  }
};

std::string KeyOf(const CopyVerdict& v) {
  std::string key = v.what + "\x01" + v.rule + "\x01" + ReasonName(v.reason);
  for (const std::string& region : v.obligations.encrypt_key_regions) key += "\x01" + region;
  key += "\x01" + absl::FormatDuration(v.obligations.max_retention) + "\x01" + std::to_string(v.obligations.max_hops) +
         "\x01" + std::to_string(v.obligations.no_transit);
  return key;
}

struct Gathered {
  DecisionChange change;
  std::set<std::string> from_regions, to_regions;
};

// Whether copies may lie where they do, by one law: the same question is answered once.
class Lawful {
 public:
  Lawful(const Pair& laws, bool after, const Inventory& inventory, const std::vector<NamedData>& datasets,
         const std::vector<size_t>& data)
      : laws_(laws), after_(after), data_(data) {
    std::unordered_map<std::string, uint32_t> numbers;
    for (const std::string& name : inventory.sites) {
      numbers.emplace(name, static_cast<uint32_t>(site_group_.size()));
      site_group_.push_back(Group(name));
    }
    for (const NamedData& dataset : datasets) {
      home_group_.push_back(Group(dataset.home));
      auto it = numbers.find(dataset.home);
      home_site_.push_back(it == numbers.end() ? UINT32_MAX : it->second);
    }
  }
  bool operator()(const Inventory::Replica& replica) {
    if (replica.site == home_site_[replica.dataset]) return true;
    const size_t home = home_group_[replica.dataset], site = site_group_[replica.site];
    if (home == kNone || site == kNone) return false;
    const uint64_t groups = laws_.groups.size();
    auto [it, fresh] = answers_.try_emplace((data_[replica.dataset] * groups + home) * groups + site);
    if (fresh) it->second = laws_.Permits(after_, data_[replica.dataset], kLie, home, site);
    return it->second;
  }
  CopyVerdict Judge(const Inventory::Replica& replica) const {
    const size_t home = home_group_[replica.dataset], site = site_group_[replica.site];
    if (home == kNone || site == kNone) return {Reason::kError, "site", "", {}};
    return laws_.Judge(after_, data_[replica.dataset], kLie, home, site);
  }

 private:
  static constexpr size_t kNone = SIZE_MAX;
  size_t Group(const std::string& name) const {
    auto it = laws_.group_of.find(name);
    return it == laws_.group_of.end() ? kNone : it->second;
  }

  const Pair& laws_;
  const bool after_;
  const std::vector<size_t>& data_;  // by dataset: into the data of the laws
  std::vector<size_t> site_group_, home_group_;
  std::vector<uint32_t> home_site_;
  std::unordered_map<uint64_t, bool> answers_;
};

}  // namespace

std::vector<DecisionChange> DiffDecisions(const World& before, const World& after,
                                          const std::vector<NamedData>& datasets, absl::Time now) {
  Pair laws(before, after, LabelsOf(datasets), now);
  std::map<std::pair<size_t, size_t>, std::vector<size_t>> data;  // class -> datasets
  for (size_t d = 0; d < datasets.size(); ++d) data[laws.DataClass(d)].push_back(d);
  std::map<ChangeKey, Gathered> gathered;
  for (const std::string& purpose : Purposes(before, after)) {
    laws.At(purpose);
    for (const auto& [cls, members] : data) {
      const size_t d = members.front();
      for (size_t from = 0; from < laws.groups.size(); ++from) {
        for (size_t to = 0; to < laws.groups.size(); ++to) {
          const uint64_t others = laws.groups[to].sites.size() - (from == to);
          if (others == 0) continue;
          const bool was = laws.Permits(false, d, kCopy, from, to), is = laws.Permits(true, d, kCopy, from, to);
          if (was == is && !(was && laws.obliges())) continue;
          const CopyVerdict old = laws.Judge(false, d, kCopy, from, to), fresh = laws.Judge(true, d, kCopy, from, to);
          if (was == is && old.obligations == fresh.obligations) continue;
          Gathered& one = gathered[{cls, purpose, KeyOf(old), KeyOf(fresh)}];
          if (one.change.pairs == 0) {
            one.change.before = old;
            one.change.after = fresh;
            one.change.purpose = purpose;
            one.change.labels = datasets[d].labels;
            for (size_t member : members) one.change.datasets.push_back(datasets[member].name);
            std::sort(one.change.datasets.begin(), one.change.datasets.end());
            one.change.from = laws.groups[from].sites.front();
            one.change.to = laws.groups[to].sites[from == to ? 1 : 0];
          }
          one.change.pairs += laws.groups[from].sites.size() * others;
          one.from_regions.insert(laws.groups[from].regions.begin(), laws.groups[from].regions.end());
          one.to_regions.insert(laws.groups[to].regions.begin(), laws.groups[to].regions.end());
        }
      }
    }
  }
  std::vector<DecisionChange> out;
  for (auto& [key, one] : gathered) {
    one.change.from_regions.assign(one.from_regions.begin(), one.from_regions.end());
    one.change.to_regions.assign(one.to_regions.begin(), one.to_regions.end());
    out.push_back(std::move(one.change));
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const DecisionChange& a, const DecisionChange& b) { return a.pairs > b.pairs; });
  return out;
}

Impact Assess(const World& before, const World& after, const Inventory& inventory, absl::Time now) {
  const std::vector<NamedData>& old =
      inventory.datasets_before.empty() ? inventory.datasets : inventory.datasets_before;
  DataGroups data;
  const std::vector<size_t> data_after = data.Of(inventory.datasets), data_before = data.Of(old);
  Pair laws(before, after, data.labels, now);
  laws.At("");  // a copy lies for whatever purpose
  Lawful was(laws, false, inventory, old, data_before), is(laws, true, inventory, inventory.datasets, data_after);
  Impact impact;
  std::vector<char> losing(inventory.datasets.size());
  for (size_t i = 0; i < inventory.replicas.size(); ++i) {
    const Inventory::Replica& replica = inventory.replicas[i];
    if (is(replica)) continue;
    if (!was(replica)) {
      ++impact.unlawful_before;
      continue;
    }
    const CopyVerdict verdict = is.Judge(replica);
    impact.evictions.push_back({i, verdict.reason, verdict.rule, false});
    impact.bytes += replica.bytes;
    impact.held += replica.held;
    losing[replica.dataset] = 1;
  }
  // Versions of the datasets that lose a copy, which somebody keeps.
  std::unordered_map<uint32_t, std::set<uint64_t>> kept;
  for (const Inventory::Replica& replica : inventory.replicas) {
    if (losing[replica.dataset] == 0 || !is(replica)) continue;
    kept[replica.dataset].insert(replica.versions.begin(), replica.versions.end());
  }
  for (Impact::Eviction& eviction : impact.evictions) {
    const Inventory::Replica& replica = inventory.replicas[eviction.replica];
    const std::set<uint64_t>& others = kept[replica.dataset];
    eviction.last_copy = std::any_of(replica.versions.begin(), replica.versions.end(),
                                     [&others](uint64_t version) { return others.count(version) == 0; });
    impact.last_copies += eviction.last_copy;
  }
  for (size_t t = 0; t < inventory.transfers.size(); ++t) {
    const Inventory::Transfer& transfer = inventory.transfers[t];
    const NamedData& dataset = inventory.datasets[transfer.dataset];
    const Decision decision = EvaluateReplication(
        after,
        {dataset.labels, inventory.sites[transfer.from], inventory.sites[transfer.to], transfer.purpose, dataset.home},
        now);
    if (!decision.permitted) impact.stops.push_back({t, decision.reason, decision.rule, decision.sentence});
  }
  return impact;
}

}  // namespace bailiwick::policy
