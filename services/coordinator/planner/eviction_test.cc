#include "services/coordinator/planner/eviction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Stage = UnlawfulCopy::Stage;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

class EvictionTest : public ::testing::Test {
 protected:
  EvictionTest() {
    world_.regions = {"eu", "us"};
    for (const char* name : {"factory", "core", "lab"}) AddSite(name, "eu");
    AddSite("cloud", "us");
    policy::Rule rule;
    rule.policy = "p";
    rule.id = "eu";
    rule.actions = {policy::Action::kTransfer, policy::Action::kReside, policy::Action::kTransit};
    rule.to.in = {"eu"};
    world_.rules = {rule};
    input_.world = &world_;
    input_.now = kNow;
    PlannedDataset dataset;
    dataset.id.bytes[0] = 1;
    dataset.name = "planner";
    dataset.home_site = "factory";
    for (VersionNumber n : {1, 2}) dataset.versions.push_back({n, kNow - absl::Hours(1), 100});
    dataset.held["factory"] = {1, 2};
    input_.datasets = {dataset};
    copy_.dataset = dataset.id;
    copy_.dataset_name = "planner";
    copy_.site = "cloud";
    copy_.versions = {1, 2};
    copy_.stage = Stage::kFenced;
    copy_.sentence = "the law forbids it";
    copy_.since = kNow - absl::Minutes(5);
  }
  void AddSite(const std::string& name, const std::string& region) {
    PlannedSite site;
    site.name = name;
    site.region = region;
    site.connected = site.approved = site.joined = site.dialable = true;
    site.last_seen = kNow;
    input_.sites[name] = site;
    world_.sites[name] = {.name = name, .region = region};
  }
  EvictionStatus Only() {
    plan_ = PlanEvictions(input_, {copy_});
    EXPECT_EQ(plan_.copies.size(), 1u);
    return plan_.copies.empty() ? EvictionStatus() : plan_.copies[0];
  }

  policy::World world_;
  PlanInput input_;
  UnlawfulCopy copy_;
  EvictionPlan plan_;
};

TEST_F(EvictionTest, WhatLiesElsewhereMayGo) {
  EXPECT_EQ(Only().state, "fenced");
  ASSERT_EQ(plan_.orders.size(), 1u);
  EXPECT_EQ(plan_.orders[0].site, "cloud");
  EXPECT_THAT(plan_.orders[0].safe, ElementsAre(1, 2));
}

TEST_F(EvictionTest, TheLastCopyStays) {
  input_.datasets[0].held["factory"] = {2};  // retention took the first
  EXPECT_EQ(Only().state, "fenced");
  EXPECT_THAT(plan_.orders[0].safe, ElementsAre(2));
  copy_.versions = {1};
  EXPECT_EQ(Only().state, "last-copy");
  EXPECT_THAT(plan_.copies[0].sentence, HasSubstr("nobody else holds version 1"));
  EXPECT_THAT(plan_.orders, IsEmpty());
}

TEST_F(EvictionTest, WhatRetentionLetGoEverywhereIsNoLastCopyWorthKeeping) {
  input_.datasets[0].held["factory"] = {2};
  input_.datasets[0].retired = {1};
  EXPECT_EQ(Only().state, "fenced");
  EXPECT_THAT(plan_.orders[0].safe, ElementsAre(1, 2));
  input_.datasets[0].held["factory"] = {};  // nothing of the dataset lies anywhere else
  EXPECT_EQ(Only().state, "last-copy");
  EXPECT_THAT(plan_.orders, IsEmpty());
}

TEST_F(EvictionTest, AnotherUnlawfulCopyIsNoCopy) {
  input_.datasets[0].held.clear();
  UnlawfulCopy other = copy_;
  other.site = "lab";
  const EvictionPlan plan = PlanEvictions(input_, {copy_, other});
  EXPECT_THAT(plan.orders, IsEmpty());
  EXPECT_EQ(plan.copies[0].state, "last-copy");
  EXPECT_EQ(plan.copies[1].state, "last-copy");
}

TEST_F(EvictionTest, RepairComesFirstWhereACopyIsWanted) {
  PlannedPolicy policy;
  policy.name = "one";
  PlannedTarget target;
  target.kind = PlannedTarget::Kind::kSelector;
  policy::LabelCondition condition{.key = "tier", .op = policy::Operator::kExists, .values = {}};
  target.sites.conditions = {condition};
  target.copies = 1;
  policy.to = {target};
  input_.policies = {policy};
  for (const char* name : {"cloud", "lab"}) {
    input_.sites[name].labels = world_.sites[name].labels = {{"tier", "x"}};
  }
  EXPECT_EQ(Only().state, "repairing");
  EXPECT_THAT(plan_.copies[0].sentence, HasSubstr("once lab has version 2"));
  EXPECT_THAT(plan_.orders, IsEmpty());
  input_.datasets[0].held["lab"] = {2};
  EXPECT_EQ(Only().state, "fenced");
  EXPECT_THAT(plan_.orders[0].safe, ElementsAre(1, 2));
  input_.datasets[0].held.erase("lab");
  input_.sites["lab"].connected = false;  // nobody to wait for
  EXPECT_EQ(Only().state, "fenced");
  EXPECT_EQ(plan_.orders.size(), 1u);
}

TEST_F(EvictionTest, NothingStandsInForWhatIsPastItsTime) {
  copy_.overdue = true;
  PlannedPolicy policy;
  policy.name = "one";
  PlannedTarget target;
  target.kind = PlannedTarget::Kind::kRegion;
  target.region = "eu";
  target.copies = 2;  // the home and another, which has nothing yet
  policy.to = {target};
  input_.policies = {policy};
  EXPECT_EQ(Only().state, "fenced");
  EXPECT_THAT(plan_.orders[0].safe, ElementsAre(1, 2));
  EXPECT_TRUE(plan_.copies[0].overdue);
  input_.datasets[0].held.clear();
  EXPECT_EQ(Only().state, "last-copy");
}

TEST_F(EvictionTest, SilenceIsNotErasure) {
  copy_.stage = Stage::kSilent;
  EXPECT_EQ(Only().state, "unconfirmed");
  EXPECT_THAT(plan_.copies[0].sentence, HasSubstr("has not said yet"));
  EXPECT_THAT(plan_.orders, IsEmpty());
  input_.sites["cloud"].connected = false;
  input_.sites["cloud"].last_seen = kNow - absl::Hours(3);
  EXPECT_EQ(Only().state, "unconfirmed");
  EXPECT_THAT(plan_.copies[0].sentence, HasSubstr("silent for 3h"));
  EXPECT_EQ(plan_.copies[0].since, kNow - absl::Hours(3));
  copy_.stage = Stage::kFenced;
  EXPECT_THAT(Only().sentence, HasSubstr("has not confirmed its erasure"));
  EXPECT_THAT(plan_.orders, IsEmpty());
}

TEST_F(EvictionTest, HeldAndUnjudgedStay) {
  copy_.held = {1, 2};
  EXPECT_EQ(Only().state, "held");
  EXPECT_THAT(plan_.orders, IsEmpty());
  copy_.held = {1};
  Only();
  EXPECT_THAT(plan_.orders[0].safe, ElementsAre(2));
  copy_.held.clear();
  copy_.judged = false;
  EXPECT_EQ(Only().state, "unjudged");
  EXPECT_THAT(plan_.orders, IsEmpty());
}

TEST_F(EvictionTest, ErasingIsToldAndErasedIsOver) {
  copy_.stage = Stage::kErasing;
  EXPECT_EQ(Only().state, "erasing");
  EXPECT_THAT(plan_.orders, IsEmpty());
  copy_.stage = Stage::kErased;
  EXPECT_THAT(PlanEvictions(input_, {copy_}).copies, IsEmpty());
}

}  // namespace
}  // namespace bailiwick::coordinator
