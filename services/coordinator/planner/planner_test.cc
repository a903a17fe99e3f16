#include "services/coordinator/planner/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

policy::LabelCondition In(std::string key, std::vector<std::string> values) {
  return {std::move(key), policy::Operator::kIn, std::move(values)};
}

// Four sites, all up; data of class open may go anywhere, everything else stays in the EU.
class PlannerTest : public ::testing::Test {
 protected:
  PlannerTest() {
    world_.revision = 3;
    world_.regions = {"eu", "eu/de", "eu/fr", "us"};
    AddSite("factory", "eu/de");
    AddSite("core", "eu/de");
    AddSite("paris", "eu/fr");
    AddSite("us", "us");
    policy::Rule stays;
    stays.policy = "acme";
    stays.id = "eu-stays";
    stays.actions = {policy::Action::kTransfer, policy::Action::kReside, policy::Action::kTransit};
    stays.from.in = {"eu"};
    stays.to.in = {"eu"};
    policy::Rule open = stays;
    open.id = "open";
    open.data.conditions = {In("class", {"open"})};
    open.from.in = {};
    open.to.in = {};
    world_.rules = {stays, open};
    input_.world = &world_;
    input_.now = kNow;
    input_.boot = absl::Hours(1);
    input_.policy_revision = 3;
  }

  void AddSite(const std::string& name, const std::string& region) {
    policy::Site lawful;
    lawful.name = name;
    lawful.region = region;
    world_.sites[name] = lawful;
    PlannedSite site;
    site.name = name;
    site.region = region;
    site.labels = {{"area", region.substr(0, 2)}};
    site.connected = site.approved = site.dialable = site.joined = true;
    site.last_seen = kNow;
    site.policy_revision = 3;
    input_.sites[name] = site;
  }

  // Versions 1..count at the factory, one a minute, the newest a minute old.
  PlannedDataset& AddDataset(const std::string& name, VersionNumber count, policy::Labels labels = {{"class", "raw"}}) {
    PlannedDataset dataset;
    dataset.id.bytes[0] = static_cast<uint8_t>(input_.datasets.size() + 1);
    dataset.name = name;
    dataset.labels = std::move(labels);
    dataset.home_site = "factory";
    for (VersionNumber n = 1; n <= count; ++n) {
      dataset.versions.push_back({n, kNow - absl::Minutes(count - n + 1), n * 100});
      dataset.held["factory"].insert(n);
    }
    input_.datasets.push_back(dataset);
    return input_.datasets.back();
  }

  static PlannedTarget ToSite(const std::string& site) {
    PlannedTarget target;
    target.site = site;
    return target;
  }
  static PlannedTarget ToRegion(const std::string& region, uint32_t copies = 0) {
    PlannedTarget target;
    target.kind = PlannedTarget::Kind::kRegion;
    target.region = region;
    target.copies = copies;
    return target;
  }

  PlannedPolicy& AddPolicy(std::vector<PlannedTarget> to) {
    PlannedPolicy policy;
    policy.name = absl::StrCat("p", input_.policies.size() + 1);
    policy.to = std::move(to);
    input_.policies.push_back(policy);
    return input_.policies.back();
  }

  RunningTransfer& AddRunning(const PlannedDataset& dataset, VersionNumber version, const std::string& source,
                              const std::string& destination) {
    RunningTransfer transfer;
    transfer.transfer_id = absl::StrCat("t", input_.running.size());
    transfer.dataset = dataset.id;
    transfer.dataset_name = dataset.name;
    transfer.version = version;
    transfer.source = source;
    transfer.destination = destination;
    input_.running.push_back(transfer);
    return input_.running.back();
  }

  // For plans that want exactly one pair.
  Reason Only() {
    plan_ = planner_.Run(input_);
    EXPECT_THAT(plan_.wanted, SizeIs(1));
    return plan_.wanted.empty() ? Reason() : plan_.wanted.front().reason;
  }

  static std::vector<std::string> Sites(const Plan& plan) {
    std::vector<std::string> sites;
    for (const Wanted& wanted : plan.wanted) sites.push_back(wanted.site);
    return sites;
  }

  static std::string Text(const Plan& plan) {
    std::string text;
    for (const Wanted& w : plan.wanted) {
      absl::StrAppend(&text, w.dataset_name, "@", w.site, " ", w.priority, " ", w.reason.code, ": ", w.reason.sentence,
                      "\n");
    }
    for (const StartTransfer& s : plan.start) {
      absl::StrAppend(&text, s.dataset_name, " v", s.version, " ", s.source, "->", s.destination, "\n");
    }
    return text;
  }

  policy::World world_;
  PlanInput input_;
  Planner planner_;
  Plan plan_;
};

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
  for (int i = 0; i < 7; ++i) AddRunning(other, 1, "factory", absl::StrCat("x", i));
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
