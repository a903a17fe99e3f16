#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

// factory (home) -> core -> us: the law lets the factory send within the EU only, core anywhere.
class HopsPlanTest : public ::testing::Test {
 protected:
  HopsPlanTest() {
    world_.revision = 3;
    world_.regions = {"eu", "eu/de", "eu/fr", "us"};
    AddSite("factory", "eu/de");
    AddSite("core", "eu/fr");
    AddSite("us", "us");
    AddRule("within", {policy::Action::kTransfer, policy::Action::kTransit}, "eu/de", "eu/fr");
    AddRule("stays", {policy::Action::kReside}, "eu", "");
    AddRule("onward", {policy::Action::kTransfer}, "eu/fr", "us");
    input_.world = &world_;
    input_.now = kNow;
    input_.boot = absl::Hours(1);
    input_.policy_revision = 3;
    PlannedDataset dataset;
    dataset.id.bytes[0] = 1;
    dataset.name = "a";
    dataset.home_site = "factory";
    dataset.versions = {{1, kNow - absl::Minutes(1), 100}};
    dataset.held = {{"factory", {1}}, {"core", {1}}};
    dataset.hops = {{"factory", {{1, 0}}}, {"core", {{1, 1}}}};
    input_.datasets = {dataset};
    PlannedPolicy policy;
    policy.name = "p";
    policy.to.resize(1);
    policy.to[0].site = "us";
    input_.policies = {policy};
  }

  void AddSite(const std::string& name, const std::string& region) {
    world_.sites[name].name = name;
    world_.sites[name].region = region;
    PlannedSite site;
    site.name = name;
    site.region = region;
    site.connected = site.approved = site.dialable = site.joined = true;
    site.last_seen = kNow;
    site.policy_revision = 3;
    input_.sites[name] = site;
  }

  void AddRule(const std::string& id, std::vector<policy::Action> actions, const std::string& from,
               const std::string& to) {
    policy::Rule rule;
    rule.policy = "acme";
    rule.id = id;
    rule.actions = std::move(actions);
    rule.from.in = {from};
    if (!to.empty()) rule.to.in = {to};
    world_.rules.push_back(rule);
  }

  Reason Why() {
    plan_ = Planner().Run(input_);
    EXPECT_THAT(plan_.wanted, SizeIs(1));
    return plan_.wanted.at(0).reason;
  }

  policy::World world_;
  PlanInput input_;
  Plan plan_;
};

TEST_F(HopsPlanTest, WithoutBoundsHowACopyCameDoesNotMatter) {
  input_.datasets[0].hops.clear();
  EXPECT_EQ(Why().code, "starting");
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].source, "core");
}

TEST_F(HopsPlanTest, ASourceIsPlannedOnlyWhileAHopIsLeft) {
  world_.rules[2].obligations.max_hops = 1;
  const Reason used_up = Why();
  EXPECT_EQ(used_up.code, "denied");
  EXPECT_EQ(used_up.rule, "acme/onward");
  EXPECT_THAT(used_up.sentence,
              HasSubstr("maxHops: 1 of acme/onward is used up: the copy at core is 1 hop from the home"));
  EXPECT_THAT(plan_.start, IsEmpty());
  world_.rules[2].obligations.max_hops = 2;
  EXPECT_EQ(Why().code, "starting");
  input_.datasets[0].hops["core"][1] = 2;
  EXPECT_THAT(Why().sentence, HasSubstr("the copy at core is 2 hops from the home"));
}

TEST_F(HopsPlanTest, WhatObligedTheHopToTheSourceCountsToo) {
  world_.rules[0].obligations.no_transit = true;
  const Reason barred = Why();
  EXPECT_EQ(barred.code, "denied");
  EXPECT_THAT(barred.sentence, HasSubstr("noTransit of acme/within: only the home factory may send it"));
}

TEST_F(HopsPlanTest, AWayThatNobodyKnowsIsAsNone) {
  world_.rules[2].obligations.max_hops = 5;
  input_.datasets[0].hops["core"].clear();  // an older agent
  const Reason unknown = Why();
  EXPECT_EQ(unknown.code, "denied");
  EXPECT_THAT(unknown.sentence, HasSubstr("how version 1 came to core is not known"));
  input_.sites["core"].connected = false;  // it will say so
  EXPECT_EQ(Why().code, "source-offline");
}

TEST_F(HopsPlanTest, TheHomeSendsWhatARelayMayNot) {
  world_.rules[0].to.in = {"eu/fr", "us"};
  world_.rules[0].obligations.no_transit = true;
  EXPECT_EQ(Why().code, "starting");
  EXPECT_EQ(plan_.start[0].source, "factory");
  input_.sites["factory"].connected = false;
  const Reason away = Why();
  EXPECT_EQ(away.code, "source-offline");
  EXPECT_THAT(away.sentence, HasSubstr("core (too far from the home to send it on)"));
}

}  // namespace
}  // namespace bailiwick::coordinator
