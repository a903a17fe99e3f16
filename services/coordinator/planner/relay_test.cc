#include "services/coordinator/planner/planner_fixture.h"

namespace bailiwick::coordinator {
namespace {

// The home is in eu/de; three sites are far from it and near each other.
class RelayTest : public PlannerTest {
 protected:
  RelayTest() {
    world_.regions.push_back("us/east");
    for (const char* site : {"boston", "miami", "york"}) AddSite(site, "us/east");
    AddPolicy({ToRegion("us/east")});
  }
  PlannedDataset& Open(VersionNumber count) { return AddDataset("a", count, {{"class", "open"}}); }
  std::vector<std::string> Starts() {
    plan_ = planner_.Run(input_);
    std::vector<std::string> starts;
    for (const StartTransfer& s : plan_.start) {
      starts.push_back(absl::StrCat("v", s.version, " ", s.source, " ", s.destination));
    }
    return starts;
  }
  const Reason& ReasonOf(const std::string& site) {
    for (const Wanted& wanted : plan_.wanted) {
      if (wanted.site == site) return wanted.reason;
    }
    static const auto* const kNone = new Reason;
    return *kNone;
  }
};

TEST_F(RelayTest, TheLongWayIsGoneOnce) {
  PlannedDataset& dataset = Open(1);
  EXPECT_THAT(Starts(), ElementsAre("v1 factory boston"));
  EXPECT_EQ(ReasonOf("miami").code, "waiting");
  EXPECT_EQ(ReasonOf("miami").sentence,
            "version 1 waits for the copy that is on its way to boston, nearer than factory");
  AddRunning(dataset, 1, "factory", "boston");
  EXPECT_THAT(Starts(), IsEmpty());
  input_.running.clear();
  dataset.held["boston"] = {1};
  EXPECT_THAT(Starts(), ElementsAre("v1 boston miami", "v1 boston york"));
}

TEST_F(RelayTest, SitesThatAreNoNearerToEachOtherDoNotWait) {
  input_.policies.clear();
  AddPolicy({ToSite("core"), ToSite("paris"), ToSite("us")});
  Open(1);
  EXPECT_THAT(Starts(), ElementsAre("v1 factory core", "v1 factory paris", "v1 factory us"));
}

TEST_F(RelayTest, WhatDoesNotGetOnIsNotWaitedFor) {
  AddRunning(Open(1), 1, "factory", "boston").stalled = true;
  EXPECT_THAT(Starts(), ElementsAre("v1 factory miami"));
}

TEST_F(RelayTest, ASiteThatMayNotSendOnIsNotWaitedFor) {
  policy::Rule forbid;
  forbid.policy = "acme";
  forbid.id = "boston-keeps";
  forbid.effect = policy::Effect::kForbid;
  forbid.actions = {policy::Action::kTransfer};
  forbid.from.in = {"us/east/boston"};
  world_.regions.push_back("us/east/boston");
  world_.sites["boston"].region = input_.sites["boston"].region = "us/east/boston";
  world_.rules.push_back(forbid);
  Open(1);
  EXPECT_THAT(Starts(), ElementsAre("v1 factory boston", "v1 factory miami"));
  EXPECT_EQ(ReasonOf("york").code, "waiting");
}

TEST_F(RelayTest, ASiteThatCannotReachItIsNotWaitedFor) {
  input_.sites["boston"].dialable = input_.sites["miami"].dialable = false;
  Open(1);
  // Neither of the two accepts connections; york does, and boston dials it.
  EXPECT_THAT(Starts(), ElementsAre("v1 factory boston", "v1 factory miami"));
  EXPECT_EQ(ReasonOf("york").code, "waiting");
}

TEST_F(RelayTest, WhoHasMostTakesTheLongWay) {
  PlannedDataset& dataset = Open(3);
  dataset.held["york"] = {2};
  EXPECT_THAT(Starts(), ElementsAre("v3 factory york", "v2 york boston", "v2 york miami"));
}

TEST_F(RelayTest, WhileOneStreamsInTheOthersFollowAVersionBehind) {
  PlannedDataset& dataset = Open(3);
  dataset.held["boston"] = {2};
  dataset.held["miami"] = {1};
  dataset.held["york"] = {2};
  AddRunning(dataset, 3, "factory", "boston");
  EXPECT_THAT(Starts(), ElementsAre("v2 boston miami"));
  EXPECT_EQ(ReasonOf("york").code, "waiting");
}

TEST_F(RelayTest, InOrderWaitsForTheVersionItNeeds) {
  PlannedDataset& dataset = Open(3);
  input_.policies[0].order = Order::kInOrder;
  dataset.held["boston"] = {1};
  AddRunning(dataset, 2, "factory", "boston");
  EXPECT_THAT(Starts(), ElementsAre("v1 boston miami", "v1 boston york"));
  dataset.held["miami"] = dataset.held["york"] = {1};
  EXPECT_THAT(Starts(), IsEmpty());
}

TEST_F(RelayTest, AStallIsTakenOverByAnotherSource) {
  PlannedDataset& dataset = Open(1);
  dataset.held["us"] = {1};
  input_.policies.clear();
  AddPolicy({ToSite("york")});
  RunningTransfer& running = AddRunning(dataset, 1, "us", "york");
  EXPECT_THAT(planner_.Run(input_).replace, IsEmpty());
  running.stalled = true;
  EXPECT_THAT(planner_.Run(input_).replace, ElementsAre(running.transfer_id));
  input_.running.clear();
  planner_.Avoid(dataset.id, "york", "us", input_.boot);
  EXPECT_THAT(Starts(), ElementsAre("v1 factory york"));
  // That one stalls as well: there is nobody better, so it is left alone, and neither is given up for ever.
  AddRunning(dataset, 1, "factory", "york").stalled = true;
  EXPECT_THAT(planner_.Run(input_).replace, IsEmpty());
  input_.running.clear();
  input_.boot += kAvoid;
  EXPECT_THAT(Starts(), ElementsAre("v1 us york"));
}

TEST_F(RelayTest, AStallWithoutAnotherSourceIsLeftAlone) {
  AddRunning(Open(1), 1, "factory", "york").stalled = true;
  EXPECT_THAT(planner_.Run(input_).replace, IsEmpty());
}

}  // namespace
}  // namespace bailiwick::coordinator
