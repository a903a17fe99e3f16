#include "common/policy/flow_table.h"

#include <algorithm>
#include <bit>
#include <set>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/policy/judge.h"

namespace bailiwick::policy {
namespace {

constexpr absl::string_view kSetPrefix = "set:";

void Set(std::vector<uint64_t>* bits, size_t at) { (*bits)[at / 64] |= uint64_t{1} << (at % 64); }

void SetTruth(Bits* bits, size_t at, Truth truth) {
  if (truth == Truth::kTrue) Set(&bits->sure, at);
  if (truth != Truth::kFalse) Set(&bits->maybe, at);
}

Bits Empty(size_t words) { return {std::vector<uint64_t>(words), std::vector<uint64_t>(words)}; }

// A rule of the same policy with nothing to say: what one part of `rule` is judged in.
Rule Bare(const Rule& rule) {
  Rule bare;
  bare.policy = rule.policy;
  bare.id = rule.id;
  bare.effect = rule.effect;
  bare.actions = {Action::kTransfer};
  return bare;
}

// Gives equal things the same small number.
template <typename Key>
class Numbers {
 public:
  size_t Of(const Key& key) { return numbers_.try_emplace(key, numbers_.size()).first->second; }
  size_t size() const { return numbers_.size(); }

 private:
  std::map<Key, size_t> numbers_;
};

std::string SelectorKey(const Selector& selector) {
  std::string key;
  for (const LabelCondition& c : selector.conditions) {
    absl::StrAppend(&key, c.key, "\x01", static_cast<int>(c.op), "\x01", absl::StrJoin(c.values, "\x02"), "\x03");
  }
  return key;
}

// What one list of regions, one selector or one list of entities says of each value that a site can have there.
// Compiled once and shared by every rule that says the same.
struct Part {
  std::vector<std::vector<Truth>> by_epoch;  // one entry when time changes nothing
  Truth At(size_t epoch, size_t value) const { return by_epoch[by_epoch.size() == 1 ? 0 : epoch][value]; }
};

}  // namespace

// What sites can have: regions, entities, the labels that rules name; and what the places of rules say of them.
struct FlowTable::Parts {
  struct Value {
    size_t region, entity, labels;
    bool operator<(const Value& o) const {
      return std::tie(region, entity, labels) < std::tie(o.region, o.entity, o.labels);
    }
  };
  const World& world;
  const std::vector<absl::Time>& epochs;        // an instant inside each
  std::vector<Site> regions, entities, labels;  // a site that has this value and nothing else
  std::map<std::string, size_t> part_of;
  std::vector<Part> parts;

  struct PlaceParts {
    std::vector<std::pair<size_t, char>> parts;  // number, and of what: r, e, l
  };

  size_t Add(const std::string& key, const Rule& bare, const std::vector<Site>& values, bool timed) {
    auto [it, fresh] = part_of.try_emplace(key, parts.size());
    if (!fresh) return it->second;
    Part part;
    for (size_t epoch = 0; epoch < (timed ? epochs.size() : 1); ++epoch) {
      std::vector<Truth>& truths = part.by_epoch.emplace_back();
      for (const Site& site : values) {
        const Labels none;
        Subject subject;
        subject.world = &world;
        subject.data = &none;
        subject.from = subject.to = &site;
        subject.now = epochs[epoch];
        truths.push_back(policy::Judge(subject, bare, nullptr));
      }
    }
    parts.push_back(std::move(part));
    return it->second;
  }

  size_t AddRegions(const Rule& rule, const std::vector<std::string>& places, bool negated) {
    const bool sets =
        std::any_of(places.begin(), places.end(), [](const std::string& p) { return absl::StartsWith(p, kSetPrefix); });
    Rule bare = Bare(rule);
    (negated ? bare.from.not_in : bare.from.in) = places;
    return Add(absl::StrCat("r", negated, sets ? rule.policy : "", "\x01", absl::StrJoin(places, "\x01")), bare,
               regions, sets && epochs.size() > 1);
  }

  PlaceParts Compile(const Rule& rule, const Place& place) {
    PlaceParts out;
    if (!place.in.empty()) out.parts.push_back({AddRegions(rule, place.in, false), 'r'});
    if (!place.not_in.empty()) out.parts.push_back({AddRegions(rule, place.not_in, true), 'r'});
    if (!place.sites.conditions.empty()) {
      Rule bare = Bare(rule);
      bare.from.sites = place.sites;
      out.parts.push_back({Add("l" + SelectorKey(place.sites), bare, labels, false), 'l'});
    }
    if (!place.entities.empty()) {
      Rule bare = Bare(rule);
      bare.from.entities = place.entities;
      out.parts.push_back({Add("e" + absl::StrJoin(place.entities, "\x01"), bare, entities, false), 'e'});
    }
    return out;
  }

  Truth Judge(const PlaceParts& place, size_t epoch, const Value& value) const {
    Truth truth = Truth::kTrue;
    for (const auto& [part, of] : place.parts) {
      truth = Both(truth, parts[part].At(epoch, of == 'r' ? value.region : of == 'l' ? value.labels : value.entity));
      if (truth == Truth::kFalse) break;
    }
    return truth;
  }
};

FlowTable::FlowTable(const World& world, std::vector<Labels> data, const Options& options)
    : world_(world), data_(std::move(data)) {
  for (const auto& [policy, sets] : world_.sets) {
    for (const auto& [name, set] : sets) {
      if (set.expires && *set.expires > options.from) expiries_.push_back(*set.expires);
    }
  }
  std::sort(expiries_.begin(), expiries_.end());
  expiries_.erase(std::unique(expiries_.begin(), expiries_.end()), expiries_.end());
  CollectSites(options);
  CollectRules();
  BuildClasses(options);
}

void FlowTable::CollectSites(const Options& options) {
  for (const auto& [name, site] : world_.sites) sites_.push_back(&site);
  if (!options.any_sites) return;
  extra_.reserve(world_.regions.size());
  for (const std::string& region : world_.regions) {
    Site& site = extra_.emplace_back();
    site.name = absl::StrCat("any site of ", region);
    site.region = region;
    sites_.push_back(&site);
  }
}

void FlowTable::CollectRules() {
  Site nowhere;
  std::vector<std::pair<const Rule*, std::vector<Truth>>> judged;
  for (const Rule& rule : world_.rules) {
    for (Action action : rule.actions) {
      named_[static_cast<int>(action)] = true;
      guarded_[static_cast<int>(action)] |= rule.tier == Tier::kGuardrail && rule.effect == Effect::kPermit;
    }
    Rule bare = Bare(rule);
    bare.data = rule.data;
    std::vector<Truth> truths;
    bool possible = false;
    for (const Labels& labels : data_) {
      Subject subject;
      subject.world = &world_;
      subject.data = &labels;
      subject.from = subject.to = &nowhere;
      truths.push_back(policy::Judge(subject, bare, nullptr));
      possible |= truths.back() != Truth::kFalse;
    }
    if (possible) judged.push_back({&rule, std::move(truths)});
  }
  std::sort(judged.begin(), judged.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first->policy, a.first->id) < std::tie(b.first->policy, b.first->id);
  });
  words_ = (judged.size() + 63) / 64;
  data_bits_.assign(data_.size(), Empty(words_));
  for (Masks& masks : masks_) {
    for (auto* mask : {&masks.any, &masks.forbid, &masks.permit, &masks.guard}) mask->resize(words_);
  }
  for (size_t r = 0; r < judged.size(); ++r) {
    const Rule& rule = *judged[r].first;
    rules_.push_back(&rule);
    Rule& rest = rest_.emplace_back(rule);
    rest.actions = {Action::kTransfer};
    rest.data = {};
    rest.from = rest.to = {};
    for (size_t d = 0; d < data_.size(); ++d) SetTruth(&data_bits_[d], r, judged[r].second[d]);
    for (Action action : rule.actions) {
      Masks& masks = masks_[static_cast<int>(action)];
      Set(&masks.any, r);
      if (rule.effect == Effect::kForbid) {
        Set(&masks.forbid, r);
      } else {
        Set(rule.tier == Tier::kGuardrail ? &masks.guard : &masks.permit, r);
        obliges_ |= !rule.obligations.none();
        bounds_hops_ |= rule.obligations.max_hops != 0 || rule.obligations.no_transit;
      }
    }
  }
}

void FlowTable::BuildClasses(const Options& options) {
  std::vector<absl::Time> epochs = {options.from};
  epochs.insert(epochs.end(), expiries_.begin(), expiries_.end());
  Parts parts{world_, epochs, {}, {}, {}, {}, {}};
  std::set<std::string> keys;
  for (const Rule* rule : rules_) {
    for (const Place* place : {&rule->from, &rule->to}) {
      for (const LabelCondition& c : place->sites.conditions) keys.insert(c.key);
    }
  }
  // Sites to values: equal in what rules can look at.
  Numbers<std::string> regions, entities;
  Numbers<Labels> labels;
  std::map<std::pair<Parts::Value, std::string>, std::vector<const Site*>> groups;
  for (const Site* site : sites_) {
    Labels seen;
    for (const auto& [key, value] : site->labels) {
      if (keys.count(key) != 0) seen.emplace(key, value);
    }
    const Parts::Value value{regions.Of(site->region), entities.Of(site->entity), labels.Of(seen)};
    auto note = [](std::vector<Site>* values, size_t number) -> Site* {
      return number == values->size() ? &values->emplace_back() : nullptr;
    };
    if (Site* fresh = note(&parts.regions, value.region)) fresh->region = site->region;
    if (Site* fresh = note(&parts.entities, value.entity)) fresh->entity = site->entity;
    if (Site* fresh = note(&parts.labels, value.labels)) fresh->labels = seen;
    groups[{value, options.split ? options.split(*site) : std::string()}].push_back(site);
  }
  std::vector<std::pair<Parts::PlaceParts, Parts::PlaceParts>> places;
  for (const Rule* rule : rules_) {
    places.emplace_back(parts.Compile(*rule, rule->from), parts.Compile(*rule, rule->to));
  }
  // Values to classes: equal in what rules make of them.
  std::map<std::string, size_t> known;
  for (auto& [key, members] : groups) {
    Class made;
    made.declared = std::binary_search(world_.regions.begin(), world_.regions.end(), members.front()->region);
    std::string signature = absl::StrCat(key.second, "\x01", made.declared);
    for (size_t epoch = 0; epoch < epochs.size(); ++epoch) {
      Bits from = Empty(words_), to = Empty(words_);
      for (size_t r = 0; r < rules_.size(); ++r) {
        SetTruth(&from, r, parts.Judge(places[r].first, epoch, key.first));
        SetTruth(&to, r, parts.Judge(places[r].second, epoch, key.first));
      }
      for (const auto* bits : {&from.sure, &from.maybe, &to.sure, &to.maybe}) {
        signature.append(reinterpret_cast<const char*>(bits->data()), bits->size() * sizeof(uint64_t));
      }
      made.from.push_back(std::move(from));
      made.to.push_back(std::move(to));
    }
    auto [it, fresh] = known.try_emplace(std::move(signature), classes_.size());
    if (fresh) classes_.push_back(std::move(made));
    Class& into = classes_[it->second];
    into.members.insert(into.members.end(), members.begin(), members.end());
  }
  for (Class& c : classes_) {
    std::sort(c.members.begin(), c.members.end(), [this](const Site* a, const Site* b) {
      const bool declared_a = world_.sites.count(a->name) != 0, declared_b = world_.sites.count(b->name) != 0;
      return declared_a != declared_b ? declared_a : a->name < b->name;
    });
  }
  // In order of names, so that no answer depends on how sites were numbered.
  std::sort(classes_.begin(), classes_.end(),
            [](const Class& a, const Class& b) { return a.members.front()->name < b.members.front()->name; });
  for (size_t c = 0; c < classes_.size(); ++c) {
    for (const Site* site : classes_[c].members) class_of_[site->name] = c;
  }
}

size_t FlowTable::ClassOf(const std::string& site) const {
  auto it = class_of_.find(site);
  return it == class_of_.end() ? classes_.size() : it->second;
}

FlowTable::Moment FlowTable::At(absl::Time now, const std::string& purpose) const {
  Moment moment;
  moment.rest = Empty(words_);
  moment.epoch = std::upper_bound(expiries_.begin(), expiries_.end(), now) - expiries_.begin();
  const Labels none;
  const Site nowhere;
  for (size_t r = 0; r < rules_.size(); ++r) {
    Subject subject;
    subject.world = &world_;
    subject.data = &none;
    subject.from = subject.to = &nowhere;
    subject.purpose = purpose;
    subject.now = now;
    SetTruth(&moment.rest, r, policy::Judge(subject, rest_[r], nullptr));
  }
  return moment;
}

template <typename Each>
bool FlowTable::Scan(const Moment& moment, size_t data, Action action, size_t from, size_t to, const Each& each) const {
  const Class &source = classes_[from], &destination = classes_[to];
  if (!source.declared || !destination.declared) return false;
  const Bits &d = data_bits_[data], &f = source.from[moment.epoch], &t = destination.to[moment.epoch];
  const Masks& masks = masks_[static_cast<int>(action)];
  for (size_t w = 0; w < words_; ++w) {
    uint64_t maybe = masks.any[w] & d.maybe[w];
    if (maybe == 0) continue;
    maybe &= moment.rest.maybe[w] & f.maybe[w] & t.maybe[w];
    if (maybe == 0) continue;
    const uint64_t sure = maybe & d.sure[w] & moment.rest.sure[w] & f.sure[w] & t.sure[w];
    if (!each(w, maybe, sure)) return false;
  }
  return true;
}

bool FlowTable::Permits(const Moment& moment, size_t data, Action action, size_t from, size_t to) const {
  const Masks& masks = masks_[static_cast<int>(action)];
  bool permit = false, guard = false;
  const bool undenied = Scan(moment, data, action, from, to, [&](size_t w, uint64_t maybe, uint64_t sure) {
    if (maybe != sure || (sure & masks.forbid[w]) != 0) return false;
    permit |= (sure & masks.permit[w]) != 0;
    guard |= (sure & masks.guard[w]) != 0;
    return true;
  });
  return undenied && permit && (guard || !guarded_[static_cast<int>(action)]);
}

FlowTable::Verdict FlowTable::Judge(const Moment& moment, size_t data, Action action, size_t from, size_t to) const {
  const Masks& masks = masks_[static_cast<int>(action)];
  const Rule *forbid = nullptr, *error = nullptr, *permit = nullptr, *guard = nullptr;
  auto lowest = [this](const Rule** rule, size_t w, uint64_t bits) {
    if (*rule == nullptr && bits != 0) *rule = rules_[w * 64 + std::countr_zero(bits)];
  };
  Verdict verdict;
  const bool judged = Scan(moment, data, action, from, to, [&](size_t w, uint64_t maybe, uint64_t sure) {
    lowest(&forbid, w, sure & masks.forbid[w]);
    lowest(&error, w, maybe & ~sure);
    lowest(&permit, w, sure & masks.permit[w]);
    lowest(&guard, w, sure & masks.guard[w]);
    for (uint64_t bits = sure & (masks.permit[w] | masks.guard[w]); bits != 0; bits &= bits - 1) {
      verdict.obligations.Add(rules_[w * 64 + std::countr_zero(bits)]->obligations);
    }
    return true;
  });
  if (!judged || forbid != nullptr || error != nullptr) {
    verdict.reason = forbid != nullptr ? Reason::kForbidden : Reason::kError;
    verdict.rule = forbid != nullptr ? forbid : error;
  } else if (permit != nullptr && (guard != nullptr || !guarded_[static_cast<int>(action)])) {
    verdict.reason = Reason::kPermitted;
    verdict.rule = permit;
  }
  if (!verdict.permitted()) verdict.obligations = {};
  return verdict;
}

std::vector<size_t> FlowTable::DataClasses() const {
  std::vector<size_t> classes;
  Numbers<std::pair<std::vector<uint64_t>, std::vector<uint64_t>>> numbers;
  for (const Bits& bits : data_bits_) classes.push_back(numbers.Of({bits.sure, bits.maybe}));
  return classes;
}

}  // namespace bailiwick::policy
