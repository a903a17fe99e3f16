#include "services/coordinator/planner/planner_fixture.h"

namespace bailiwick::coordinator {
namespace {

TEST_F(PlannerTest, WhatIsPastItsRetentionIsNotFetched) {
  AddDataset("a", 3);  // 3, 2 and 1 minutes old
  AddPolicy({ToSite("core")});
  world_.rules[0].obligations.max_retention = absl::Seconds(90);
  EXPECT_EQ(Only().code, "starting");
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 3u);
  EXPECT_EQ(plan_.wanted[0].lag, absl::Minutes(1)) << "of what may lie there";
  input_.datasets[0].held["core"] = {3};
  EXPECT_EQ(Only().code, "current");
  EXPECT_THAT(plan_.start, IsEmpty()) << "older ones are not added";

  input_.datasets[0].held.erase("core");
  world_.rules[0].obligations.max_retention = absl::Seconds(45);
  CompiledLaw law(&world_);
  for (CompiledLaw* compiled : {static_cast<CompiledLaw*>(nullptr), &law}) {
    input_.law = compiled;
    const Reason reason = Only();
    EXPECT_EQ(reason.code, "past-retention");
    EXPECT_EQ(reason.rule, "acme/eu-stays");
    EXPECT_THAT(reason.sentence, HasSubstr("version 3 was committed 1m00s ago, and policy acme/eu-stays lets a version "
                                           "lie at core for 45s"));
    EXPECT_FALSE(reason.satisfied);
    EXPECT_THAT(plan_.start, IsEmpty());
    EXPECT_EQ(plan_.wanted[0].lag, absl::ZeroDuration());
    EXPECT_FALSE(plan_.wanted[0].rpo_breached);
  }
}

TEST_F(PlannerTest, NewestFirstThenBackfillsFromNewToOld) {
  PlannedDataset& dataset = AddDataset("a", 4);
  AddPolicy({ToSite("core")});
  std::vector<VersionNumber> order;
  for (int i = 0; i < 4; ++i) {
    Only();
    ASSERT_THAT(plan_.start, SizeIs(1));
    order.push_back(plan_.start[0].version);
    dataset.held["core"].insert(plan_.start[0].version);
    EXPECT_TRUE(Only().satisfied);  // since the first
  }
  EXPECT_THAT(order, ElementsAre(4, 3, 2, 1));
  Only();
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, WhatOneSiteKeepsForAReasonOfItsOwnIsSentToNobody) {
  PlannedDataset& dataset = AddDataset("a", 4);
  dataset.expired = {1, 2};
  dataset.held["factory"] = {1, 2, 3, 4};  // two of them laid out, or pinned there
  dataset.held["core"] = {3, 4};
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().code, "current");
  EXPECT_THAT(plan_.start, IsEmpty()) << "it would drop them at once, and be sent them again";
  dataset.pinned["core"] = 2;
  Only();
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 2u);
  dataset.pinned = {{"", 1}, {"core", 0}};
  EXPECT_EQ(Only().code, "current");
  EXPECT_THAT(plan_.start, IsEmpty()) << "the pin is for the others";
}

TEST_F(PlannerTest, ANewHomeGetsTheVersionThatItCannotCommitWithout) {
  PlannedDataset& dataset = AddDataset("a", 2);
  dataset.held["core"] = {1, 2};
  dataset.held["factory"] = {1};  // the home since a moment ago
  plan_ = planner_.Run(input_);
  EXPECT_THAT(plan_.start, IsEmpty()) << "what it committed itself it has lost, and is not given back unasked";
  dataset.home_lacks = 2;
  plan_ = planner_.Run(input_);
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 2u);
  EXPECT_EQ(plan_.start[0].source, "core");
  EXPECT_EQ(plan_.start[0].destination, "factory");
}

TEST_F(PlannerTest, BackfillSkipsWhatNobodyKeepsAndShowsProgress) {
  PlannedDataset& dataset = AddDataset("a", 4);
  dataset.held["factory"] = {1, 4};
  dataset.held["core"] = {4};
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().sentence, "holds version 4; older version 1 starts from factory");
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 1u);
  AddRunning(dataset, 1, "factory", "core");
  EXPECT_EQ(Only().sentence, "holds version 4; older version 1 is on its way from factory: 0%");
  EXPECT_EQ(Only().code, "current");
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, NewestFirstTakesTheNextBestWhenTheNewestIsOutOfReach) {
  PlannedDataset& dataset = AddDataset("a", 3);
  dataset.held["paris"] = {2};
  input_.sites["factory"].connected = false;
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().code, "starting");
  EXPECT_EQ(plan_.start[0].version, 2u);
  dataset.held["core"] = {2};
  EXPECT_EQ(Only().code, "source-offline");
  EXPECT_EQ(Only().version, 3u);
}

TEST_F(PlannerTest, InOrderTakesEachVersionOnceAndNeverGoesBack) {
  PlannedDataset& dataset = AddDataset("a", 4);
  dataset.held["core"] = {2};
  AddPolicy({ToSite("core")}).order = Order::kInOrder;
  Only();
  EXPECT_EQ(plan_.start[0].version, 3u);
  dataset.held["factory"].erase(3);  // no longer kept: must not stall
  Only();
  EXPECT_EQ(plan_.start[0].version, 4u);
  dataset.held["core"].insert(4);
  EXPECT_EQ(Only().code, "current");
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, InOrderWaitsForAVersionThatIsOutOfReach) {
  PlannedDataset& dataset = AddDataset("a", 2);
  dataset.held["factory"] = {1};
  dataset.held["paris"] = {2};
  input_.sites["factory"].connected = false;
  AddPolicy({ToSite("core")}).order = Order::kInOrder;
  EXPECT_EQ(Only().code, "source-offline");
  EXPECT_EQ(Only().version, 1u);
}

TEST_F(PlannerTest, WhereOnlyTheNewestIsWantedWhatWasOvertakenStaysAway) {
  PlannedDataset& dataset = AddDataset("a", 4);
  dataset.held["core"] = {1};
  AddPolicy({ToSite("core")}).history = false;
  Only();
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 4u);
  dataset.held["core"] = {1, 4};
  EXPECT_TRUE(Only().satisfied);
  EXPECT_THAT(plan_.start, IsEmpty());
  AddPolicy({ToSite("core")});  // wants all
  Only();
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 3u);
}

TEST_F(PlannerTest, TheNewestDoesNotWaitForAnOlderOneThatIsOnItsWay) {
  PlannedDataset& dataset = AddDataset("a", 4);
  dataset.held["core"] = {3};
  AddRunning(dataset, 1, "factory", "core");
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().code, "starting");
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 4u);
}

}  // namespace
}  // namespace bailiwick::coordinator
