// What check and diff say, against examples and against trying all on random worlds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/policy/check.h"
#include "common/policy/diff.h"
#include "common/policy/random_world_fixture.h"

namespace bailiwick::policy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kNow = RandomWorld::Begin();

World Small() {
  World world;
  world.regions = {"ch", "eu", "eu/de", "us"};
  for (const auto& [name, region] :
       {std::pair("berlin", "eu/de"), std::pair("paris", "eu"), std::pair("boston", "us")}) {
    Site site;
    site.name = name;
    site.region = region;
    site.labels = {{"tier", "core"}};
    world.sites[name] = site;
  }
  return world;
}

Rule Make(std::string id, Effect effect) {
  Rule rule;
  rule.policy = "acme";
  rule.id = std::move(id);
  rule.effect = effect;
  rule.actions = {Action::kTransfer, Action::kReside};
  return rule;
}

std::vector<std::string> Codes(const World& world, const std::vector<NamedData>& datasets = {}) {
  std::vector<std::string> codes;
  for (const LawFinding& f : CheckLaw(world, datasets, kNow)) {
    codes.push_back(absl::StrCat(f.code, " ", f.name, f.part.empty() ? "" : " ", f.part));
  }
  return codes;
}

TEST(CheckLawTest, AGoodLawHasNoFindings) {
  World world = Small();
  world.rules = {Make("all", Effect::kPermit), Make("stays", Effect::kForbid)};
  world.rules[1].from.in = {"eu"};
  world.rules[1].to.not_in = {"eu"};
  EXPECT_THAT(Codes(world, {{"d", {{"class", "x"}}, "berlin"}}), IsEmpty());
}

TEST(CheckLawTest, RulesThatCanNeverApply) {
  World world = Small();
  Rule all = Make("all", Effect::kPermit), data = Make("data", Effect::kForbid), place = Make("place", Effect::kForbid),
       sites = Make("sites", Effect::kForbid), ended = Make("ended", Effect::kForbid),
       label = Make("label", Effect::kForbid);
  data.data.conditions = {{"a", Operator::kIn, {"x"}}, {"a", Operator::kNotIn, {"x"}}};
  place.to.in = {"eu/de"};
  place.to.not_in = {"eu"};
  sites.from.sites.conditions = {{"tier", Operator::kIn, {"edge"}}};
  ended.when.not_after = kNow;
  label.data.conditions = {{"pii", Operator::kIn, {"yes"}}};
  world.rules = {all, data, place, sites, ended, label};
  EXPECT_THAT(Codes(world, {{"d", {{"class", "x"}}, "berlin"}}),
              ElementsAre("contradiction data data", "unmatched data data", "contradiction place to",
                          "unmatched sites from", "ended ended when", "unmatched label data"));
}

TEST(CheckLawTest, RulesThatOthersOverrule) {
  World world = Small();
  Rule permit = Make("narrow", Effect::kPermit), wide = Make("wide", Effect::kPermit),
       forbid = Make("no", Effect::kForbid);
  permit.to.in = {"eu/de"};
  wide.to.in = {"eu"};
  forbid.to.in = {"us"};
  Rule lost = Make("lost", Effect::kPermit);
  lost.to.in = {"us"};
  lost.data.conditions = {{"class", Operator::kIn, {"a"}}};
  world.rules = {permit, wide, forbid, lost};
  EXPECT_THAT(Codes(world), ElementsAre("redundant narrow effect", "shadowed lost effect"));
  world.rules[0].obligations.max_hops = 1;  // then it asks for more, and counts
  EXPECT_THAT(Codes(world), ElementsAre("shadowed lost effect"));
  world.rules[2].data.conditions = {{"class", Operator::kIn, {"b"}}};
  EXPECT_THAT(Codes(world), IsEmpty());
  world.rules = {wide, wide};  // of two that say the same, one is told
  world.rules[1].id = "again";
  EXPECT_THAT(Codes(world), ElementsAre("redundant again effect"));
}

TEST(CheckLawTest, ADailyWindowOnWhereCopiesLie) {
  const auto flaps = ::testing::Contains("flapping night when");
  World world = Small();
  Rule night = Make("night", Effect::kPermit), stays = Make("stays", Effect::kPermit);
  world.time_zones["UTC"] = {{{kNow - absl::Hours(24), absl::ZeroDuration()}}, kNow + absl::Hours(24 * 365)};
  night.when.daily = {{0x7f, 1320, 360, "UTC"}};
  night.to.in = {"us"};
  world.rules = {night};
  EXPECT_THAT(Codes(world), flaps);
  world.rules[0].actions = {Action::kTransfer};
  EXPECT_THAT(Codes(world), ::testing::Not(flaps));
  world.rules[0].effect = Effect::kForbid;
  world.rules[0].actions = {Action::kTransfer, Action::kReside};
  EXPECT_THAT(Codes(world), flaps);

  stays.actions = {Action::kReside};  // what left may lie there by day
  stays.to.in = {"us"};
  world.rules = {night, stays};
  EXPECT_THAT(Codes(world), ::testing::Not(flaps));
  world.rules[1].to.in = {"eu"};
  EXPECT_THAT(Codes(world), flaps);
}

TEST(CheckLawTest, SetsSitesAndDatasets) {
  World world = Small();
  Rule rule = Make("adequate", Effect::kPermit);
  rule.from.in = {"eu"};
  rule.to.in = {"eu", "set:good"};
  rule.data.conditions = {{"class", Operator::kIn, {"a"}}};
  world.rules = {rule};
  world.sets["acme"]["good"] = {{"ch"}, kNow + absl::Hours(24 * 29)};
  world.sets["acme"]["idle"] = {{"ch"}, kNow};
  EXPECT_THAT(Codes(world, {{"d", {{"class", "a"}}, "berlin"}, {"e", {{"class", "b"}}, "berlin"}}),
              ElementsAre("expiring good", "unused idle", "uncovered boston", "uncovered e"));
  world.sets["acme"]["good"].expires = kNow;
  const std::vector<LawFinding> found = CheckLaw(world, {}, kNow);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].code, "expired");
  EXPECT_TRUE(found[0].error);
}

std::vector<Labels> AllLabels() {
  std::vector<Labels> all;
  for (const char* cls : {"", "a", "b", "c"}) {
    for (const char* pii : {"", "yes", "no"}) {
      Labels labels;
      if (*cls != 0) labels["class"] = cls;
      if (*pii != 0) labels["pii"] = pii;
      all.push_back(labels);
    }
  }
  return all;
}

// A rule of which it is said that it never decides can be taken out: no decision changes.
TEST(CheckLawPropertyTest, WhatNeverDecidesCanBeTakenOut) {
  size_t tried = 0;
  for (uint32_t seed = 1; seed <= 1500; ++seed) {
    RandomWorld random(seed);
    for (const LawFinding& finding : CheckLaw(random.world, {}, kNow)) {
      if (finding.code != "shadowed" && finding.code != "redundant") continue;
      World without = random.world;
      without.rules.erase(std::find_if(without.rules.begin(), without.rules.end(), [&](const Rule& r) {
        return r.id == finding.name && r.policy == finding.policy;
      }));
      ++tried;
      for (const auto& [from, a] : random.world.sites) {
        for (const auto& [to, b] : random.world.sites) {
          for (const Labels& data : AllLabels()) {
            for (const char* purpose : {"", "train", "fun"}) {
              for (Action action : {Action::kTransfer, Action::kReside, Action::kTransit}) {
                const Request request{data, from, to, action, purpose};
                ASSERT_EQ(Evaluate(random.world, request, kNow).permitted, Evaluate(without, request, kNow).permitted)
                    << "seed " << seed << ", rule " << finding.name << ": " << finding.text;
              }
            }
          }
        }
      }
    }
  }
  EXPECT_GT(tried, 100u);
}

// Every pair of sites that decides otherwise is counted once, with the verdicts that the evaluator gives.
TEST(DiffPropertyTest, CountsWhatTryingAllFinds) {
  size_t changed = 0;
  for (uint32_t seed = 1; seed <= 400; ++seed) {
    RandomWorld one(seed), two(seed);
    if (two.Chance(50) && !two.world.rules.empty()) two.world.rules.pop_back();
    if (two.Chance(30)) two.world.sites.erase("s0");
    if (two.Chance(50)) two.world.sites["s1"].region = two.SomeRegion();
    std::vector<NamedData> datasets;
    for (const Labels& labels : AllLabels()) datasets.push_back({absl::StrCat("d", datasets.size()), labels, "s1"});
    std::set<std::string> purposes = {""};
    for (const Rule& rule : one.world.rules) purposes.insert(rule.purposes.begin(), rule.purposes.end());
    uint64_t expected = 0;
    for (const NamedData& dataset : datasets) {
      for (const std::string& purpose : purposes) {
        for (const auto& [from, a] : one.world.sites) {
          for (const auto& [to, b] : one.world.sites) {
            if (from == to) continue;
            const Flow flow{dataset.labels, from, to, purpose, ""};
            const Decision old = EvaluateReplication(one.world, flow, kNow),
                           fresh = EvaluateReplication(two.world, flow, kNow);
            expected += old.permitted != fresh.permitted || (old.permitted && old.obligations != fresh.obligations);
          }
        }
      }
    }
    uint64_t found = 0;
    for (const DecisionChange& change : DiffDecisions(one.world, two.world, datasets, kNow)) {
      found += change.pairs * change.datasets.size();
      const Flow flow{change.labels, change.from, change.to, change.purpose, ""};
      const Decision old = EvaluateReplication(one.world, flow, kNow),
                     fresh = EvaluateReplication(two.world, flow, kNow);
      ASSERT_EQ(change.before.reason, old.reason) << "seed " << seed;
      ASSERT_EQ(change.after.reason, fresh.reason) << "seed " << seed;
      ASSERT_EQ(change.before.permitted() ? old.rule : change.before.rule, old.rule) << "seed " << seed;
      ASSERT_EQ(change.after.permitted() ? fresh.rule : change.after.rule, fresh.rule) << "seed " << seed;
    }
    ASSERT_EQ(found, expected) << "seed " << seed;
    changed += found;
  }
  EXPECT_GT(changed, 1000u);
}

TEST(AssessTest, WhatBecomesUnlawfulLastCopiesHoldsAndTransfers) {
  World before = Small();
  before.rules = {Make("all", Effect::kPermit)};
  World after = before;
  Rule stays = Make("stays", Effect::kForbid);
  stays.from.in = {"eu"};
  stays.to.in = {"us"};
  after.rules.push_back(stays);
  Inventory inventory;
  inventory.datasets = {{"d", {}, "berlin"}, {"e", {}, "boston"}};
  inventory.sites = {"berlin", "paris", "boston", "gone"};
  inventory.replicas = {
      {0, 0, 10, {2, 3}, false}, {0, 1, 10, {2}, false}, {0, 2, 7, {1, 2}, true},  // version 1 lies at boston only
      {1, 2, 10, {1}, false},    {1, 1, 10, {1}, false},  // boston's own data may stay and leave
      {0, 3, 10, {3}, false},                             // at a site that no law knows
  };
  inventory.transfers = {{"t1", 0, 0, 2, 3, ""}, {"t2", 1, 2, 1, 1, ""}};
  const Impact impact = Assess(before, after, inventory, kNow);
  ASSERT_EQ(impact.evictions.size(), 1u);
  EXPECT_EQ(impact.evictions[0].replica, 2u);
  EXPECT_EQ(impact.evictions[0].rule, "acme/stays");
  EXPECT_TRUE(impact.evictions[0].last_copy);
  EXPECT_EQ(impact.bytes, 7u);
  EXPECT_EQ(impact.last_copies, 1u);
  EXPECT_EQ(impact.held, 1u);
  EXPECT_EQ(impact.unlawful_before, 1u);
  ASSERT_EQ(impact.stops.size(), 1u);
  EXPECT_EQ(inventory.transfers[impact.stops[0].transfer].id, "t1");
  EXPECT_EQ(Assess(after, after, inventory, kNow).evictions.size(), 0u);

  // The law stays and the data is relabelled: what lies abroad was lawful and is not.
  World labelled = before;
  Rule secret = Make("secret", Effect::kForbid);
  secret.data.conditions = {{"secret", Operator::kExists, {}}};
  secret.to.in = {"us"};
  labelled.rules.push_back(secret);
  inventory.datasets_before = inventory.datasets;
  inventory.datasets[0].labels["secret"] = "yes";
  EXPECT_EQ(Assess(labelled, labelled, inventory, kNow).evictions.size(), 1u);
}

}  // namespace
}  // namespace bailiwick::policy
