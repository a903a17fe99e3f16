#include <algorithm>
#include <random>

#include "services/coordinator/planner/planner_fixture.h"

namespace bailiwick::coordinator {
namespace {

TEST_F(PlannerTest, TheLongestPurposeThatTheLawPermitsCounts) {
  AddDataset("a", 1);
  AddPolicy({ToSite("us")}).purpose = "audit";
  AddPolicy({ToSite("us")}).purpose = "backup";
  for (const auto& [purpose, limit] : {std::pair("audit", absl::Seconds(30)), {"backup", absl::Hours(1)}}) {
    policy::Rule rule = world_.rules[0];
    rule.id = purpose;
    rule.purposes = {purpose};
    rule.to.in = {"us"};
    rule.actions = {policy::Action::kTransfer};
    rule.obligations.max_retention = limit;
    world_.rules.push_back(rule);
  }
  policy::Rule lies = world_.rules[0];
  lies.id = "lies";
  lies.actions = {policy::Action::kReside};
  lies.to.in = {"us"};
  world_.rules.push_back(lies);
  EXPECT_EQ(Only().code, "starting");
  EXPECT_EQ(plan_.start[0].purpose, "backup");
}

TEST_F(PlannerTest, StartsWhatIsMissing) {
  AddDataset("a", 2);
  AddPolicy({ToSite("core")});
  const Reason reason = Only();
  EXPECT_EQ(reason.code, "starting");
  EXPECT_EQ(reason.sentence, "version 2 starts from factory");
  EXPECT_FALSE(reason.satisfied);
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].version, 2u);
  EXPECT_EQ(plan_.start[0].source, "factory");
  EXPECT_EQ(plan_.start[0].destination, "core");
  EXPECT_EQ(plan_.start[0].total_bytes, 200u);
}

TEST_F(PlannerTest, NoVersionYetTellsTheCommandAndTheProblem) {
  AddDataset("a", 0).source_problem = "folder /data/a does not exist";
  AddPolicy({ToSite("core")});
  const Reason reason = Only();
  EXPECT_EQ(reason.code, "no-version");
  EXPECT_THAT(reason.sentence, HasSubstr("run: bailiwick dataset commit a"));
  EXPECT_THAT(reason.sentence, HasSubstr("folder /data/a does not exist"));
}

TEST_F(PlannerTest, CurrentIsSatisfiedAndNamesTheProblemOfItsReplica) {
  PlannedDataset& dataset = AddDataset("a", 1);
  dataset.held["core"] = {1};
  AddPolicy({ToSite("core")}).rpo = absl::Seconds(1);
  Reason reason = Only();
  EXPECT_EQ(reason.code, "current");
  EXPECT_TRUE(reason.satisfied);
  EXPECT_EQ(plan_.wanted[0].lag, absl::ZeroDuration());
  EXPECT_FALSE(plan_.wanted[0].rpo_breached);
  dataset.problems["core"] = "the file x cannot be laid out";
  reason = Only();
  EXPECT_EQ(reason.code, "current");
  EXPECT_EQ(reason.sentence, "holds version 1, but: the file x cannot be laid out");
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, WhatRetentionTookIsStillMissed) {
  PlannedDataset& dataset = AddDataset("a", 5);
  dataset.held["core"] = {2};
  dataset.next_commit[2] = input_.now - absl::Hours(2);  // version 3, which is nowhere any more
  std::erase_if(dataset.versions, [](const PlannedVersion& version) { return version.number < 5; });
  AddPolicy({ToSite("core")}).rpo = absl::Hours(1);
  Only();
  EXPECT_EQ(plan_.wanted[0].lag, absl::Hours(2));
  EXPECT_EQ(plan_.wanted[0].lagging_at, 5u);
  EXPECT_TRUE(plan_.wanted[0].rpo_breached);
}

TEST_F(PlannerTest, LagIsTheAgeOfTheOldestNewerVersion) {
  AddDataset("a", 5).held["core"] = {2};
  AddPolicy({ToSite("core")}).rpo = absl::Minutes(2);
  Only();
  EXPECT_EQ(plan_.wanted[0].lag, absl::Minutes(3));
  EXPECT_EQ(plan_.wanted[0].lagging_at, 3u);
  EXPECT_TRUE(plan_.wanted[0].rpo_breached);
  input_.policies[0].rpo = absl::Minutes(3);
  Only();
  EXPECT_FALSE(plan_.wanted[0].rpo_breached);
}

TEST_F(PlannerTest, WhatIsDamagedAtTheHomeComesBackFromWhoHasIt) {
  PlannedDataset& dataset = AddDataset("a", 3);
  dataset.damaged = {1, 3};
  dataset.held["core"] = {1};
  dataset.held["us"] = {3};  // from where the law lets nothing go
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().sentence, "version 3 starts from factory");
  ASSERT_THAT(plan_.start, SizeIs(2));
  EXPECT_EQ(plan_.start[1].version, 1u);
  EXPECT_EQ(plan_.start[1].source, "core");
  EXPECT_EQ(plan_.start[1].destination, "factory");
  // One at a time; after one that failed it waits.
  AddRunning(dataset, 1, "core", "factory");
  Only();
  EXPECT_THAT(plan_.start, SizeIs(1));
  input_.running.clear();
  planner_.Failed(dataset.id, "factory", "BROKEN", false, input_.boot);
  Only();
  EXPECT_THAT(plan_.start, SizeIs(1));
  Only();
  EXPECT_THAT(plan_.start, SizeIs(1));
  input_.boot += absl::Hours(1);
  Only();
  EXPECT_THAT(plan_.start, SizeIs(2));
}

TEST_F(PlannerTest, ADamagedCopyAtTheHomeIsAskedWhereThereIsNoWholeOne) {
  PlannedDataset& dataset = AddDataset("a", 1);
  dataset.damaged = {1};
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().sentence, "version 1 starts from factory");
  planner_.Failed(dataset.id, "core", "the source no longer has chunk 1", false, input_.boot);
  EXPECT_THAT(Only().sentence,
              HasSubstr("what factory, the home, has of version 1 is damaged: bailiwick dataset commit a"));
  input_.boot += absl::Hours(1);
  dataset.held["paris"] = {1};
  EXPECT_EQ(Only().sentence, "version 1 starts from paris");
  // In order: it is waited for like any other.
  AddDataset("b", 2).damaged = {1};
  input_.datasets.erase(input_.datasets.begin());
  input_.policies[0].order = Order::kInOrder;
  EXPECT_EQ(Only().sentence, "version 1 starts from factory");
}

TEST_F(PlannerTest, WhoHangsWhileTheHomeHealsIsReplaced) {
  PlannedDataset& dataset = AddDataset("a", 1);
  dataset.damaged = {1};
  dataset.held["core"] = {1};
  AddPolicy({ToSite("core")});
  AddRunning(dataset, 1, "core", "factory").stalled = true;
  EXPECT_THAT(planner_.Run(input_).replace, IsEmpty()) << "by nobody";
  dataset.held["paris"] = {1};
  EXPECT_THAT(planner_.Run(input_).replace, SizeIs(1));
}

TEST_F(PlannerTest, SaysHowWhatIsDamagedAtTheHomeComesBack) {
  PlannedDataset& dataset = AddDataset("a", 1);
  auto says = [&] {
    plan_ = planner_.Run(input_);
    return plan_.healing[dataset.id];
  };
  EXPECT_EQ(says(), "");
  dataset.damaged = {1};
  EXPECT_EQ(says(), "no site is known to hold version 1");
  dataset.held["us"] = {1};  // from where the law lets nothing go
  EXPECT_THAT(says(), HasSubstr("it cannot come back: "));
  dataset.held["core"] = {1};
  EXPECT_EQ(says(), "version 1 starts from core");
  AddRunning(dataset, 1, "core", "factory");
  EXPECT_THAT(says(), HasSubstr("version 1 is on its way from core"));
  input_.running.clear();
  planner_.Failed(dataset.id, "factory", "BROKEN", false, input_.boot);
  EXPECT_THAT(says(), HasSubstr("the last attempt failed: BROKEN"));
  EXPECT_THAT(NotSelected(input_, "a", "factory", plan_).sentence,
              HasSubstr("what it has of version 1 is damaged; the last attempt failed"));
}

TEST_F(PlannerTest, WhatNoPolicySelectsHealsToo) {
  PlannedDataset& dataset = AddDataset("a", 1);
  EXPECT_TRUE(NotSelected(input_, "a", "factory").satisfied);
  dataset.damaged = {1};
  EXPECT_FALSE(NotSelected(input_, "a", "factory").satisfied);
  EXPECT_THAT(NotSelected(input_, "a", "factory").sentence, HasSubstr("what it has of version 1 is damaged"));
  dataset.held["core"] = {1};
  plan_ = planner_.Run(input_);
  EXPECT_THAT(plan_.wanted, IsEmpty());
  ASSERT_THAT(plan_.start, SizeIs(1));
  EXPECT_EQ(plan_.start[0].destination, "factory");
}

TEST_F(PlannerTest, DenialNamesTheLawAndNeverStarts) {
  AddDataset("a", 1);
  AddPolicy({ToSite("us")});
  Reason reason = Only();
  EXPECT_EQ(reason.code, "denied");
  EXPECT_THAT(reason.sentence, HasSubstr("us"));
  EXPECT_THAT(plan_.start, IsEmpty());
  policy::Rule forbid = world_.rules[0];
  forbid.id = "no-us";
  forbid.effect = policy::Effect::kForbid;
  forbid.to.in = {"us"};
  world_.rules.push_back(forbid);
  reason = Only();
  EXPECT_EQ(reason.rule, "acme/no-us");
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, DenialComesBeforeAnOfflineDestination) {
  AddDataset("a", 1);
  AddPolicy({ToSite("us")});
  input_.sites["us"].connected = false;
  EXPECT_EQ(Only().code, "denied");
}

TEST_F(PlannerTest, WithoutPolicyNothingMoves) {
  AddDataset("a", 1, {{"class", "open"}});
  AddPolicy({ToSite("us")});
  input_.world = nullptr;
  EXPECT_EQ(Only().code, "denied");
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, AnotherHolderThatTheLawPermitsIsEnough) {
  AddDataset("a", 1).held["paris"] = {1};
  AddPolicy({ToSite("us")});
  policy::Rule from_paris = world_.rules[0];
  from_paris.id = "from-paris";
  from_paris.from.in = {"eu/fr"};
  from_paris.to.in = {"us"};
  world_.rules.push_back(from_paris);
  EXPECT_EQ(Only().code, "starting");
  EXPECT_EQ(plan_.start[0].source, "paris");
  input_.sites["paris"].connected = false;
  EXPECT_EQ(Only().sentence, "version 1 lies only at factory (denied as a source by policy), paris (offline since 0s)");
}

TEST_F(PlannerTest, AnyPurposeThatTheLawPermitsIsEnoughAndTravelsWithTheTransfer) {
  AddDataset("a", 1);
  world_.rules[0].purposes = {"care"};
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().code, "denied");
  EXPECT_THAT(Only().sentence, HasSubstr("the request has no purpose"));
  AddPolicy({ToSite("core")}).purpose = "sales";
  EXPECT_EQ(Only().code, "denied");
  AddPolicy({ToSite("core")}).purpose = "care";
  EXPECT_EQ(Only().code, "starting");
  EXPECT_EQ(plan_.start[0].purpose, "care");
}

TEST_F(PlannerTest, ASiteThatOnlyRelaysNeedsTransit) {
  AddDataset("a", 1).held["paris"] = {1};
  AddPolicy({ToSite("core")});
  input_.sites["factory"].connected = false;
  EXPECT_EQ(Only().code, "starting");
  EXPECT_EQ(plan_.start[0].source, "paris");
  world_.rules[0].actions = {policy::Action::kTransfer, policy::Action::kReside};
  EXPECT_EQ(Only().code, "source-offline");
}

TEST_F(PlannerTest, DestinationThatIsNotReadySaysWhatToDo) {
  AddDataset("a", 1);
  AddPolicy({ToSite("core")});
  PlannedSite& core = input_.sites["core"];
  core.connected = false;
  core.last_seen = kNow - absl::Seconds(312);
  EXPECT_EQ(Only().code, "offline");
  EXPECT_EQ(Only().sentence, "site core is offline since 5m12s; it catches up when it is back");
  core.approved = false;
  EXPECT_EQ(Only().code, "not-approved");
  EXPECT_THAT(Only().sentence, HasSubstr("run: bailiwick site approve core"));
  core.joined = false;
  EXPECT_EQ(Only().code, "not-joined");
  input_.sites.erase("core");
  EXPECT_EQ(Only().code, "not-joined");
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, TransferringShowsProgressAndIsNotStartedTwice) {
  PlannedDataset& dataset = AddDataset("a", 3);
  AddPolicy({ToSite("core")});
  RunningTransfer& running = AddRunning(dataset, 2, "factory", "core");
  running.done_bytes = 45;
  running.total_bytes = 100;
  EXPECT_EQ(Only().code, "transferring");
  EXPECT_EQ(Only().sentence, "version 2 is on its way from factory: 45%");
  EXPECT_EQ(Only().version, 2u);
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, SourceOutOfReach) {
  AddDataset("a", 1);
  AddPolicy({ToSite("core")});
  PlannedSite& factory = input_.sites["factory"];
  factory.connected = false;
  factory.last_seen = kNow - absl::Seconds(8);
  EXPECT_EQ(Only().code, "source-offline");
  EXPECT_EQ(Only().sentence, "version 1 lies only at factory, which is offline since 8s");
  factory.connected = true;
  factory.approved = false;
  EXPECT_EQ(Only().sentence, "version 1 lies only at factory, which is not approved yet");
  input_.datasets[0].held.clear();
  EXPECT_EQ(Only().code, "source-offline");
  EXPECT_EQ(Only().sentence, "no site holds version 1 any more");
  EXPECT_THAT(plan_.start, IsEmpty());
}

TEST_F(PlannerTest, OneEndMustAcceptConnections) {
  AddDataset("a", 1);
  AddPolicy({ToSite("core")});
  EXPECT_EQ(Only().code, "starting");
  EXPECT_TRUE(plan_.start[0].receiver_dials);
  input_.sites["factory"].dialable = false;
  EXPECT_EQ(Only().code, "starting");
  EXPECT_FALSE(plan_.start[0].receiver_dials);
  input_.sites["core"].dialable = false;
  EXPECT_EQ(Only().code, "no-route");
  EXPECT_EQ(Only().sentence, "neither factory nor core accepts connections (dial: outbound-only); one of them must");
  EXPECT_THAT(plan_.start, IsEmpty());
  input_.datasets[0].held["paris"] = {1};  // it can be dialled
  EXPECT_EQ(Only().code, "starting");
  EXPECT_EQ(plan_.start[0].source, "paris");
}

TEST_F(PlannerTest, WaitsUntilBothEndsHaveThePolicy) {
  AddDataset("a", 1);
  AddPolicy({ToSite("core")});
  input_.sites["factory"].policy_revision = 2;
  EXPECT_EQ(Only().code, "policy-pending");
  EXPECT_EQ(Only().sentence, "site factory has not installed policy revision 3 yet");
  input_.sites["core"].policy_revision = 2;
  EXPECT_EQ(Only().sentence, "site core has not installed policy revision 3 yet");
  EXPECT_THAT(plan_.start, IsEmpty());

  input_.sites["factory"].policy_revision = input_.sites["core"].policy_revision = 3;
  input_.sites["factory"].policy_stale = "the clock of this machine is 2m behind";
  EXPECT_EQ(Only().code, "policy-stale");
  EXPECT_EQ(Only().sentence, "nothing flows at site factory: the clock of this machine is 2m behind");
  EXPECT_THAT(plan_.start, IsEmpty());
  input_.datasets[0].held["paris"] = {1};  // another has it and is fresh
  EXPECT_EQ(Only().code, "starting");
  input_.sites["core"].policy_stale = "its law came to its end";
  EXPECT_EQ(Only().sentence, "nothing flows at site core: its law came to its end");
}

TEST_F(PlannerTest, OrderOfTheInputNeverShows) {
  for (int i = 0; i < 8; ++i) {
    PlannedDataset& dataset = AddDataset(absl::StrCat("d", i), 1 + i % 3, {{"class", i % 2 ? "open" : "raw"}});
    if (i % 3 == 0) dataset.held["paris"] = {1};
  }
  AddPolicy({ToRegion("eu", 2), ToSite("us")});
  AddPolicy({ToSite("paris")}).order = Order::kInOrder;
  PlannedPolicy& third = AddPolicy({ToRegion("us")});
  third.priority = 3;
  third.select.conditions = {In("class", {"open"})};
  for (int i = 0; i < 3; ++i) AddRunning(input_.datasets[i], 1, "factory", "core");
  const std::string expected = Text(Planner().Run(input_));
  EXPECT_THAT(expected, HasSubstr("->"));
  std::mt19937 random(7);
  for (int i = 0; i < 50; ++i) {
    std::shuffle(input_.datasets.begin(), input_.datasets.end(), random);
    std::shuffle(input_.policies.begin(), input_.policies.end(), random);
    std::shuffle(input_.running.begin(), input_.running.end(), random);
    std::shuffle(world_.rules.begin(), world_.rules.end(), random);
    for (PlannedPolicy& policy : input_.policies) std::shuffle(policy.to.begin(), policy.to.end(), random);
    ASSERT_EQ(Text(Planner().Run(input_)), expected);
  }
}

TEST_F(PlannerTest, ALargeVersionComesFromTwoSourcesAtOnce) {
  AddSite("lyon", "eu/fr");
  PlannedDataset& dataset = AddDataset("a", 1);
  dataset.held["core"] = dataset.held["us"] = {1};
  AddPolicy({ToSite("paris")});
  RunningTransfer& running = AddRunning(dataset, 1, "factory", "paris");
  running.total_bytes = 10 * kShareBytes;
  Only();
  ASSERT_THAT(plan_.start, SizeIs(1)) << "us may not send it";
  EXPECT_EQ(plan_.start[0].source, "core");
  EXPECT_EQ(plan_.start[0].destination, "paris");
  EXPECT_EQ(plan_.start[0].version, 1u);
  EXPECT_EQ(plan_.start[0].total_bytes, running.total_bytes);

  running.source = "lyon";
  EXPECT_EQ(Only().code, "transferring");
  EXPECT_THAT(plan_.start, IsEmpty()) << "the others are farther away";
  running.source = "factory";
  running.done_bytes = 9 * kShareBytes + 1;
  Only();
  EXPECT_THAT(plan_.start, IsEmpty()) << "hardly anything is left";
  running.done_bytes = 0;
  running.yields = true;
  Only();
  EXPECT_THAT(plan_.start, IsEmpty()) << "something else is more urgent";
  running.yields = false;
  planner_.Avoid(dataset.id, "paris", "core", input_.boot);
  Only();
  EXPECT_THAT(plan_.start, IsEmpty()) << "it let this one down a moment ago";
  planner_.Forgive("paris");
  Only();
  EXPECT_THAT(plan_.start, SizeIs(1)) << "this one was away itself";
  planner_.Avoid(dataset.id, "paris", "core", input_.boot);
  input_.boot += kAvoid;
  Only();
  EXPECT_THAT(plan_.start, SizeIs(1));
  AddRunning(input_.datasets[0], 1, "core", "paris").total_bytes = 10 * kShareBytes;
  Only();
  EXPECT_THAT(plan_.start, IsEmpty()) << "two are enough";
}

}  // namespace
}  // namespace bailiwick::coordinator
