#include "common/policy/check.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/policy/judge.h"
#include "common/policy/window.h"

namespace bailiwick::policy {
namespace {

constexpr absl::string_view kSetPrefix = "set:";

std::string Day(absl::Time time) { return absl::FormatTime("%Y-%m-%d", time, absl::UTCTimeZone()); }

bool Includes(const std::vector<std::string>& all, const std::vector<std::string>& some) {
  return std::all_of(some.begin(), some.end(),
                     [&](const std::string& s) { return std::find(all.begin(), all.end(), s) != all.end(); });
}

// The conditions of a selector by key, and what each says of a value of that key (none: absent).
struct ByKey {
  std::map<std::string, Selector> keys;
  explicit ByKey(const Selector& selector) {
    for (const LabelCondition& c : selector.conditions) keys[c.key].conditions.push_back(c);
  }
};

Match Stands(const Selector& selector, const std::string& key, const std::optional<std::string>& value) {
  return Matches(selector, value ? Labels{{key, *value}} : Labels(), nullptr);
}

// Every value of the key that could matter to either: those named, one that is not, and none.
std::vector<std::optional<std::string>> ValuesOf(const Selector& a, const Selector* b) {
  std::set<std::string> named;
  for (const Selector* s : {&a, b}) {
    if (s == nullptr) continue;
    for (const LabelCondition& c : s->conditions) named.insert(c.values.begin(), c.values.end());
  }
  std::string other = "other";
  while (named.count(other) != 0) other += "-value";
  std::vector<std::optional<std::string>> values(named.begin(), named.end());
  values.push_back(other);
  values.push_back(std::nullopt);
  return values;
}

// The key whose conditions no value meets; empty when there is none.
std::string Contradiction(const Selector& selector) {
  for (const auto& [key, conditions] : ByKey(selector).keys) {
    bool possible = false;
    for (const auto& value : ValuesOf(conditions, nullptr)) possible |= Stands(conditions, key, value) == Match::kYes;
    if (!possible) return key.empty() ? "(unknown)" : key;
  }
  return "";
}

// How one rule must hold for another to make it vain.
enum class Need {
  kDenies,   // where the one may apply, the other may too: of a forbid, which denies both when it applies and in error
  kPermits,  // where the one applies, the other applies; where it is an error, which denies, so is the other
};

template <typename T>
bool Enough(Need need, T one, T other, T no) {
  if (one == no) return true;
  return need == Need::kPermits ? other == one : other != no;
}

bool Implies(Need need, const Selector& one, const Selector& other) {
  const ByKey ones(one), others(other);
  std::set<std::string> keys;
  for (const ByKey* side : {&ones, &others}) {
    for (const auto& [key, conditions] : side->keys) keys.insert(key);
  }
  for (const std::string& key : keys) {
    auto mine = ones.keys.find(key), theirs = others.keys.find(key);
    const Selector own = mine == ones.keys.end() ? Selector() : mine->second;
    const Selector conditions = theirs == others.keys.end() ? Selector() : theirs->second;
    for (const auto& value : ValuesOf(conditions, &own)) {
      if (!Enough(need, Stands(own, key, value), Stands(conditions, key, value), Match::kNo)) return false;
    }
  }
  return true;
}

bool ImpliesEntities(const std::vector<std::string>& one, const std::vector<std::string>& other, Need need) {
  // Of a site without an entity a list is an error.
  if (other.empty()) return one.empty() || need == Need::kDenies;
  return !one.empty() && Includes(other, one);
}

bool ImpliesPurposes(const Rule& one, const Rule& other, Need need) {
  if (other.purposes.empty()) return one.purposes.empty() || need == Need::kDenies;
  return !one.purposes.empty() && Includes(other.purposes, one.purposes);
}

bool SameWhen(const When& a, const When& b) {
  if (a.not_before != b.not_before || a.not_after != b.not_after || a.daily.size() != b.daily.size()) return false;
  for (size_t i = 0; i < a.daily.size(); ++i) {
    const Daily &x = a.daily[i], &y = b.daily[i];
    if (x.days != y.days || x.from_minute != y.from_minute || x.to_minute != y.to_minute || x.tz != y.tz) return false;
  }
  return true;
}

class Checker {
 public:
  Checker(const World& world, const std::vector<NamedData>& datasets, absl::Time now)
      : world_(world), datasets_(datasets), now_(now) {
    for (const Rule& rule : world.rules) {
      from_.push_back(Regions(rule, rule.from));
      to_.push_back(Regions(rule, rule.to));
    }
  }

  std::vector<LawFinding> Run() {
    for (size_t r = 0; r < world_.rules.size(); ++r) Rules(r);
    Sets();
    Cover();
    return std::move(findings_);
  }

 private:
  void Find(LawFinding::About about, const char* code, const std::string& policy, const std::string& name,
            const char* part, std::string text, bool error = false) {
    findings_.push_back({about, error, code, policy, name, part, std::move(text)});
  }

  // What the lists of regions of a place say of every declared region.
  std::vector<Truth> Regions(const Rule& rule, const Place& place) const {
    Rule bare;
    bare.policy = rule.policy;
    bare.id = rule.id;
    bare.actions = {Action::kTransfer};
    bare.from.in = place.in;
    bare.from.not_in = place.not_in;
    return Ask(bare);
  }

  std::vector<Truth> Ask(const Rule& bare) const {
    std::vector<Truth> truths;
    const Labels none;
    for (const std::string& region : world_.regions) {
      Site site;
      site.region = region;
      Subject subject;
      subject.world = &world_;
      subject.data = &none;
      subject.from = subject.to = &site;
      subject.now = now_;
      truths.push_back(Judge(subject, bare, nullptr));
    }
    return truths;
  }

  void Rules(size_t r) {
    const Rule& rule = world_.rules[r];
    const size_t before = findings_.size();
    auto find = [&](const char* code, const char* part, std::string text) {
      Find(LawFinding::About::kRule, code, rule.policy, rule.id, part, std::move(text));
    };
    if (Flaps(r)) {
      find("flapping", "when",
           absl::StrCat("its daily window is about reside too, so copies are evicted when it ",
                        rule.effect == Effect::kPermit ? "closes and fetched again when it opens"
                                                       : "opens and fetched again when it closes",
                        "; give it actions: [transfer]"));
    }
    if (const std::string key = Contradiction(rule.data); !key.empty()) {
      find("contradiction", "data", absl::StrCat("no data can meet every condition on label ", key));
    }
    for (const auto& [part, place, regions] :
         {std::tuple("from", &rule.from, &from_[r]), std::tuple("to", &rule.to, &to_[r])}) {
      if (const std::string key = Contradiction(place->sites); !key.empty()) {
        find("contradiction", part, absl::StrCat("no site can meet every condition on label ", key));
      }
      if (std::all_of(regions->begin(), regions->end(), [](Truth t) { return t == Truth::kFalse; })) {
        find("contradiction", part,
             absl::StrCat("no declared region is in ", absl::StrJoin(place->in, ", "),
                          place->not_in.empty() ? "" : " and not in ", absl::StrJoin(place->not_in, ", ")));
      } else if (!world_.sites.empty()) {
        Unmatched(rule, part, *place);
      }
    }
    if (rule.when.not_after <= now_)
      find("ended", "when", absl::StrCat("its time ended on ", Day(rule.when.not_after)));
    UnknownLabels(rule);
    if (findings_.size() != before) return;  // a dead rule is not shadowed as well
    for (size_t q = 0; q < world_.rules.size(); ++q) {
      if (q != r && Overruled(r, q)) return;
    }
  }

  void Unmatched(const Rule& rule, const char* part, const Place& place) {
    Rule bare;
    bare.policy = rule.policy;
    bare.actions = {Action::kTransfer};
    bare.from = place;
    const Labels none;
    for (const auto& [name, site] : world_.sites) {
      Subject subject;
      subject.world = &world_;
      subject.data = &none;
      subject.from = subject.to = &site;
      subject.now = now_;
      if (Judge(subject, bare, nullptr) != Truth::kFalse) return;
    }
    Find(LawFinding::About::kRule, "unmatched", rule.policy, rule.id, part, "no declared site matches");
  }

  void UnknownLabels(const Rule& rule) {
    if (datasets_.empty()) return;
    for (const LabelCondition& c : rule.data.conditions) {
      if (c.op == Operator::kDoesNotExist || c.op == Operator::kNotIn) continue;
      bool key = false, value = c.values.empty();
      for (const NamedData& dataset : datasets_) {
        auto it = dataset.labels.find(c.key);
        if (it == dataset.labels.end()) continue;
        key = true;
        value |= std::find(c.values.begin(), c.values.end(), it->second) != c.values.end();
      }
      if (!key || !value) {
        Find(LawFinding::About::kRule, "unmatched", rule.policy, rule.id, "data",
             key ? absl::StrCat("no dataset has the label ", c.key, " with the value ", absl::StrJoin(c.values, " or "))
                 : absl::StrCat("no dataset has a label ", c.key));
      }
    }
  }

  bool ImpliesPlace(Need need, const std::vector<Truth>& one, const std::vector<Truth>& other, const Place& a,
                    const Place& b) const {
    for (size_t i = 0; i < one.size(); ++i) {
      if (!Enough(need, one[i], other[i], Truth::kFalse)) return false;
    }
    return ImpliesEntities(a.entities, b.entities, need) && Implies(need, a.sites, b.sites);
  }

  // Whether copies come and go with the rule's daily window: it is about where they may lie, and no other rule lets
  // them lie there all day.
  bool Flaps(size_t r) const {
    const Rule& rule = world_.rules[r];
    auto resides = [](const Rule& one) {
      return std::find(one.actions.begin(), one.actions.end(), Action::kReside) != one.actions.end();
    };
    if (rule.when.daily.empty() || !resides(rule)) return false;
    if (rule.effect == Effect::kForbid) return true;
    for (size_t q = 0; q < world_.rules.size(); ++q) {
      const Rule& other = world_.rules[q];
      const bool lasts = other.effect == Effect::kPermit && other.tier == rule.tier && resides(other) &&
                         other.when.daily.empty() && other.unknown.empty();
      if (lasts && (other.purposes.empty() || ImpliesPurposes(rule, other, Need::kPermits)) &&
          ImpliesPlace(Need::kPermits, from_[r], from_[q], rule.from, other.from) &&
          ImpliesPlace(Need::kPermits, to_[r], to_[q], rule.to, other.to) &&
          Implies(Need::kPermits, rule.data, other.data)) {
        return false;
      }
    }
    return true;
  }

  // Whether rule q makes rule r vain.
  bool Overruled(size_t r, size_t q) {
    const Rule &rule = world_.rules[r], &other = world_.rules[q];
    const bool permits = other.effect == Effect::kPermit;
    if (permits && (rule.effect == Effect::kForbid || other.tier != rule.tier)) return false;
    for (Action action : rule.actions) {
      if (std::find(other.actions.begin(), other.actions.end(), action) == other.actions.end()) return false;
    }
    if (!other.unknown.empty()) return false;
    if (permits) {  // what the other asks for, this one asks for as well, or there is a difference
      Obligations both = other.obligations;
      both.Add(rule.obligations);
      if (both != other.obligations) return false;
    }
    if (!SameWhen(rule.when, other.when) && (!other.when.always() || (permits && !rule.when.daily.empty())))
      return false;
    if (permits && !rule.unknown.empty()) return false;
    const Need need = permits ? Need::kPermits : Need::kDenies;
    if (!ImpliesPurposes(rule, other, need) || !ImpliesPlace(need, from_[r], from_[q], rule.from, other.from) ||
        !ImpliesPlace(need, to_[r], to_[q], rule.to, other.to) || !Implies(need, rule.data, other.data)) {
      return false;
    }
    const bool shadowed = rule.effect == Effect::kPermit && !permits;
    if (!shadowed && q > r && Overrules(q, r, need)) return false;  // the same twice: the later one is told
    Find(LawFinding::About::kRule, shadowed ? "shadowed" : "redundant", rule.policy, rule.id, "effect",
         shadowed ? absl::StrCat("it never decides: wherever it applies, ", other.name(), " forbids")
                  : absl::StrCat("it never decides: wherever it applies, ", other.name(),
                                 permits ? " permits" : " forbids", " as well"));
    return true;
  }

  bool Overrules(size_t one, size_t other, Need need) const {
    const Rule &a = world_.rules[one], &b = world_.rules[other];
    return Includes(Names(b.actions), Names(a.actions)) && a.obligations == b.obligations && SameWhen(a.when, b.when) &&
           ImpliesPurposes(a, b, need) && ImpliesPlace(need, from_[one], from_[other], a.from, b.from) &&
           ImpliesPlace(need, to_[one], to_[other], a.to, b.to) && Implies(need, a.data, b.data);
  }

  static std::vector<std::string> Names(const std::vector<Action>& actions) {
    std::vector<std::string> names;
    for (Action action : actions) names.push_back(ActionName(action));
    return names;
  }

  void Sets() {
    std::set<std::pair<std::string, std::string>> used;
    for (const Rule& rule : world_.rules) {
      for (const auto* list : {&rule.from.in, &rule.from.not_in, &rule.to.in, &rule.to.not_in}) {
        for (const std::string& place : *list) {
          if (absl::StartsWith(place, kSetPrefix)) used.emplace(rule.policy, place.substr(kSetPrefix.size()));
        }
      }
    }
    for (const auto& [policy, sets] : world_.sets) {
      for (const auto& [name, set] : sets) {
        auto find = [&, &policy = policy, &name = name](const char* code, std::string text, bool error) {
          Find(LawFinding::About::kSet, code, policy, name, "", std::move(text), error);
        };
        const bool of_use = used.count({policy, name}) != 0;
        if (!of_use) find("unused", "no rule names this set", false);
        if (!set.expires || !of_use) continue;
        if (*set.expires <= now_) {
          find("expired", absl::StrCat("it expired on ", Day(*set.expires), ": every rule that names it denies"), true);
        } else if (*set.expires - now_ <= kExpiringSoon) {
          find("expiring",
               absl::StrCat("it expires on ", Day(*set.expires), ": from then on every rule that names it denies"),
               false);
        }
      }
    }
  }

  // A permit that may concern it, or a forbid that means it: one that says something of that side.
  bool Speaks(const Rule& rule, const Place& place, const Site& site) const {
    const bool says =
        !place.in.empty() || !place.not_in.empty() || !place.sites.conditions.empty() || !place.entities.empty();
    if (rule.effect == Effect::kForbid && !says) return false;
    Rule bare;
    bare.policy = rule.policy;
    bare.actions = {Action::kTransfer};
    bare.from = place;
    const Labels none;
    Subject subject;
    subject.world = &world_;
    subject.data = &none;
    subject.from = subject.to = &site;
    subject.now = now_;
    return Judge(subject, bare, nullptr) == Truth::kTrue;
  }

  void Cover() {
    for (const auto& [name, site] : world_.sites) {
      const bool covered = std::any_of(world_.rules.begin(), world_.rules.end(), [&, &site = site](const Rule& rule) {
        return Speaks(rule, rule.from, site) || Speaks(rule, rule.to, site);
      });
      if (!covered) {
        Find(LawFinding::About::kSite, "uncovered", "", name, "",
             "no rule speaks of this site: nothing may come there and nothing may leave");
      }
    }
    for (const NamedData& dataset : datasets_) {
      const bool covered = std::any_of(world_.rules.begin(), world_.rules.end(), [&](const Rule& rule) {
        if (rule.effect == Effect::kForbid && rule.data.conditions.empty()) return false;
        return Matches(rule.data, dataset.labels, nullptr) == Match::kYes;
      });
      if (!covered) {
        Find(LawFinding::About::kDataset, "uncovered", "", dataset.name, "",
             "no rule speaks of data with these labels: it stays where it is committed");
      }
    }
  }

  const World& world_;
  const std::vector<NamedData>& datasets_;
  const absl::Time now_;
  std::vector<std::vector<Truth>> from_, to_;  // by rule, by region
  std::vector<LawFinding> findings_;
};

}  // namespace

std::vector<LawFinding> CheckLaw(const World& world, const std::vector<NamedData>& datasets, absl::Time now) {
  return Checker(world, datasets, now).Run();
}

}  // namespace bailiwick::policy
