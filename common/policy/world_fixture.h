// What tests of the evaluators share: small ways to write a world, a slow reference evaluator, and random worlds.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/policy/evaluator.h"

namespace bailiwick::policy {

inline const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

inline LabelCondition In(std::string key, std::vector<std::string> values) {
  return {std::move(key), Operator::kIn, std::move(values)};
}

inline Site MakeSite(std::string name, std::string region, Labels labels = {}, std::string entity = "") {
  Site site;
  site.name = std::move(name);
  site.region = std::move(region);
  site.labels = std::move(labels);
  site.entity = std::move(entity);
  return site;
}

inline Rule MakeRule(std::string id, Effect effect) {
  Rule rule;
  rule.policy = "acme";
  rule.id = std::move(id);
  rule.effect = effect;
  rule.actions = {Action::kTransfer, Action::kReside};
  return rule;
}

// The rules of the language again, written as plainly as possible: what the evaluator is compared with.
enum class Tri { kNo, kYes, kError };

struct Expected {
  Reason reason;
  Obligations obligations;
};

inline Tri All(const std::vector<Tri>& conditions) {
  Tri result = Tri::kYes;
  for (Tri condition : conditions) {
    if (condition == Tri::kNo) return Tri::kNo;
    if (condition == Tri::kError) result = Tri::kError;
  }
  return result;
}

inline Tri OfBool(bool value) { return value ? Tri::kYes : Tri::kNo; }

inline void Labelled(const Selector& selector, const Labels& labels, std::vector<Tri>* out) {
  for (const LabelCondition& c : selector.conditions) {
    const bool has = labels.count(c.key) != 0;
    const bool listed = has && std::set<std::string>(c.values.begin(), c.values.end()).count(labels.at(c.key)) != 0;
    if (c.op == Operator::kExists) out->push_back(OfBool(has));
    if (c.op == Operator::kDoesNotExist) out->push_back(OfBool(!has));
    if (c.op == Operator::kIn) out->push_back(!has ? Tri::kError : OfBool(listed));
    if (c.op == Operator::kNotIn) out->push_back(!has ? Tri::kError : OfBool(!listed));
  }
}

inline Tri Inside(const World& world, const std::string& policy, const std::vector<std::string>& places,
                  const std::string& region, absl::Time now) {
  std::vector<std::string> regions;
  for (const std::string& place : places) {
    if (place.rfind("set:", 0) != 0) {
      regions.push_back(place);
      continue;
    }
    if (world.sets.count(policy) == 0 || world.sets.at(policy).count(place.substr(4)) == 0) return Tri::kError;
    const RegionSet& set = world.sets.at(policy).at(place.substr(4));
    if (set.expires && *set.expires <= now) return Tri::kError;
    regions.insert(regions.end(), set.regions.begin(), set.regions.end());
  }
  bool inside = false;
  for (const std::string& candidate : regions) {
    if (std::count(world.regions.begin(), world.regions.end(), candidate) == 0) return Tri::kError;
    inside = inside || region == candidate || region.rfind(candidate + "/", 0) == 0;
  }
  return OfBool(inside);
}

inline Tri OpenDaily(const World& world, const Daily& daily, absl::Time now) {
  if (world.time_zones.count(daily.tz) == 0) return Tri::kError;
  const TimeZone& zone = world.time_zones.at(daily.tz);
  if (zone.transitions.empty() || now < zone.transitions.front().at || now >= zone.horizon) return Tri::kError;
  absl::Duration offset;
  for (const auto& transition : zone.transitions) {
    if (transition.at <= now) offset = transition.offset;
  }
  const absl::CivilMinute local =
      absl::ToCivilMinute(now, absl::FixedTimeZone(static_cast<int>(absl::ToInt64Seconds(offset))));
  for (int back : {0, 1}) {  // a window that opened today, or yesterday over midnight
    const absl::CivilDay day = absl::CivilDay(local) - back;
    const int weekday = static_cast<int>(absl::GetWeekday(day));  // 0 is Monday
    if ((daily.days >> weekday & 1) == 0) continue;
    const absl::CivilMinute from = absl::CivilMinute(day) + daily.from_minute;
    const bool over = daily.to_minute < daily.from_minute;
    const absl::CivilMinute to = absl::CivilMinute(over ? day + 1 : day) + daily.to_minute;
    if (from <= local && local < to) return Tri::kYes;
  }
  return Tri::kNo;
}

inline void OnTime(const World& world, const When& when, absl::Time now, std::vector<Tri>* out) {
  out->push_back(OfBool(when.not_before <= now && now < when.not_after));
  if (when.daily.empty()) return;
  std::set<Tri> windows;
  for (const Daily& daily : when.daily) windows.insert(OpenDaily(world, daily, now));
  out->push_back(windows.count(Tri::kError) != 0 ? Tri::kError : OfBool(windows.count(Tri::kYes) != 0));
}

inline Expected Reference(const World& world, const Request& request, absl::Time now) {
  std::map<std::pair<Effect, Tier>, std::set<Tri>> seen;
  bool guarded = false;
  Obligations obligations;
  std::set<std::string> keys;
  for (const Rule& rule : world.rules) {
    std::vector<Tri> conditions;
    const bool acts = std::count(rule.actions.begin(), rule.actions.end(), request.action) != 0;
    guarded = guarded || (acts && rule.tier == Tier::kGuardrail && rule.effect == Effect::kPermit);
    if (!rule.purposes.empty()) {
      const bool listed = std::count(rule.purposes.begin(), rule.purposes.end(), request.purpose) != 0;
      conditions.push_back(request.purpose.empty() ? Tri::kError : OfBool(listed));
    }
    OnTime(world, rule.when, now, &conditions);
    conditions.push_back(OfBool(acts));
    Labelled(rule.data, request.data, &conditions);
    for (auto [place, name] : {std::pair(&rule.from, &request.from_site), std::pair(&rule.to, &request.to_site)}) {
      const Site& site = world.sites.at(*name);
      if (!place->in.empty()) conditions.push_back(Inside(world, rule.policy, place->in, site.region, now));
      if (!place->not_in.empty()) {
        const Tri inside = Inside(world, rule.policy, place->not_in, site.region, now);
        conditions.push_back(inside == Tri::kError ? inside : OfBool(inside == Tri::kNo));
      }
      Labelled(place->sites, site.labels, &conditions);
      if (!place->entities.empty()) {
        conditions.push_back(site.entity.empty()
                                 ? Tri::kError
                                 : OfBool(std::count(place->entities.begin(), place->entities.end(), site.entity)));
      }
    }
    if (!rule.unknown.empty()) conditions.push_back(Tri::kError);
    const Tri result = All(conditions);
    seen[{rule.effect, rule.tier}].insert(result);
    if (result != Tri::kYes || rule.effect == Effect::kForbid) continue;
    keys.insert(rule.obligations.encrypt_key_regions.begin(), rule.obligations.encrypt_key_regions.end());
    obligations.max_retention = std::min(obligations.max_retention, rule.obligations.max_retention);
    obligations.no_transit |= rule.obligations.no_transit;
    if (rule.obligations.max_hops != 0) {
      obligations.max_hops =
          std::min(obligations.max_hops == 0 ? UINT32_MAX : obligations.max_hops, rule.obligations.max_hops);
    }
  }
  obligations.encrypt_key_regions.assign(keys.begin(), keys.end());
  auto any = [&](Effect effect, Tri result) {
    return seen[{effect, Tier::kPolicy}].count(result) + seen[{effect, Tier::kGuardrail}].count(result) != 0;
  };
  if (any(Effect::kForbid, Tri::kYes)) return {Reason::kForbidden, {}};
  if (any(Effect::kForbid, Tri::kError) || any(Effect::kPermit, Tri::kError)) return {Reason::kError, {}};
  const bool policy = seen[{Effect::kPermit, Tier::kPolicy}].count(Tri::kYes) != 0;
  const bool guardrail = seen[{Effect::kPermit, Tier::kGuardrail}].count(Tri::kYes) != 0;
  if (!policy || (guarded && !guardrail)) return {Reason::kNoPermit, {}};
  return {Reason::kPermitted, obligations};
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  bool Chance(int percent) { return static_cast<int>(Next() % 100) < percent; }
  template <typename T>
  const T& Pick(const std::vector<T>& options) {
    return options[Next() % options.size()];
  }
  template <typename T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[Next() % i]);
  }
  int Number(int below) { return static_cast<int>(Next() % static_cast<uint64_t>(below)); }
  Labels SomeLabels() {
    Labels labels;
    for (const char* key : {"a", "b", "c"}) {
      if (Chance(70)) labels[key] = Pick(kValues);
    }
    return labels;
  }
  Selector SomeSelector() {
    Selector selector;
    while (Chance(35)) {
      LabelCondition c{Pick<std::string>({"a", "b", "c"}),
                       Pick<Operator>({Operator::kIn, Operator::kNotIn, Operator::kExists, Operator::kDoesNotExist}),
                       {}};
      if (c.op == Operator::kIn || c.op == Operator::kNotIn) c.values = {Pick(kValues), Pick(kValues)};
      selector.conditions.push_back(c);
    }
    return selector;
  }
  Place SomePlace() {
    Place place;
    while (Chance(35)) place.in.push_back(Pick(kPlaces));
    while (Chance(25)) place.not_in.push_back(Pick(kPlaces));
    if (Chance(20)) place.sites = SomeSelector();
    if (Chance(15)) place.entities = {Pick<std::string>({"x", "y"})};
    return place;
  }
  When SomeWhen() {
    When when;
    if (Chance(20)) when.not_before = SomeTime();
    if (Chance(20)) when.not_after = SomeTime();
    while (Chance(40)) {
      Daily daily;
      daily.days = static_cast<uint8_t>(Next() % 127 + 1);
      daily.from_minute = static_cast<uint16_t>(Next() % 1440);
      daily.to_minute = static_cast<uint16_t>(Next() % 1440 + 1);
      if (daily.from_minute == daily.to_minute) daily.from_minute = 0;
      daily.tz = Pick<std::string>({"far", "far", "far", "near", "late", "late", Chance(20) ? "none" : "far"});
      when.daily.push_back(daily);
    }
    return when;
  }
  // Within ten days, often at a full hour so that edges are met.
  absl::Time SomeTime() {
    const absl::Time time = kNow + absl::Seconds(static_cast<int64_t>(Next() % (20 * 86400))) - absl::Hours(240);
    return Chance(50) ? time : absl::FromUnixSeconds(absl::ToUnixSeconds(time) / 3600 * 3600);
  }
  Obligations SomeObligations() {
    Obligations obligations;
    if (Chance(30)) obligations.encrypt_key_regions = {Pick<std::string>({"eu", "us"})};
    if (Chance(30)) obligations.max_retention = absl::Hours(static_cast<int64_t>(Next() % 3 + 1));
    if (Chance(30)) obligations.max_hops = static_cast<uint32_t>(Next() % 3 + 1);
    obligations.no_transit = Chance(20);
    return obligations;
  }
  Request SomeRequest() {
    return {SomeLabels(), Pick<std::string>({"s1", "s2", "s3"}), Pick<std::string>({"s1", "s2", "s3"}),
            Pick<Action>({Action::kTransfer, Action::kReside, Action::kTransit, Action::kRelabel}),
            Pick<std::string>({"", "care", "research"})};
  }
  World SomeWorld() {
    World world;
    // Offsets that change near kNow; a table that ends and one that begins inside the span of SomeTime.
    world.time_zones["far"] = {{{kNow - absl::Hours(24 * 400), absl::Hours(1)},
                                {kNow - absl::Hours(29), absl::Hours(2)},
                                {kNow + absl::Hours(51), -absl::Minutes(210)}},
                               kNow + absl::Hours(24 * 400)};
    world.time_zones["near"] = {{{kNow - absl::Hours(24 * 400), -absl::Hours(5)}}, kNow + absl::Hours(24 * 9)};
    world.time_zones["late"] = {{{kNow - absl::Hours(24 * 9), absl::Hours(9)}}, kNow + absl::Hours(24 * 400)};
    world.regions = {"eu", "eu/de", "eu/de/fra", "eu/den", "us"};
    for (const char* name : {"s1", "s2", "s3"}) {
      world.sites[name] = MakeSite(name, Pick(world.regions), SomeLabels(), Pick<std::string>({"", "x", "y"}));
    }
    world.sets["p"]["good"] = {{"eu/de", "us"}, std::nullopt};
    world.sets["p"]["old"] = {{"eu"}, kNow};
    world.sets["p"]["soon"] = {{"eu"}, SomeTime()};
    for (int i = 0; i < 5; ++i) {
      Rule rule = MakeRule(std::string(1, static_cast<char>('a' + i)), Chance(70) ? Effect::kPermit : Effect::kForbid);
      rule.policy = Pick<std::string>({"p", "p", "q"});
      if (Chance(25)) rule.tier = Tier::kGuardrail;
      rule.actions = Chance(60) ? std::vector<Action>{Action::kTransfer, Action::kReside, Action::kTransit}
                                : Pick<std::vector<Action>>({{Action::kReside}, {Action::kRelabel, Action::kTransfer}});
      if (Chance(20)) rule.purposes = {Pick<std::string>({"care", "billing"}), "research"};
      if (Chance(30)) rule.when = SomeWhen();
      if (rule.effect == Effect::kPermit && Chance(40)) rule.obligations = SomeObligations();
      rule.data = SomeSelector();
      rule.from = SomePlace();
      rule.to = SomePlace();
      if (Chance(4)) rule.unknown = {"x"};
      world.rules.push_back(rule);
    }
    return world;
  }

 private:
  uint64_t Next() {  // splitmix64: the same worlds from a seed on every machine
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  const std::vector<std::string> kValues = {"1", "2", "3"};
  const std::vector<std::string> kPlaces = {"eu",       "eu/de",    "us",      "eu/den", "set:good",
                                            "set:good", "set:soon", "set:old", "eu",     "set:none",
                                            "us",       "eu",       "mars"};
  uint64_t state_;
};

}  // namespace bailiwick::policy
