#include "services/coordinator/planner/planner_fixture.h"

namespace bailiwick::coordinator {
namespace {

TEST_F(PlannerTest, PoliciesMerge) {
  AddDataset("a", 1);
  PlannedPolicy& first = AddPolicy({ToSite("core")});
  first.priority = 1;
  first.rpo = absl::Minutes(5);
  first.materialize = false;
  PlannedPolicy& second = AddPolicy({ToRegion("eu/de")});
  second.priority = 3;
  second.order = Order::kInOrder;
  Only();
  EXPECT_EQ(plan_.wanted[0].priority, 3);
  EXPECT_EQ(plan_.wanted[0].rpo, absl::Minutes(5));
  EXPECT_TRUE(plan_.wanted[0].materialize);
  EXPECT_EQ(plan_.wanted[0].order, Order::kInOrder);
  EXPECT_THAT(plan_.start, SizeIs(1));
}

TEST_F(PlannerTest, LowPriorityStaysLow) {
  AddDataset("a", 1);
  AddPolicy({ToSite("core")}).priority = 1;
  Only();
  EXPECT_EQ(plan_.wanted[0].priority, 1);
}

TEST_F(PlannerTest, TargetsExpandToRegionsAndSelectorsWithoutTheHome) {
  AddDataset("a", 1, {{"class", "open"}});
  AddPolicy({ToRegion("eu")});
  EXPECT_THAT(Sites(planner_.Run(input_)), ElementsAre("core", "paris"));
  PlannedTarget american;
  american.kind = PlannedTarget::Kind::kSelector;
  american.sites.conditions = {In("area", {"us"})};
  input_.policies[0].to = {american};
  EXPECT_THAT(Sites(planner_.Run(input_)), ElementsAre("us"));
  input_.policies[0].select.conditions = {In("class", {"secret"})};
  EXPECT_THAT(Sites(planner_.Run(input_)), IsEmpty());
  input_.policies[0].select.conditions = {In("owner", {"x"})};  // the label is missing
  EXPECT_THAT(Sites(planner_.Run(input_)), IsEmpty());
}

TEST_F(PlannerTest, CopiesCountTheHomeAndPreferHoldersAndLawfulSites) {
  PlannedDataset& dataset = AddDataset("a", 1);
  AddSite("berlin", "eu/de");
  AddPolicy({ToRegion("eu", 2)});
  EXPECT_THAT(Sites(planner_.Run(input_)), ElementsAre("berlin"));
  dataset.held["paris"] = {1};
  EXPECT_THAT(Sites(planner_.Run(input_)), ElementsAre("paris"));
  input_.policies[0].to = {ToRegion("eu", 1)};
  EXPECT_THAT(Sites(planner_.Run(input_)), IsEmpty());
  input_.policies[0].to = {ToRegion("eu", 9)};
  EXPECT_THAT(Sites(planner_.Run(input_)), ElementsAre("berlin", "core", "paris"));

  AddSite("aachen", "us");  // by name it would come first, but the law denies it
  dataset.held.erase("paris");
  PlannedTarget anywhere;
  anywhere.kind = PlannedTarget::Kind::kSelector;
  anywhere.copies = 2;
  input_.policies[0].to = {anywhere};
  EXPECT_THAT(Sites(planner_.Run(input_)), ElementsAre("berlin"));
}

TEST_F(PlannerTest, SaysWhyAPairIsNotWanted) {
  AddDataset("a", 1);
  EXPECT_EQ(NotSelected(input_, "b", "core").code, "no-dataset");
  EXPECT_EQ(NotSelected(input_, "a", "mars").code, "no-site");
  EXPECT_EQ(NotSelected(input_, "a", "factory").code, "home");
  EXPECT_TRUE(NotSelected(input_, "a", "factory").satisfied);
  EXPECT_EQ(NotSelected(input_, "a", "core").code, "no-policy");
  AddPolicy({ToSite("paris")});
  EXPECT_EQ(NotSelected(input_, "a", "core").code, "not-selected");
  EXPECT_EQ(NotSelected(input_, "a", "core").sentence, "policy p1 selects a, but no target of it names core (eu/de)");
  input_.policies[0].select.conditions = {In("class", {"open"})};
  EXPECT_THAT(NotSelected(input_, "a", "core").sentence, HasSubstr("no replication policy selects a: p1 (label class"));
  AddPolicy({ToRegion("eu", 2)});
  EXPECT_EQ(NotSelected(input_, "a", "paris").sentence, "policy p2 keeps 2 copies of a, at factory, core");
}

}  // namespace
}  // namespace bailiwick::coordinator
