#include "services/coordinator/planner/planner_fixture.h"

namespace bailiwick::coordinator {
namespace {

TEST_F(PlannerTest, BackoffDoublesToAMinuteAndResets) {
  const DatasetId id = AddDataset("a", 1).id;
  AddPolicy({ToSite("core")});
  for (int seconds : {1, 2, 4, 8, 16, 32, 60, 60}) {
    planner_.Failed(id, "core", "connection reset", false, input_.boot);
    const Reason reason = Only();
    EXPECT_EQ(reason.code, "failed");
    EXPECT_THAT(plan_.start, IsEmpty());
    if (seconds < 60) {
      EXPECT_EQ(reason.sentence, absl::StrCat("the last attempt failed: connection reset; next try in ", seconds, "s"));
    }
    input_.boot += absl::Seconds(seconds) - absl::Milliseconds(1);
    EXPECT_EQ(Only().code, "failed");
    input_.boot += absl::Milliseconds(1);
    EXPECT_EQ(Only().code, "starting");
  }
  planner_.Succeeded(id, "core");
  planner_.Failed(id, "core", "x", false, input_.boot);
  EXPECT_THAT(Only().sentence, HasSubstr("next try in 1s"));
  planner_.ResetBackoff();
  EXPECT_EQ(Only().code, "starting");
}

TEST_F(PlannerTest, ASiteThatConnectsMakesOnlyWhatItTakesPartInTriedAgain) {
  const DatasetId a = AddDataset("a", 1).id, b = AddDataset("b", 1).id;
  AddPolicy({ToSite("core"), ToSite("paris")});
  auto starting = [&](const std::string& site, const std::set<DatasetId>& has) {
    for (const DatasetId& id : {a, b}) {
      for (const char* to : {"core", "paris"}) planner_.Failed(id, to, "reset", false, input_.boot);
    }
    planner_.Run(input_);
    planner_.ResetBackoff(site, has);
    std::vector<std::string> names;
    for (const StartTransfer& start : planner_.Run(input_).start) {
      names.push_back(start.dataset_name + " " + start.destination);
    }
    return names;
  };
  EXPECT_THAT(starting("us", {}), IsEmpty());
  EXPECT_THAT(starting("core", {}), ElementsAre("a core", "b core"));
  EXPECT_THAT(starting("factory", {b}), ElementsAre("b core", "b paris"));
}

TEST_F(PlannerTest, DeniedFailuresWaitAFixedTime) {
  const DatasetId id = AddDataset("a", 1).id;
  AddPolicy({ToSite("core")});
  for (int i = 0; i < 3; ++i) {
    planner_.Failed(id, "core", "POLICY_DENIED", true, input_.boot);
    EXPECT_THAT(Only().sentence, HasSubstr("next try in 15s"));
  }
  planner_.Failed(id, "core", "reset", false, input_.boot);
  EXPECT_THAT(Only().sentence, HasSubstr("next try in 1s"));
}

TEST_F(PlannerTest, OneFailingItemDoesNotHoldUpOthers) {
  for (char c = 'a'; c <= 'e'; ++c) AddDataset(std::string(1, c), 1);
  AddPolicy({ToSite("core")});
  planner_.Failed(input_.datasets[0].id, "core", "broken", false, input_.boot);
  plan_ = planner_.Run(input_);
  EXPECT_EQ(plan_.wanted[0].reason.code, "failed");
  ASSERT_THAT(plan_.start, SizeIs(4));
  EXPECT_EQ(plan_.start[0].dataset_name, "b");
  EXPECT_EQ(plan_.start[3].dataset_name, "e");
}

TEST_F(PlannerTest, NearestSourceThenHomeThenLeastBusy) {
  PlannedDataset& dataset = AddDataset("a", 1, {{"class", "open"}});
  AddSite("lyon", "eu/fr");
  dataset.held["core"] = dataset.held["lyon"] = dataset.held["us"] = {1};
  AddPolicy({ToSite("paris")});
  Only();
  EXPECT_EQ(plan_.start[0].source, "lyon");
  dataset.held.erase("lyon");
  Only();
  EXPECT_EQ(plan_.start[0].source, "factory");
  input_.sites["factory"].connected = false;
  dataset.held["berlin"] = {1};
  AddSite("berlin", "eu/de");
  Only();
  EXPECT_EQ(plan_.start[0].source, "berlin");
  AddRunning(dataset, 1, "berlin", "elsewhere");
  Only();
  EXPECT_EQ(plan_.start[0].source, "core");
}

TEST_F(PlannerTest, AtMostFourAtADestinationByPriorityThenNewBeforeOld) {
  for (int i = 0; i < 6; ++i) AddDataset(absl::StrCat("d", i), 2, {{"class", "raw"}, {"n", absl::StrCat(i)}});
  input_.datasets[0].held["core"] = {2};  // only backfill is left
  AddPolicy({ToSite("core")});
  PlannedPolicy& urgent = AddPolicy({ToSite("core")});
  urgent.select.conditions = {In("n", {"5"})};
  urgent.priority = 3;
  plan_ = planner_.Run(input_);
  std::vector<std::string> started;
  for (const StartTransfer& start : plan_.start) started.push_back(start.dataset_name);
  EXPECT_THAT(started, ElementsAre("d5", "d1", "d2", "d3"));
  EXPECT_EQ(plan_.wanted[4].reason.code, "waiting");
  EXPECT_EQ(plan_.wanted[4].reason.sentence, "version 2 waits for one of 4 running transfers to core to end");
  EXPECT_TRUE(plan_.wanted[0].reason.satisfied);
}

TEST_F(PlannerTest, AtMostEightFromASourceCountingWhatRuns) {
  PlannedDataset& other = AddDataset("z", 1);
  for (int i = 0; i < 5; ++i) AddRunning(other, 1, "factory", absl::StrCat("x", i));
  for (const char* site : {"core", "paris"}) AddRunning(other, 1, "factory", site);
  other.held["core"] = other.held["paris"] = {1};
  AddDataset("a", 1);
  AddPolicy({ToSite("core"), ToSite("paris")});
  plan_ = planner_.Run(input_);
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.wanted[0].reason.code, "starting");
  EXPECT_EQ(plan_.wanted[1].reason.sentence, "version 1 waits for one of 8 running transfers from factory to end");
  AddSite("berlin", "eu/de");
  input_.datasets[1].held["berlin"] = {1};  // a second source takes the rest
  plan_ = planner_.Run(input_);
  ASSERT_THAT(plan_.start, SizeIs(2));
  EXPECT_EQ(plan_.start[1].source, "berlin");
}

// Two sites that take their time with four datasets each hold all of a source's slots; a third one does not wait.
TEST_F(PlannerTest, NobodyWaitsForTheSlownessOfOthers) {
  for (int i = 0; i < 4; ++i) {
    PlannedDataset& slow = AddDataset(absl::StrCat("slow", i), 1, {{"class", "raw"}, {"n", "slow"}});
    for (const char* site : {"x", "y"}) AddRunning(slow, 1, "factory", site);
  }
  AddDataset("a", 1);
  AddDataset("b", 1);
  PlannedPolicy& policy = AddPolicy({ToSite("core"), ToSite("paris")});
  policy.select.conditions = {In("n", {"none"})};
  for (size_t i : {4, 5}) input_.datasets[i].labels["n"] = "none";
  plan_ = planner_.Run(input_);
  ASSERT_THAT(plan_.start, SizeIs(2)) << "one to each";
  EXPECT_EQ(plan_.start[0].destination, "core");
  EXPECT_EQ(plan_.start[1].destination, "paris");
  EXPECT_EQ(plan_.wanted[2].reason.sentence, "version 1 waits for one of 10 running transfers from factory to end");
  // Nor does a site wait for slow sources when another has something for it.
  input_.running.clear();
  for (int i = 0; i < 4; ++i) AddRunning(input_.datasets[i], 1, absl::StrCat("s", i), "core");
  plan_ = planner_.Run(input_);
  ASSERT_THAT(plan_.start, Not(IsEmpty()));
  EXPECT_EQ(plan_.start[0].destination, "core");
  EXPECT_EQ(plan_.start[0].source, "factory");
}

TEST_F(PlannerTest, WhatIsUrgentDoesNotWaitForWhatYields) {
  PlannedDataset& other = AddDataset("z", 1, {{"class", "raw"}, {"n", "none"}});
  for (int i = 0; i < 4; ++i) AddRunning(other, 1, "factory", "core");
  AddDataset("a", 1);
  AddPolicy({ToSite("core")});
  input_.policies[0].select.conditions = {In("n", {"none"})};
  PlannedPolicy& urgent = AddPolicy({ToSite("core")});
  plan_ = planner_.Run(input_);
  EXPECT_THAT(plan_.start, IsEmpty());
  urgent.priority = 3;
  plan_ = planner_.Run(input_);
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].dataset_name, "a");
  EXPECT_EQ(plan_.start[0].priority, 3);
  // There is an end to that: buffers are held whatever waits.
  for (int i = 0; i < 4; ++i) AddRunning(other, 1, "factory", "core").priority = 1;
  plan_ = planner_.Run(input_);
  EXPECT_THAT(plan_.start, IsEmpty());
}

}  // namespace
}  // namespace bailiwick::coordinator
