// Small random worlds, in which everything that the language has occurs often: for tests that compare an analysis with
// trying all. The same seed gives the same world.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

class RandomWorld {
 public:
  // Everything that depends on the clock changes at multiples of kStep after kBegin, and nothing after kEnd.
  static constexpr absl::Duration kStep = absl::Hours(6);
  static absl::Time Begin() { return absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone()); }
  static absl::Time End() { return Begin() + absl::Hours(24 * 16); }

  explicit RandomWorld(uint32_t seed) : random_(seed) {
    timed = Chance(35);
    relabels = Chance(25);
    purposes = Chance(30);
    bounded = Chance(35);
    guarded = Chance(20);
    loose = Chance(60);
    Regions();
    Sites();
    if (timed) Zones();
    if (loose && Chance(50)) {
      Chain();
      if (Chance(60)) return;
    }
    const int rules = 1 + Below(loose ? 9 : 6);
    for (int i = 0; i < rules; ++i) world.rules.push_back(MakeRule(i));
  }

  World world;
  bool timed, relabels, purposes, bounded, guarded;
  bool chained = false;  // a way from site s0 to the last one was laid, though it may be blocked
  bool loose;            // few conditions beside places, few forbids: data gets far

  Labels SomeLabels() {
    Labels labels;
    if (Chance(loose ? 100 : 80)) labels["class"] = Pick({"a", "b", "c"});
    if (Chance(loose ? 100 : 60)) labels["pii"] = Pick({"yes", "no"});
    return labels;
  }
  std::string SomeRegion() { return world.regions[Below(world.regions.size())]; }
  std::string SomeSite() {
    auto it = world.sites.begin();
    std::advance(it, Below(world.sites.size()));
    return it->first;
  }
  bool Chance(int percent) { return Below(100) < percent; }
  int Below(size_t n) { return static_cast<int>(random_() % n); }
  std::string Pick(const std::vector<std::string>& from) { return from[Below(from.size())]; }
  absl::Time SomeTime() { return Begin() + kStep * Below(20); }

 private:
  void Regions() {
    world.regions = {"ch", "eu", "eu/de", "eu/fr", "us"};
    if (Chance(20))
      world.sets["p"]["s"].regions = {"ch", "us"};
    else
      world.sets["p"]["s"].regions = {"ch"};
    if (timed && Chance(50)) world.sets["p"]["s"].expires = SomeTime();
    world.sets["g"]["s"].regions = {"eu"};
  }

  void Sites() {
    const int sites = 2 + Below(4);
    for (int i = 0; i < sites; ++i) {
      Site site;
      site.name = absl::StrCat("s", i);
      site.region = Chance(2) ? "mars" : SomeRegion();
      if (Chance(loose ? 100 : 70)) site.entity = Pick({"x", "y"});
      if (Chance(loose ? 100 : 70)) site.labels["tier"] = Pick({"edge", "cloud"});
      if (Chance(30)) site.labels["unheard"] = Pick({"1", "2", "3"});
      world.sites[site.name] = site;
    }
  }

  void Zones() {
    TimeZone zone;
    zone.transitions = {{Begin() - absl::Hours(24 * 100), absl::Hours(0)}};
    if (Chance(50)) zone.transitions.push_back({Begin() + absl::Hours(24 * 5), absl::Hours(6)});
    zone.horizon = Chance(50) ? Begin() + absl::Hours(24 * (1 + Below(15))) : End();
    world.time_zones["Mars/Olympus"] = zone;
  }

  Selector SomeSelector(bool of_data) {
    Selector selector;
    for (int i = Below(3); i > 0; --i) {
      LabelCondition c;
      c.key = of_data ? Pick({"class", "pii"}) : "tier";
      c.op = static_cast<Operator>(Below(4));
      if (c.op == Operator::kIn || c.op == Operator::kNotIn) {
        c.values = {of_data ? (c.key == "class" ? Pick({"a", "b"}) : "yes") : Pick({"edge", "cloud"})};
        if (Chance(30)) c.values.push_back(c.key == "class" ? "b" : "no");
      }
      if (Chance(2)) c.key = "";
      selector.conditions.push_back(std::move(c));
    }
    return selector;
  }

  Place SomePlace() {
    Place place;
    auto list = [this](std::vector<std::string>* out) {
      for (int i = 1 + Below(2); i > 0; --i) out->push_back(Chance(20) ? "set:s" : Chance(2) ? "mars" : SomeRegion());
    };
    if (Chance(loose ? 75 : 40)) list(&place.in);
    if (Chance(loose ? 3 : 20)) list(&place.not_in);
    if (Chance(15)) place.sites = SomeSelector(false);
    if (Chance(12)) place.entities = {Pick({"x", "y"})};
    return place;
  }

  When SomeWhen() {
    When when;
    if (Chance(40)) when.not_before = SomeTime();
    if (Chance(40)) when.not_after = SomeTime();
    for (int i = Below(3); i > 0; --i) {
      Daily daily;
      if (Chance(60)) daily.days = static_cast<uint8_t>(1 + Below(127));
      daily.from_minute = static_cast<uint16_t>(360 * Below(4));
      daily.to_minute = static_cast<uint16_t>(360 * (1 + Below(4)));
      if (daily.from_minute == daily.to_minute) daily.to_minute = 1440;
      if (daily.from_minute == 0 && daily.to_minute == 1440) daily.days = 0x15;
      daily.tz = Chance(2) ? "Nowhere" : "Mars/Olympus";
      when.daily.push_back(daily);
    }
    return when;
  }

  Rule MakeRule(int number) {
    Rule rule;
    rule.tier = guarded && Chance(40) ? Tier::kGuardrail : Tier::kPolicy;
    rule.policy = rule.tier == Tier::kGuardrail ? "g" : "p";
    rule.id = absl::StrCat("r", Below(10), "-", number);
    rule.effect = Chance(loose ? 93 : 75) ? Effect::kPermit : Effect::kForbid;
    for (Action action : {Action::kTransfer, Action::kReside, Action::kTransit}) {
      if (Chance(85)) rule.actions.push_back(action);
    }
    if (relabels && Chance(60)) rule.actions.push_back(Action::kRelabel);
    if (rule.actions.empty()) rule.actions = {Action::kTransfer};
    if (Chance(loose ? 40 : 60)) rule.data = SomeSelector(true);
    rule.from = SomePlace();
    rule.to = SomePlace();
    if (purposes && Chance(40)) rule.purposes = {Pick({"train", "bill"})};
    if (timed && Chance(60)) rule.when = SomeWhen();
    if (rule.effect == Effect::kPermit && bounded && Chance(50)) {
      rule.obligations.max_hops = static_cast<uint32_t>(Below(4));
      rule.obligations.no_transit = Chance(20);
    }
    if (Chance(1)) rule.unknown = {"a field of a newer version"};
    return rule;
  }

  // Each site may send to the next in some order and everybody may send on: the way is long, and has gates.
  void Chain() {
    chained = true;
    const Site* last = nullptr;
    int number = 20;
    for (const auto& [name, site] : world.sites) {
      if (last != nullptr) {
        Rule rule = MakeRule(number++);
        rule.tier = Tier::kPolicy;
        rule.effect = Effect::kPermit;
        rule.actions = {Action::kTransfer, Action::kReside, Action::kTransit};
        if (Chance(70)) rule.when = {};
        if (Chance(70)) rule.purposes.clear();
        rule.unknown.clear();
        rule.from = rule.to = {};
        rule.from.in = {last->region};
        rule.to.in = {site.region};
        if (!relabels) rule.data = {};
        if (bounded && Chance(50)) rule.obligations = {};
        world.rules.push_back(std::move(rule));
      }
      last = &site;
    }
    Rule onward = MakeRule(number);
    onward.tier = Tier::kPolicy;
    onward.effect = Effect::kPermit;
    onward.actions = {Action::kTransit};
    if (relabels) onward.actions.push_back(Action::kRelabel);
    onward.data = {};
    onward.from = onward.to = {};
    world.rules.push_back(std::move(onward));
  }

  std::mt19937 random_;
};

}  // namespace bailiwick::policy
