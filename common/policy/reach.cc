#include "common/policy/reach.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/policy/flow_table.h"
#include "common/policy/timeline.h"

namespace bailiwick::policy {
namespace {

constexpr size_t kMaxLabelSets = 4096;        // each is a layer of the graph that is searched
constexpr size_t kMaxCutMoments = 64;         // times at which the cut is described; the search itself visits all
constexpr size_t kMaxCacheBytes = 256 << 20;  // of answers about pairs of classes, which all homes share
constexpr uint32_t kUnbounded = UINT32_MAX;

// The law at one instant for each purpose that there can be.
struct Instant {
  std::vector<size_t> moments;             // by purpose; into Search::moments_
  std::vector<std::vector<char>> relabel;  // by home class, filled when asked: label sets between which it may change
};

// Where data is: a class of sites, as the home itself or as a copy, under one set of labels, with the hops behind it
// and the bound that its chain carries. Of entries at one place none is better than another in both numbers.
struct Entry {
  size_t labels = 0, place = 0;  // place 0: the home; c + 1: a copy at a site of class c
  uint32_t hops = 0, bound = kUnbounded;
  int parent = -1;
  size_t purpose = 0, moment = 0;
  bool relabelled = false;
  absl::Time at;
};

// All that one home can send data to.
class Home {
 public:
  Home(size_t cls, bool alone) : cls(cls), alone(alone) {}
  const size_t cls;
  const bool alone;  // no other site is of its class
  std::vector<Entry> entries;
  std::map<std::pair<size_t, size_t>, std::vector<int>> at;  // (labels, place) -> entries
  std::map<std::vector<size_t>, size_t> closed;              // moments -> number of entries when last closed under them
  int arrived = -1;

  size_t ClassAt(size_t place) const { return place == 0 ? cls : place - 1; }

  // False when something at least as good is there.
  bool Add(const Entry& entry, bool bounds_matter) {
    std::vector<int>& here = at[{entry.labels, entry.place}];
    for (int i : here) {
      if (!bounds_matter || (entries[i].hops <= entry.hops && entries[i].bound >= entry.bound)) return false;
    }
    here.push_back(static_cast<int>(entries.size()));
    entries.push_back(entry);
    return true;
  }
};

class Search {
 public:
  Search(const World& world, const ReachQuery& query, std::vector<Labels> data, const FlowTable::Options& options)
      : world_(world), query_(query), table_(world, std::move(data), options) {
    purposes_ = query.purpose ? std::vector<std::string>{*query.purpose} : PurposeSpace(world);
    for (size_t c = 0; c < table_.classes(); ++c) inside_.push_back(Inside(*table_.members(c).front()));
  }

  absl::StatusOr<Reach> Run();

 private:
  bool Inside(const Site& site) const { return RegionContains(query_.to, site.region); }
  absl::Status FindHomes();
  Instant At(absl::Time now);
  bool Visit(absl::Time now);
  void Close(Home* home, const Instant& instant, absl::Time now);
  void Relabel(Home* home, const Instant& instant, absl::Time now, int index, std::deque<int>* queue);
  void Spread(Home* home, const Instant& instant, absl::Time now, int index, std::deque<int>* queue);
  // The bound of a copy that goes from `entry` to class `to`: nothing when it may not.
  bool Hop(const Home& home, size_t moment, const Entry& entry, size_t to, uint32_t* bound);
  // Transfer and reside, asked once for all homes.
  bool Copies(size_t moment, size_t labels, size_t from, size_t to);
  bool Pays(const Home& home, const Entry& entry, size_t to) const;
  void DescribePath(const Home& home, Reach* out) const;
  void DescribeCut(Reach* out) const;
  struct Stop {
    const char* what;
    Reason reason;
    const Rule* rule;
    bool operator<(const Stop& o) const {
      return std::tuple(std::string_view(what), reason, rule) < std::tuple(std::string_view(o.what), o.reason, o.rule);
    }
  };
  Stop WhyNot(const Home& home, const FlowTable::Moment& moment, const Entry& entry, size_t to) const;

  const World& world_;
  const ReachQuery& query_;
  FlowTable table_;
  std::vector<std::string> purposes_;
  std::vector<bool> inside_;
  std::vector<Home> homes_;
  bool direct_ = false;  // only single hops into the region can tell
  bool begins_there_ = false;
  std::vector<FlowTable::Moment> moments_;
  std::map<std::pair<size_t, size_t>, std::vector<char>> copies_;  // moment, labels -> by classes: y, n, ? not asked
  std::map<std::tuple<std::vector<uint64_t>, std::vector<uint64_t>, size_t>, size_t> moment_numbers_;
};

absl::Status Search::FindHomes() {
  std::set<size_t> classes;
  if (query_.homes.empty()) {
    for (size_t c = 0; c < table_.classes(); ++c) {
      if (!inside_[c]) classes.insert(c);
    }
    // Whoever makes the last hop could as well be the home: it needs nothing more, and no transit.
    direct_ = !table_.Named(Action::kRelabel);
  }
  for (const std::string& name : query_.homes) {
    const size_t site = table_.ClassOf(name);  // alone in its class, by Options::split
    if (site != table_.classes()) {
      classes.insert(site);
      continue;
    }
    if (!std::binary_search(world_.regions.begin(), world_.regions.end(), name)) {
      return absl::NotFoundError(absl::StrCat(name, " is neither a site nor a region"));
    }
    for (size_t c = 0; c < table_.classes(); ++c) {
      if (RegionContains(name, table_.members(c).front()->region)) classes.insert(c);
    }
  }
  for (size_t c : classes) {
    begins_there_ |= inside_[c];
    Home& home = homes_.emplace_back(c, table_.members(c).size() == 1);
    Entry start;
    start.at = query_.now;
    home.Add(start, false);
  }
  return absl::OkStatus();
}

Instant Search::At(absl::Time now) {
  Instant instant;
  for (const std::string& purpose : purposes_) {
    FlowTable::Moment moment = table_.At(now, purpose);
    auto [it, fresh] =
        moment_numbers_.try_emplace({moment.rest.sure, moment.rest.maybe, moment.epoch}, moments_.size());
    if (fresh) moments_.push_back(std::move(moment));
    instant.moments.push_back(it->second);
  }
  if (table_.Named(Action::kRelabel)) {  // its purpose is unknown
    const FlowTable::Moment moment = table_.At(now, "");
    instant.relabel.resize(table_.classes());
    for (const Home& home : homes_) {
      for (size_t d = 0; d < table_.data().size(); ++d) {
        instant.relabel[home.cls].push_back(table_.Permits(moment, d, Action::kRelabel, home.cls, home.cls));
      }
    }
  }
  return instant;
}

bool Search::Visit(absl::Time now) {
  const Instant instant = At(now);
  std::vector<size_t> key = instant.moments;
  if (!instant.relabel.empty()) {
    const FlowTable::Moment moment = table_.At(now, "");
    auto [it, fresh] =
        moment_numbers_.try_emplace({moment.rest.sure, moment.rest.maybe, moment.epoch}, moments_.size());
    if (fresh) moments_.push_back(moment);
    key.push_back(it->second);
  }
  bool learnt = false;
  for (Home& home : homes_) {
    auto [closed, fresh] = home.closed.try_emplace(key, 0);
    if (!fresh && closed->second == home.entries.size()) continue;
    const size_t before = home.entries.size();
    Close(&home, instant, now);
    learnt |= fresh || home.entries.size() != before;
    closed->second = home.entries.size();
  }
  return learnt;
}

// Everything that can be reached from what is already there, fewest hops first.
void Search::Close(Home* home, const Instant& instant, absl::Time now) {
  std::map<uint32_t, std::deque<int>> by_hops;
  for (size_t i = 0; i < home->entries.size(); ++i) by_hops[home->entries[i].hops].push_back(static_cast<int>(i));
  while (!by_hops.empty() && home->arrived < 0) {
    auto level = by_hops.begin();
    while (!level->second.empty() && home->arrived < 0) {
      const int index = level->second.front();
      level->second.pop_front();
      Relabel(home, instant, now, index, &level->second);
      std::deque<int> next;
      Spread(home, instant, now, index, &next);
      if (!next.empty()) {
        std::deque<int>& later = by_hops[level->first + 1];
        later.insert(later.end(), next.begin(), next.end());
      }
    }
    by_hops.erase(level);
  }
}

void Search::Relabel(Home* home, const Instant& instant, absl::Time now, int index, std::deque<int>* queue) {
  if (instant.relabel.empty()) return;
  const std::vector<char>& may = instant.relabel[home->cls];
  if (!may[home->entries[index].labels]) return;
  for (size_t to = 0; to < may.size(); ++to) {
    Entry entry = home->entries[index];
    if (!may[to] || to == entry.labels) continue;
    entry.labels = to;
    entry.parent = index;
    entry.relabelled = true;
    entry.at = now;
    if (home->Add(entry, table_.bounds_hops())) queue->push_back(static_cast<int>(home->entries.size()) - 1);
  }
}

// Whether a copy there could be news: not back to the home, not to a sibling of a copy.
bool Search::Pays(const Home& home, const Entry& entry, size_t to) const {
  if (direct_ && !inside_[to]) return false;
  if (to == home.cls && home.alone) return false;
  return entry.place != to + 1;
}

bool Search::Copies(size_t moment, size_t labels, size_t from, size_t to) {
  auto ask = [&] {
    return table_.Permits(moments_[moment], labels, Action::kTransfer, from, to) &&
           table_.Permits(moments_[moment], labels, Action::kReside, from, to);
  };
  const size_t classes = table_.classes();
  auto it = copies_.find({moment, labels});
  if (it == copies_.end()) {
    if ((copies_.size() + 1) * classes * classes > kMaxCacheBytes) return ask();
    it = copies_.emplace(std::pair(moment, labels), std::vector<char>(classes * classes, '?')).first;
  }
  char& answer = it->second[from * classes + to];
  if (answer == '?') answer = ask() ? 'y' : 'n';
  return answer == 'y';
}

bool Search::Hop(const Home& home, size_t moment, const Entry& entry, size_t to, uint32_t* bound) {
  const size_t from = home.ClassAt(entry.place);
  const bool relay = entry.place != 0;
  *bound = entry.bound;
  if (!Copies(moment, entry.labels, from, to)) return false;
  if (!table_.bounds_hops()) {
    return !relay || table_.Permits(moments_[moment], entry.labels, Action::kTransit, home.cls, from);
  }
  auto judge = [&](Action action, size_t source, size_t destination) {
    const FlowTable::Verdict verdict = table_.Judge(moments_[moment], entry.labels, action, source, destination);
    if (verdict.obligations.max_hops != 0) *bound = std::min(*bound, verdict.obligations.max_hops);
    if (verdict.obligations.no_transit) *bound = std::min(*bound, uint32_t{1});  // only the home sends
    return verdict.permitted();
  };
  return judge(Action::kTransfer, from, to) && judge(Action::kReside, from, to) &&
         (!relay || judge(Action::kTransit, home.cls, from)) && entry.hops < *bound;
}

void Search::Spread(Home* home, const Instant& instant, absl::Time now, int index, std::deque<int>* queue) {
  for (size_t to = 0; to < table_.classes(); ++to) {
    const Entry from = home->entries[index];
    if (!Pays(*home, from, to)) continue;
    if (!table_.bounds_hops() && home->at.count({from.labels, to + 1}) != 0) continue;  // no way there is better
    for (size_t p = 0; p < purposes_.size(); ++p) {
      Entry entry = from;
      if (!Hop(*home, instant.moments[p], from, to, &entry.bound)) continue;
      entry.place = to + 1;
      entry.hops = from.hops + 1;
      entry.parent = index;
      entry.purpose = p;
      entry.moment = instant.moments[p];
      entry.relabelled = false;
      entry.at = now;
      if (!home->Add(entry, table_.bounds_hops())) continue;
      queue->push_back(static_cast<int>(home->entries.size()) - 1);
      if (inside_[to]) {
        home->arrived = queue->back();
        return;
      }
    }
  }
}

void Search::DescribePath(const Home& home, Reach* out) const {
  std::vector<const Entry*> entries;
  for (int i = home.arrived; i >= 0; i = home.entries[i].parent) entries.push_back(&home.entries[i]);
  std::reverse(entries.begin(), entries.end());
  const Site* home_site = table_.members(home.cls).front();
  const Site* at = home_site;
  for (size_t i = 1; i < entries.size(); ++i) {
    const Entry &entry = *entries[i], &before = *entries[i - 1];
    ReachStep step;
    step.data = table_.data()[entry.labels];
    step.at = entry.at;
    step.relabel = entry.relabelled;
    auto name = [&](const FlowTable::Moment& moment, size_t data, Action action, size_t from, size_t to) {
      const FlowTable::Verdict verdict = table_.Judge(moment, data, action, from, to);
      const std::string rule = verdict.rule == nullptr ? "" : verdict.rule->name();
      step.rules.push_back(absl::StrCat(ActionName(action), " by ", rule));
    };
    if (step.relabel) {
      const FlowTable::Moment moment = table_.At(entry.at, "");
      name(moment, before.labels, Action::kRelabel, home.cls, home.cls);
      name(moment, entry.labels, Action::kRelabel, home.cls, home.cls);
      if (step.rules[0] == step.rules[1]) step.rules.pop_back();
      step.from = step.to = home_site->name;
      step.from_region = step.to_region = home_site->region;
    } else {
      const FlowTable::Moment& moment = moments_[entry.moment];
      const size_t from = home.ClassAt(before.place), to = entry.place - 1;
      const std::vector<const Site*>& members = table_.members(to);
      const Site* next = to == home.cls ? members[1] : members.front();
      name(moment, entry.labels, Action::kTransfer, from, to);
      name(moment, entry.labels, Action::kReside, from, to);
      if (before.place != 0) name(moment, entry.labels, Action::kTransit, home.cls, from);
      step.purpose = purposes_[entry.purpose];
      step.from = at->name;
      step.from_region = at->region;
      step.to = next->name;
      step.to_region = next->region;
      at = next;
    }
    out->path.push_back(std::move(step));
  }
}

Search::Stop Search::WhyNot(const Home& home, const FlowTable::Moment& moment, const Entry& entry, size_t to) const {
  const size_t from = home.ClassAt(entry.place);
  struct Ask {
    Action action;
    size_t from, to;
    bool needed;
  };
  for (const Ask& ask : {Ask{Action::kTransfer, from, to, true}, Ask{Action::kReside, from, to, true},
                         Ask{Action::kTransit, home.cls, from, entry.place != 0}}) {
    if (!ask.needed) continue;
    const FlowTable::Verdict verdict = table_.Judge(moment, entry.labels, ask.action, ask.from, ask.to);
    if (!verdict.permitted()) return {ActionName(ask.action), verdict.reason, verdict.rule};
  }
  return {"hops", Reason::kPermitted, nullptr};
}

void Search::DescribeCut(Reach* out) const {
  struct Found {
    std::set<std::pair<size_t, size_t>> pairs;  // of classes
    std::set<std::string> into;
    std::string from, to;
  };
  std::map<Stop, Found> found;
  std::set<size_t> reached;
  std::set<std::tuple<size_t, bool, size_t, size_t>> told;  // labels, as a copy, from, to: of many homes one tells
  auto where = [](const Site& site) { return absl::StrCat(site.name, " (", site.region, ")"); };
  const size_t moments = std::min(moments_.size(), kMaxCutMoments);
  for (const Home& home : homes_) {
    std::set<size_t> here;
    for (const Entry& entry : home.entries) here.insert(home.ClassAt(entry.place));
    reached.insert(here.begin(), here.end());
    for (const Entry& entry : home.entries) {
      const size_t from = home.ClassAt(entry.place);
      for (size_t to = 0; to < table_.classes(); ++to) {
        if (here.count(to) != 0 || (direct_ && !inside_[to])) continue;
        if (!told.emplace(entry.labels, entry.place != 0, from, to).second) continue;
        for (size_t m = 0; m < moments; ++m) {
          const Stop stop = WhyNot(home, moments_[m], entry, to);
          Found& one = found[stop];
          if (one.pairs.empty()) {
            one.from = where(*table_.members(from).front());
            one.to = where(*table_.members(to).front());
          }
          if (!one.pairs.emplace(from, to).second) continue;
          for (const Site* site : table_.members(to)) one.into.insert(site->region);
        }
      }
    }
  }
  for (size_t c : reached) out->reached += table_.members(c).size();
  for (const auto& [stop, one] : found) {
    ReachCut cut;
    cut.what = stop.what;
    cut.reason = stop.reason;
    if (stop.rule != nullptr) cut.rule = stop.rule->name();
    for (const auto& [from, to] : one.pairs) cut.pairs += table_.members(from).size() * table_.members(to).size();
    cut.from = one.from;
    cut.to = one.to;
    cut.into.assign(one.into.begin(), one.into.end());
    out->cut.push_back(std::move(cut));
  }
  std::stable_sort(out->cut.begin(), out->cut.end(), [](const ReachCut& a, const ReachCut& b) {
    return std::tie(b.pairs, a.rule, a.what) < std::tie(a.pairs, b.rule, b.what);
  });
}

absl::StatusOr<Reach> Search::Run() {
  if (absl::Status homes = FindHomes(); !homes.ok()) return homes;
  Reach out;
  out.classes = table_.classes();
  out.relabel_ruled = table_.Named(Action::kRelabel);
  for (size_t c = 0; c < table_.classes(); ++c) {
    out.sites += table_.members(c).size();
    if (inside_[c]) out.targets += table_.members(c).size();
  }
  if (begins_there_) {
    out.reaches = out.begins_there = true;
    return out;
  }
  auto arrived = [this] {
    return std::any_of(homes_.begin(), homes_.end(), [](const Home& home) { return home.arrived >= 0; });
  };
  if (query_.only_now) {
    Visit(query_.now);
  } else {
    WalkTime(
        world_, query_.now, [this](absl::Time now) { return Visit(now); }, arrived);
  }
  const Home* best = nullptr;
  for (const Home& home : homes_) {
    if (home.arrived < 0) continue;
    if (best == nullptr || home.entries[home.arrived].hops < best->entries[best->arrived].hops) best = &home;
  }
  out.reaches = best != nullptr;
  if (best != nullptr) {
    DescribePath(*best, &out);
  } else {
    DescribeCut(&out);
  }
  return out;
}

}  // namespace

absl::StatusOr<Reach> FindReach(const World& world, const ReachQuery& query) {
  if (!std::binary_search(world.regions.begin(), world.regions.end(), query.to)) {
    return absl::NotFoundError(absl::StrCat("region ", query.to, " is not declared"));
  }
  const bool relabels = std::any_of(world.rules.begin(), world.rules.end(), [](const Rule& rule) {
    return std::find(rule.actions.begin(), rule.actions.end(), Action::kRelabel) != rule.actions.end();
  });
  std::vector<Labels> data = {query.data};
  if (relabels) {
    absl::StatusOr<std::vector<Labels>> space = LabelSpace(world, query.data, kMaxLabelSets);
    if (!space.ok()) return space.status();
    data = *std::move(space);
  }
  FlowTable::Options options;
  options.from = query.now;
  options.any_sites = query.any_sites;
  options.split = [&query](const Site& site) {
    std::string side = RegionContains(query.to, site.region) ? "i" : "o";
    for (const std::string& home : query.homes)
      side += home == site.name ? 's' : RegionContains(home, site.region) ? 'r' : '-';
    return side;
  };
  Search search(world, query, std::move(data), options);
  return search.Run();
}

}  // namespace bailiwick::policy
