#include "services/coordinator/planner/home_drop.h"

#include "services/coordinator/planner/planner_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Key;
using ::testing::UnorderedElementsAre;

class HomeDropTest : public PlannerTest {
 protected:
  PlannedDataset& AddRecorder(VersionNumber count) {
    PlannedDataset& dataset = AddDataset("drive", count, {{"class", "open"}});
    dataset.drop_after = 2;
    return dataset;
  }
  HomeDrop PlanOf(const PlannedDataset& dataset, const std::set<VersionNumber>& kept = {}) {
    return PlanHomeDrop(input_, dataset, kept, heard_);
  }
  std::set<std::string> heard_ = {"factory", "core", "paris", "us"};
};

TEST_F(HomeDropTest, OnlyWhatEnoughOthersHold) {
  PlannedDataset& dataset = AddRecorder(3);
  EXPECT_THAT(PlanOf(dataset).versions, IsEmpty());
  dataset.held["core"] = {1, 2, 3};
  EXPECT_THAT(PlanOf(dataset).versions, IsEmpty()) << "one copy is not two";
  EXPECT_EQ(PlanOf(dataset).waits, "version 3 stays until 2 other sites that are connected hold it, now: core");
  dataset.held["paris"] = {1, 2};
  const HomeDrop drop = PlanOf(dataset);
  EXPECT_THAT(drop.versions, ElementsAre(1, 2));
  EXPECT_THAT(drop.holders, UnorderedElementsAre(Key("core"), Key("paris")));
  EXPECT_THAT(drop.holders.at("core"), ElementsAre(1, 2));
  dataset.drop_after = 0;
  EXPECT_THAT(PlanOf(dataset).versions, IsEmpty());
}

TEST_F(HomeDropTest, SilenceIsNoCopy) {
  PlannedDataset& dataset = AddRecorder(1);
  dataset.held["core"] = dataset.held["paris"] = {1};
  EXPECT_THAT(PlanOf(dataset).versions, ElementsAre(1));
  input_.sites["paris"].connected = false;
  EXPECT_THAT(PlanOf(dataset).versions, IsEmpty());
  input_.sites["paris"].connected = true;
  heard_.erase("paris");
  EXPECT_THAT(PlanOf(dataset).versions, IsEmpty()) << "known from before, not said since";
}

TEST_F(HomeDropTest, ACopyThatMustGoSoonerIsNoneToRelyOn) {
  PlannedDataset& dataset = AddRecorder(1);
  dataset.held["core"] = dataset.held["us"] = {1};
  EXPECT_THAT(PlanOf(dataset).versions, ElementsAre(1));
  policy::Rule& open = world_.rules[1];
  policy::Rule abroad = open;
  abroad.id = "abroad";
  abroad.to.in = {"us"};
  abroad.obligations.max_retention = absl::Hours(1);
  world_.rules.push_back(abroad);
  EXPECT_THAT(PlanOf(dataset).versions, IsEmpty());
}

TEST_F(HomeDropTest, WhatIsHeldStaysAndWhatIsThereInPartGoesToo) {
  PlannedDataset& dataset = AddRecorder(2);
  dataset.held["factory"] = {2};
  dataset.versions.push_back({3, kNow, 300});
  dataset.partial = {{3, 1}};
  dataset.held["core"] = dataset.held["paris"] = {1, 2, 3};
  EXPECT_THAT(PlanOf(dataset).versions, ElementsAre(2, 3));
  const HomeDrop held = PlanOf(dataset, {2, 3});
  EXPECT_THAT(held.versions, IsEmpty());
  EXPECT_EQ(held.waits, "a hold or a pin keeps version 3");
}

// It may be the one thing that the newer version has no more, or that the home has again.
TEST_F(HomeDropTest, WhatTheHomeHasInPartGoesAlsoToWhoHasTheRestDamaged) {
  PlannedDataset& dataset = AddRecorder(1);
  dataset.held.clear();
  dataset.broken["core"] = {1};
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().code, "source-offline");
  EXPECT_THAT(Only().sentence, HasSubstr("version 1 is damaged at core and no site holds it whole"));
  EXPECT_GT(plan_.wanted[0].lag, absl::ZeroDuration());
  dataset.versions.push_back({2, kNow, 300});
  dataset.partial = {{2, 1}};
  EXPECT_EQ(Only().code, "starting");
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 2u);
  EXPECT_EQ(plan_.start[0].source, "factory");
  input_.sites["factory"].connected = false;
  EXPECT_EQ(Only().code, "source-offline");
  EXPECT_THAT(Only().sentence, HasSubstr("factory, which is offline"));
  EXPECT_THAT(Only().sentence, HasSubstr("; what core has of version 1 is damaged: bailiwick dataset verify"));
  input_.sites["factory"].connected = true;
  dataset.broken = {{"paris", {1}}};
  EXPECT_EQ(Only().code, "source-offline");
}

TEST_F(HomeDropTest, WhatTheHomeHasInPartGoesToWhoHasTheRest) {
  PlannedDataset& dataset = AddRecorder(3);
  dataset.held["factory"] = {};
  dataset.partial = {{3, 2}};
  dataset.held["core"] = {1, 2};
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().code, "starting");
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 3u);
  EXPECT_EQ(plan_.start[0].source, "factory");

  dataset.held["core"] = {1};
  EXPECT_EQ(Only().code, "source-offline");
  EXPECT_THAT(plan_.wanted[0].reason.sentence,
              HasSubstr("factory, the home, has of version 3 only what differs from version 2"));
  dataset.held["paris"] = {2};
  Only();
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 2u) << "the base first, from where it lies";
  EXPECT_EQ(plan_.start[0].source, "paris");
}

TEST_F(HomeDropTest, AHomeThatGivesUpItsCopyIsNoneOfThoseAskedFor) {
  PlannedDataset& dataset = AddRecorder(1);
  AddPolicy({ToRegion("eu", 2)});
  EXPECT_THAT(Sites(planner_.Run(input_)), SizeIs(2));
  dataset.drop_after = 0;
  EXPECT_THAT(Sites(planner_.Run(input_)), SizeIs(1));
}

}  // namespace
}  // namespace bailiwick::coordinator
