#include "common/policy/hops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::policy {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1790000000);

// home (eu) -> relay (eu) -> far (us); class health may go anywhere.
class HopsTest : public ::testing::Test {
 protected:
  HopsTest() {
    world_.regions = {"eu", "us"};
    for (auto [name, region] :
         {std::pair("home", "eu"), std::pair("relay", "eu"), std::pair("far", "us"), std::pair("other", "eu")}) {
      world_.sites[name].name = name;
      world_.sites[name].region = region;
    }
    AddRule("all");
  }

  Rule& AddRule(const std::string& id) {
    Rule rule;
    rule.policy = "acme";
    rule.id = id;
    rule.actions = {Action::kTransfer, Action::kReside, Action::kTransit};
    rule.data.conditions = {{"class", Operator::kIn, {"health"}}};
    world_.rules.push_back(rule);
    return world_.rules.back();
  }

  HopVerdict Check(const std::string& from, const std::string& to, const std::vector<Hop>& before) {
    const Flow flow{data_, from, to, "", "home"};
    const Decision decision = EvaluateReplication(world_, flow, kNow);
    EXPECT_TRUE(decision.permitted) << decision.sentence;
    auto carried = CarriedLimit(world_, data_, "home", before);
    EXPECT_TRUE(carried.ok()) << carried.status();
    return CheckHops(world_, *carried, before.size(), flow, decision.obligations, kNow);
  }

  const Labels data_ = {{"class", "health"}};
  const Hop first_{"home", "relay", "", kNow - absl::Hours(1)};
  World world_;
};

TEST_F(HopsTest, OnlyPermitsThatMayBeAboutTheDataMatter) {
  EXPECT_FALSE(BoundsHops(world_, data_));
  world_.rules[0].obligations.max_hops = 3;
  EXPECT_TRUE(BoundsHops(world_, data_));
  EXPECT_FALSE(BoundsHops(world_, {{"class", "open"}}));
  EXPECT_TRUE(BoundsHops(world_, {})) << "a missing label is an error there, and may be set tomorrow";
  world_.rules[0].obligations = {};
  world_.rules[0].obligations.no_transit = true;
  EXPECT_TRUE(BoundsHops(world_, data_));
  world_.rules[0].effect = Effect::kForbid;
  EXPECT_FALSE(BoundsHops(world_, data_));
}

TEST_F(HopsTest, WithoutObligationsAnyNumberOfHops) {
  EXPECT_TRUE(Check("home", "far", {}).permitted);
  EXPECT_TRUE(Check("relay", "far", std::vector<Hop>(50, first_)).permitted);
}

TEST_F(HopsTest, MaxHopsCountsFromTheHome) {
  world_.rules[0].obligations.max_hops = 1;
  EXPECT_TRUE(Check("home", "relay", {}).permitted);
  const HopVerdict second = Check("relay", "far", {first_});
  EXPECT_FALSE(second.permitted);
  EXPECT_THAT(second.sentence,
              HasSubstr("maxHops: 1 of acme/all is used up: the copy at relay is 1 hop from the home"));
  EXPECT_EQ(second.rule, "acme/all");
  world_.rules[0].obligations.max_hops = 2;
  EXPECT_TRUE(Check("relay", "far", {first_}).permitted);
  EXPECT_FALSE(Check("other", "far", {first_, {"relay", "other", "", kNow}}).permitted);
}

TEST_F(HopsTest, NoTransitLeavesItToTheHome) {
  world_.rules[0].obligations.no_transit = true;
  EXPECT_TRUE(Check("home", "relay", {}).permitted);
  EXPECT_TRUE(Check("home", "far", {}).permitted);
  const HopVerdict relayed = Check("relay", "far", {first_});
  EXPECT_FALSE(relayed.permitted);
  EXPECT_THAT(relayed.sentence, HasSubstr("noTransit of acme/all: only the home home may send it, and relay is not"));
  EXPECT_FALSE(Check("relay", "far", {}).permitted) << "a home of the past is none";
}

TEST_F(HopsTest, WhatObligedAnEarlierHopBindsTheLaterOnes) {
  Rule& into_eu = AddRule("eu-only-once");
  into_eu.to.in = {"eu"};
  into_eu.obligations.max_hops = 1;
  const HopVerdict on = Check("relay", "far", {first_});
  EXPECT_FALSE(on.permitted) << "the flow itself asks nothing, the first hop did";
  EXPECT_EQ(on.rule, "acme/eu-only-once");
}

TEST_F(HopsTest, AHopIsJudgedAsOfItsTime) {
  Rule& yesterday = AddRule("yesterday");
  yesterday.to.in = {"eu"};
  yesterday.obligations.no_transit = true;
  yesterday.when.not_before = kNow - absl::Hours(2);
  yesterday.when.not_after = kNow - absl::Minutes(30);
  EXPECT_FALSE(Check("relay", "far", {first_}).permitted);
  Hop later = first_;
  later.at = kNow;
  EXPECT_TRUE(Check("relay", "far", {later}).permitted);
}

TEST_F(HopsTest, AHopThatTheLawOfNowForbidsBindsNothingAndOneInErrorDenies) {
  world_.rules[0].obligations.max_hops = 2;
  Rule& forbid = AddRule("no-more");
  forbid.effect = Effect::kForbid;
  forbid.from.in = {"eu"};
  forbid.to.in = {"us"};
  auto carried = CarriedLimit(world_, data_, "home", {{"home", "far", "", kNow}});
  ASSERT_TRUE(carried.ok());
  EXPECT_EQ(carried->max, HopLimit::kAny);
  forbid.to.in = {"set:gone"};
  carried = CarriedLimit(world_, data_, "home", {{"home", "far", "", kNow}});
  EXPECT_EQ(carried.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(carried.status().message()), HasSubstr("from home to far cannot be judged any more"));
}

}  // namespace
}  // namespace bailiwick::policy
