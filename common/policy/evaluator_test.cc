#include "common/policy/evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/policy/world_fixture.h"

namespace bailiwick::policy {
namespace {

using ::testing::HasSubstr;

// The story of the quickstart: telemetry stays in the EU, personal data never leaves it.
World Acme() {
  World world;
  world.revision = 7;
  world.regions = {"ch", "eu", "eu/de", "eu/de/fra", "us", "us/east"};
  for (Site site : {MakeSite("factory", "eu/de/fra", {{"tier", "edge"}}, "acme-gmbh"),
                    MakeSite("core", "eu/de", {{"tier", "onprem"}}),
                    MakeSite("cloud-us", "us/east", {{"tier", "cloud"}}, "acme-inc"), MakeSite("zurich", "ch")}) {
    world.sites[site.name] = site;
  }
  world.sets["acme"]["adequate"] = {{"ch"}, kNow + absl::Hours(24)};
  Rule stays = MakeRule("eu-data-stays", Effect::kPermit);
  stays.data.conditions = {In("class", {"telemetry"})};
  stays.from.in = {"eu"};
  stays.to.in = {"eu"};
  Rule abroad = MakeRule("no-pii-abroad", Effect::kForbid);
  abroad.data.conditions = {In("pii", {"yes"})};
  abroad.to.not_in = {"eu", "set:adequate"};
  world.rules = {stays, abroad};
  return world;
}

Request Ask(Labels data, std::string from, std::string to) { return {std::move(data), std::move(from), std::move(to)}; }

TEST(EvaluatorTest, PermitsWhatARulePermits) {
  const Decision decision = Evaluate(Acme(), Ask({{"class", "telemetry"}, {"pii", "yes"}}, "factory", "core"), kNow);
  EXPECT_TRUE(decision.permitted);
  EXPECT_EQ(decision.reason, Reason::kPermitted);
  EXPECT_EQ(decision.rule, "acme/eu-data-stays");
  EXPECT_EQ(decision.revision, 7u);
}

TEST(EvaluatorTest, ForbidNamesRuleSitesRegionsAndLabels) {
  const Decision decision =
      Evaluate(Acme(), Ask({{"class", "telemetry"}, {"pii", "yes"}}, "factory", "cloud-us"), kNow);
  EXPECT_FALSE(decision.permitted);
  EXPECT_EQ(decision.reason, Reason::kForbidden);
  EXPECT_EQ(decision.sentence,
            "policy acme/no-pii-abroad forbids transfer from factory (eu/de/fra) to cloud-us (us/east): data pii=yes, "
            "destination not in eu, set:adequate");
}

TEST(EvaluatorTest, DefaultIsDenyAndNamesTheNearestRule) {
  const Decision decision = Evaluate(Acme(), Ask({{"class", "telemetry"}, {"pii", "no"}}, "factory", "cloud-us"), kNow);
  EXPECT_EQ(decision.reason, Reason::kNoPermit);
  EXPECT_EQ(decision.rule, "");
  EXPECT_EQ(
      decision.sentence,
      "no rule permits transfer from factory (eu/de/fra) to cloud-us (us/east); the nearest, acme/eu-data-stays, does "
      "not: destination us/east is not in eu");
  EXPECT_THAT(Evaluate(World{}, Ask({}, "a", "b"), kNow).sentence, HasSubstr("site a is not in the policy"));
}

TEST(EvaluatorTest, ForbidOverridesPermitWhateverTheOrder) {
  World world = Acme();
  world.rules.push_back(MakeRule("all", Effect::kPermit));
  const Request request = Ask({{"class", "telemetry"}, {"pii", "yes"}}, "factory", "cloud-us");
  EXPECT_EQ(Evaluate(world, request, kNow).reason, Reason::kForbidden);
  std::reverse(world.rules.begin(), world.rules.end());
  EXPECT_EQ(Evaluate(world, request, kNow).reason, Reason::kForbidden);
}

TEST(EvaluatorTest, AMissingLabelNeverMakesARuleVanish) {
  // Cedar would skip the forbid and permit.
  World world = Acme();
  world.rules.push_back(MakeRule("all", Effect::kPermit));
  const Decision decision = Evaluate(world, Ask({{"class", "telemetry"}}, "factory", "cloud-us"), kNow);
  EXPECT_FALSE(decision.permitted);
  EXPECT_EQ(decision.reason, Reason::kError);
  EXPECT_EQ(decision.rule, "acme/no-pii-abroad");
  EXPECT_THAT(decision.sentence, HasSubstr("missing label pii"));
  // Where the forbid cannot apply in any case, its missing label is no matter.
  EXPECT_TRUE(Evaluate(world, Ask({{"class", "telemetry"}}, "factory", "core"), kNow).permitted);
}

TEST(EvaluatorTest, NotInOnAMissingLabelIsAnErrorButExistenceIsNot) {
  World world = Acme();
  Rule rule = MakeRule("p", Effect::kPermit);
  rule.data.conditions = {{"pii", Operator::kNotIn, {"yes"}}};
  world.rules = {rule};
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow).reason, Reason::kError);
  EXPECT_TRUE(Evaluate(world, Ask({{"pii", "no"}}, "factory", "core"), kNow).permitted);
  world.rules[0].data.conditions = {{"pii", Operator::kDoesNotExist, {}}};
  EXPECT_TRUE(Evaluate(world, Ask({}, "factory", "core"), kNow).permitted);
  world.rules[0].data.conditions = {{"pii", Operator::kExists, {}}};
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow).reason, Reason::kNoPermit);
}

TEST(EvaluatorTest, AnExpiredOrUnknownSetDenies) {
  World world = Acme();
  Rule rule = MakeRule("adequate", Effect::kPermit);
  rule.to.in = {"set:adequate", "eu"};
  world.rules = {rule};
  EXPECT_TRUE(Evaluate(world, Ask({}, "factory", "zurich"), kNow).permitted);
  const Decision late = Evaluate(world, Ask({}, "factory", "zurich"), kNow + absl::Hours(24));
  EXPECT_EQ(late.reason, Reason::kError);
  EXPECT_THAT(late.sentence, HasSubstr("set adequate expired on 2026-07-02"));
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow + absl::Hours(24)).reason, Reason::kError);
  world.rules[0].policy = "other";  // a set belongs to its policy
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "zurich"), kNow).reason, Reason::kError);
}

TEST(EvaluatorTest, UnknownSiteRegionAndObligationDeny) {
  World world = Acme();
  world.rules = {MakeRule("all", Effect::kPermit)};
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "nowhere"), kNow).reason, Reason::kError);
  world.sites["core"].region = "mars";
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow).reason, Reason::kError);
  world = Acme();
  world.rules = {MakeRule("all", Effect::kPermit)};
  world.rules[0].unknown = {"an obligation of a newer version is not known to this one"};
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow).reason, Reason::kError);
  world.rules[0].unknown.clear();
  world.rules[0].to.in = {"atlantis"};
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow).reason, Reason::kError);
}

TEST(EvaluatorTest, EntitiesAndSiteLabels) {
  World world = Acme();
  Rule rule = MakeRule("p", Effect::kPermit);
  rule.to.entities = {"acme-inc"};
  rule.from.sites.conditions = {In("tier", {"edge"})};
  world.rules = {rule};
  EXPECT_TRUE(Evaluate(world, Ask({}, "factory", "cloud-us"), kNow).permitted);
  EXPECT_EQ(Evaluate(world, Ask({}, "core", "cloud-us"), kNow).reason, Reason::kNoPermit);
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow).reason, Reason::kError);     // core names no entity
  EXPECT_EQ(Evaluate(world, Ask({}, "zurich", "cloud-us"), kNow).reason, Reason::kError);  // zurich has no tier
}

TEST(EvaluatorTest, ACopyNeedsTransferAndReside) {
  World world = Acme();
  world.rules = {MakeRule("go", Effect::kPermit), MakeRule("no-lie", Effect::kForbid)};
  world.rules[0].actions = {Action::kTransfer};
  world.rules[1].actions = {Action::kReside};
  world.rules[1].to.in = {"us"};
  EXPECT_EQ(EvaluateReplication(world, {{}, "factory", "core"}, kNow).reason, Reason::kNoPermit);
  EXPECT_EQ(EvaluateReplication(world, {{}, "factory", "cloud-us"}, kNow).rule, "acme/no-lie");
  world.rules[0].actions = {Action::kTransfer, Action::kReside};
  EXPECT_TRUE(EvaluateReplication(world, {{}, "factory", "core"}, kNow).permitted);
  EXPECT_FALSE(EvaluateReplication(world, {{}, "factory", "cloud-us"}, kNow).permitted);
}

TEST(EvaluatorTest, ExplainListsEveryRuleAndWhatWouldHelp) {
  const Explanation nothing =
      Explain(Acme(), Ask({{"class", "telemetry"}, {"pii", "no"}}, "factory", "cloud-us"), kNow);
  ASSERT_EQ(nothing.rules.size(), 2u);
  EXPECT_EQ(nothing.rules[0].rule, "acme/eu-data-stays");
  EXPECT_FALSE(nothing.rules[0].applies);
  EXPECT_EQ(nothing.rules[0].failing, "destination us/east is not in eu");
  EXPECT_EQ(nothing.rules[1].failing, "data: label pii is \"no\", not one of: yes");
  EXPECT_EQ(nothing.remedy, "add us/east to `to.in` of acme/eu-data-stays");

  const Explanation forbidden =
      Explain(Acme(), Ask({{"class", "telemetry"}, {"pii", "yes"}}, "factory", "cloud-us"), kNow);
  EXPECT_TRUE(forbidden.rules[1].applies);
  EXPECT_EQ(forbidden.remedy,
            "change the label pii of the dataset (now \"yes\") or add us/east to `to.notIn` of acme/no-pii-abroad, and "
            "add us/east to `to.in` of acme/eu-data-stays");

  const Explanation error = Explain(Acme(), Ask({{"class", "telemetry"}}, "factory", "cloud-us"), kNow);
  EXPECT_TRUE(error.rules[1].error);
  EXPECT_THAT(error.remedy, HasSubstr("give the dataset the label pii"));
  EXPECT_EQ(Explain(Acme(), Ask({{"class", "telemetry"}, {"pii", "no"}}, "factory", "core"), kNow).remedy, "");
}

TEST(RegionTest, SubtreeIsByWholeNames) {
  EXPECT_TRUE(RegionContains("eu/de", "eu/de"));
  EXPECT_TRUE(RegionContains("eu/de", "eu/de/fra"));
  EXPECT_FALSE(RegionContains("eu/de", "eu/den"));
  EXPECT_FALSE(RegionContains("eu/de", "eu"));
  EXPECT_FALSE(RegionContains("", "eu"));
}

TEST(EvaluatorTest, PurposeIsAskedForAndMissingDenies) {
  World world = Acme();
  world.rules = {MakeRule("p", Effect::kPermit)};
  world.rules[0].purposes = {"care", "research"};
  Request request = Ask({}, "factory", "core");
  Decision decision = Evaluate(world, request, kNow);
  EXPECT_EQ(decision.reason, Reason::kError);
  EXPECT_THAT(decision.sentence, HasSubstr("the request has no purpose"));
  request.purpose = "sales";
  EXPECT_EQ(Evaluate(world, request, kNow).sentence,
            "no rule permits transfer from factory (eu/de/fra) to core (eu/de); the nearest, acme/p, does not: purpose "
            "sales is not one of: care, research");
  EXPECT_EQ(Explain(world, request, kNow).remedy, "add sales to `purposes` of acme/p");
  request.purpose = "care";
  EXPECT_TRUE(Evaluate(world, request, kNow).permitted);
}

TEST(EvaluatorTest, ATimeWindowOpensAndClosesInLocalTime) {
  World world = Acme();  // kNow is Wednesday, 2026-07-01 00:00 UTC
  world.time_zones["Europe/Berlin"] = {{{kNow - absl::Hours(2400), absl::Hours(2)}}, kNow + absl::Hours(24 * 30)};
  world.rules = {MakeRule("p", Effect::kPermit)};
  world.rules[0].when.daily = {{0x1f, 8 * 60, 18 * 60, "Europe/Berlin"}};  // mon-fri
  auto at = [&](absl::Duration d) { return Evaluate(world, Ask({}, "factory", "core"), kNow + d); };
  EXPECT_EQ(at(absl::Hours(6) - absl::Seconds(1)).reason, Reason::kNoPermit);
  EXPECT_TRUE(at(absl::Hours(6)).permitted);
  EXPECT_TRUE(at(absl::Hours(16) - absl::Seconds(1)).permitted);
  EXPECT_THAT(at(absl::Hours(16)).sentence,
              HasSubstr("the time 2026-07-01T16:00:00+00:00 is not in mon-fri 08:00-18:00 Europe/Berlin"));
  EXPECT_FALSE(at(absl::Hours(24 * 3 + 8)).permitted);  // Saturday
  const Decision late = at(absl::Hours(24 * 30));
  EXPECT_EQ(late.reason, Reason::kError);
  EXPECT_THAT(late.sentence, HasSubstr("data of time zone Europe/Berlin ends on 2026-07-31"));
  world.rules[0].when.daily[0] = {1 << 4, 22 * 60, 6 * 60, "Europe/Berlin"};  // Friday night
  EXPECT_TRUE(at(absl::Hours(24 * 2 + 20)).permitted);
  EXPECT_TRUE(at(absl::Hours(24 * 3 + 3)).permitted);   // Saturday 05:00
  EXPECT_FALSE(at(absl::Hours(24 * 3 + 4)).permitted);  // Saturday 06:00
  EXPECT_FALSE(at(absl::Hours(24 * 2 + 3)).permitted);  // Friday 05:00: of no window
  world.rules[0].when.daily[0].tz = "Mars/Olympus";
  EXPECT_EQ(at(absl::ZeroDuration()).reason, Reason::kError);
  world.rules[0].when = {kNow, kNow + absl::Hours(1), {}};
  EXPECT_TRUE(at(absl::ZeroDuration()).permitted);
  EXPECT_THAT(at(absl::Hours(1)).sentence, HasSubstr("it is not before 2026-07-01T01:00:00+00:00"));
  EXPECT_EQ(Explain(world, Ask({}, "factory", "core"), kNow - absl::Hours(1)).remedy,
            "wait until 2026-07-01T00:00:00+00:00 or change `when` of acme/p");
}

TEST(EvaluatorTest, TheNearestRuleIsTheOneThatWasMadeForTheData) {
  World world = Acme();
  world.time_zones["Europe/Berlin"] = {{{kNow - absl::Hours(2400), absl::Hours(2)}}, kNow + absl::Hours(24 * 30)};
  Rule other = MakeRule("a-telemetry", Effect::kPermit), nights = MakeRule("hr-nights", Effect::kPermit);
  other.data.conditions = {{"class", Operator::kIn, {"telemetry"}}};
  nights.data.conditions = {{"class", Operator::kIn, {"hr"}}};
  nights.when.daily = {{0x7f, 22 * 60, 6 * 60, "Europe/Berlin"}};
  world.rules = {other, nights};
  const absl::Time noon = kNow + absl::Hours(10);
  const Request request = Ask({{"class", "hr"}}, "factory", "core");
  EXPECT_THAT(Evaluate(world, request, noon).sentence,
              HasSubstr("the nearest, acme/hr-nights, does not: the time 2026-07-01T10:00:00+00:00 is not in"));
  EXPECT_EQ(Explain(world, request, noon).remedy,
            "wait until 2026-07-01T20:00:00+00:00 or change `when` of acme/hr-nights");
  world.rules[1].data.conditions[0].values = {"payroll"};  // two conditions fail: the other is nearer
  EXPECT_THAT(Evaluate(world, request, noon).sentence, HasSubstr("the nearest, acme/a-telemetry, does not"));
}

TEST(EvaluatorTest, AGuardrailIsNeededBesideAPolicyAndCannotBeWeakened) {
  World world = Acme();
  Rule policy = MakeRule("open", Effect::kPermit), guardrail = MakeRule("eu-only", Effect::kPermit);
  guardrail.policy = "org";
  guardrail.tier = Tier::kGuardrail;
  guardrail.to.in = {"eu"};
  guardrail.obligations.max_hops = 3;
  policy.obligations.max_hops = 5;
  policy.basis = "scc";
  world.rules = {policy, guardrail};
  const Decision inside = Evaluate(world, Ask({}, "factory", "core"), kNow);
  EXPECT_TRUE(inside.permitted);
  EXPECT_EQ(inside.rule, "acme/open");
  EXPECT_EQ(inside.basis, "scc");
  EXPECT_EQ(inside.obligations.max_hops, 3u);
  EXPECT_THAT(inside.sentence, HasSubstr("so does guardrail org/eu-only"));
  const Request out = Ask({}, "factory", "cloud-us");
  EXPECT_EQ(
      Evaluate(world, out, kNow).sentence,
      "no guardrail permits transfer from factory (eu/de/fra) to cloud-us (us/east); the nearest, org/eu-only, does "
      "not: destination us/east is not in eu");
  EXPECT_EQ(Explain(world, out, kNow).remedy, "add us/east to `to.in` of org/eu-only");
  world.rules = {guardrail};  // a guardrail alone permits nothing
  EXPECT_EQ(Evaluate(world, Ask({}, "factory", "core"), kNow).reason, Reason::kNoPermit);
  guardrail.actions = {Action::kReside};  // of another action: transfer is not guarded
  world.rules = {policy, guardrail};
  EXPECT_TRUE(Evaluate(world, out, kNow).permitted);
  guardrail.effect = Effect::kForbid;
  guardrail.actions = {Action::kTransfer};
  guardrail.to.in = {"us"};
  world.rules = {policy, guardrail};
  EXPECT_EQ(Evaluate(world, out, kNow).reason, Reason::kForbidden);
}

TEST(EvaluatorTest, ObligationsOfAllPermitsAddUpToTheStrictest) {
  World world = Acme();
  world.rules = {MakeRule("a", Effect::kPermit), MakeRule("b", Effect::kPermit), MakeRule("c", Effect::kPermit)};
  world.rules[0].obligations = {{"eu"}, absl::Hours(48), 0, false};
  world.rules[1].obligations = {{"eu/de"}, absl::Hours(72), 4, false};
  world.rules[1].actions = {Action::kReside};
  world.rules[2].obligations = {{}, absl::InfiniteDuration(), 2, true};
  world.rules[2].to.in = {"us"};
  const Obligations core = EvaluateReplication(world, {{}, "factory", "core"}, kNow).obligations;
  EXPECT_EQ(core, (Obligations{{"eu", "eu/de"}, absl::Hours(48), 4, false}));
  EXPECT_EQ(EvaluateReplication(world, {{}, "factory", "cloud-us"}, kNow).obligations,
            (Obligations{{"eu", "eu/de"}, absl::Hours(48), 2, true}));
}

TEST(EvaluatorTest, SendingOnNeedsTransit) {
  World world = Acme();
  world.rules = {MakeRule("copies", Effect::kPermit), MakeRule("relays", Effect::kPermit)};
  world.rules[1].actions = {Action::kTransit};
  world.rules[1].to.in = {"eu"};
  EXPECT_TRUE(EvaluateReplication(world, {{}, "core", "cloud-us", "", "factory"}, kNow).permitted);
  EXPECT_TRUE(EvaluateReplication(world, {{}, "cloud-us", "core", "", "cloud-us"}, kNow).permitted);
  const Decision relayed = EvaluateReplication(world, {{}, "cloud-us", "core", "", "factory"}, kNow);
  EXPECT_THAT(relayed.sentence, HasSubstr("no rule permits transit from factory (eu/de/fra) to cloud-us (us/east)"));
}

TEST(EvaluatorPropertyTest, AgreesWithTheReferenceAndIgnoresTheOrderOfRules) {
  std::map<Reason, int> reasons;
  int obliged = 0;
  for (uint64_t seed = 1; seed <= 6000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    World world = random.SomeWorld();
    const Request request = random.SomeRequest();
    const absl::Time now = random.SomeTime();
    const Decision decision = Evaluate(world, request, now);
    const Expected expected = Reference(world, request, now);
    ASSERT_EQ(decision.reason, expected.reason) << decision.sentence;
    ASSERT_EQ(decision.obligations, expected.obligations);
    ASSERT_EQ(decision.permitted, decision.reason == Reason::kPermitted);
    const Explanation explanation = Explain(world, request, now);
    ASSERT_EQ(explanation.decision.sentence, decision.sentence);
    ASSERT_EQ(explanation.remedy.empty(), decision.permitted);
    const Flow flow{request.data, request.from_site, request.to_site, request.purpose, "s1"};
    ASSERT_EQ(PermitsReplication(world, flow, now), EvaluateReplication(world, flow, now).permitted);
    random.Shuffle(&world.rules);
    const Decision shuffled = Evaluate(world, request, now);
    ASSERT_EQ(shuffled.reason, decision.reason);
    ASSERT_EQ(shuffled.rule, decision.rule);
    ASSERT_EQ(shuffled.sentence, decision.sentence);
    ++reasons[decision.reason];
    obliged += !decision.obligations.none();
  }
  for (Reason reason : {Reason::kPermitted, Reason::kForbidden, Reason::kNoPermit, Reason::kError}) {
    EXPECT_GT(reasons[reason], 100) << ReasonName(reason) << ": the random worlds no longer exercise it";
  }
  EXPECT_GT(obliged, 100);
}

}  // namespace
}  // namespace bailiwick::policy
