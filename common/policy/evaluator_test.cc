#include "common/policy/evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace bailiwick::policy {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

LabelCondition In(std::string key, std::vector<std::string> values) {
  return {std::move(key), Operator::kIn, std::move(values)};
}

Site MakeSite(std::string name, std::string region, Labels labels = {}, std::string entity = "") {
  Site site;
  site.name = std::move(name);
  site.region = std::move(region);
  site.labels = std::move(labels);
  site.entity = std::move(entity);
  return site;
}

Rule MakeRule(std::string id, Effect effect) {
  Rule rule;
  rule.policy = "acme";
  rule.id = std::move(id);
  rule.effect = effect;
  rule.actions = {Action::kTransfer, Action::kReside};
  return rule;
}

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

// The rules of the language again, written as plainly as possible: what the evaluator is compared with.
enum class Tri { kNo, kYes, kError };

Tri All(const std::vector<Tri>& conditions) {
  Tri result = Tri::kYes;
  for (Tri condition : conditions) {
    if (condition == Tri::kNo) return Tri::kNo;
    if (condition == Tri::kError) result = Tri::kError;
  }
  return result;
}

Tri OfBool(bool value) { return value ? Tri::kYes : Tri::kNo; }

void Labelled(const Selector& selector, const Labels& labels, std::vector<Tri>* out) {
  for (const LabelCondition& c : selector.conditions) {
    const bool has = labels.count(c.key) != 0;
    const bool listed = has && std::set<std::string>(c.values.begin(), c.values.end()).count(labels.at(c.key)) != 0;
    if (c.op == Operator::kExists) out->push_back(OfBool(has));
    if (c.op == Operator::kDoesNotExist) out->push_back(OfBool(!has));
    if (c.op == Operator::kIn) out->push_back(!has ? Tri::kError : OfBool(listed));
    if (c.op == Operator::kNotIn) out->push_back(!has ? Tri::kError : OfBool(!listed));
  }
}

Tri Inside(const World& world, const std::string& policy, const std::vector<std::string>& places,
           const std::string& region, absl::Time now) {
  std::vector<std::string> regions;
  for (const std::string& place : places) {
    if (place.rfind("set:", 0) != 0) {
      regions.push_back(place);
      continue;
    }
    if (world.sets.count(policy) == 0 || world.sets.at(policy).count(place.substr(4)) == 0) return Tri::kError;
    const RegionSet& set = world.sets.at(policy).at(place.substr(4));
    if (set.expires && *set.expires <= now) return Tri::kError;
    regions.insert(regions.end(), set.regions.begin(), set.regions.end());
  }
  bool inside = false;
  for (const std::string& candidate : regions) {
    if (std::count(world.regions.begin(), world.regions.end(), candidate) == 0) return Tri::kError;
    inside = inside || region == candidate || region.rfind(candidate + "/", 0) == 0;
  }
  return OfBool(inside);
}

Reason Reference(const World& world, const Request& request, absl::Time now) {
  std::map<Effect, std::set<Tri>> seen;
  for (const Rule& rule : world.rules) {
    std::vector<Tri> conditions;
    conditions.push_back(OfBool(std::count(rule.actions.begin(), rule.actions.end(), request.action) != 0));
    Labelled(rule.data, request.data, &conditions);
    for (auto [place, name] : {std::pair(&rule.from, &request.from_site), std::pair(&rule.to, &request.to_site)}) {
      const Site& site = world.sites.at(*name);
      if (!place->in.empty()) conditions.push_back(Inside(world, rule.policy, place->in, site.region, now));
      if (!place->not_in.empty()) {
        const Tri inside = Inside(world, rule.policy, place->not_in, site.region, now);
        conditions.push_back(inside == Tri::kError ? inside : OfBool(inside == Tri::kNo));
      }
      Labelled(place->sites, site.labels, &conditions);
      if (!place->entities.empty()) {
        conditions.push_back(site.entity.empty()
                                 ? Tri::kError
                                 : OfBool(std::count(place->entities.begin(), place->entities.end(), site.entity)));
      }
    }
    if (!rule.unknown.empty()) conditions.push_back(Tri::kError);
    seen[rule.effect].insert(All(conditions));
  }
  if (seen[Effect::kForbid].count(Tri::kYes)) return Reason::kForbidden;
  if (seen[Effect::kForbid].count(Tri::kError) || seen[Effect::kPermit].count(Tri::kError)) return Reason::kError;
  return seen[Effect::kPermit].count(Tri::kYes) ? Reason::kPermitted : Reason::kNoPermit;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  bool Chance(int percent) { return static_cast<int>(Next() % 100) < percent; }
  template <typename T>
  const T& Pick(const std::vector<T>& options) {
    return options[Next() % options.size()];
  }
  template <typename T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[Next() % i]);
  }
  Labels SomeLabels() {
    Labels labels;
    for (const char* key : {"a", "b", "c"}) {
      if (Chance(70)) labels[key] = Pick(kValues);
    }
    return labels;
  }
  Selector SomeSelector() {
    Selector selector;
    while (Chance(35)) {
      LabelCondition c{Pick<std::string>({"a", "b", "c"}),
                       Pick<Operator>({Operator::kIn, Operator::kNotIn, Operator::kExists, Operator::kDoesNotExist}),
                       {}};
      if (c.op == Operator::kIn || c.op == Operator::kNotIn) c.values = {Pick(kValues), Pick(kValues)};
      selector.conditions.push_back(c);
    }
    return selector;
  }
  Place SomePlace() {
    Place place;
    while (Chance(35)) place.in.push_back(Pick(kPlaces));
    while (Chance(25)) place.not_in.push_back(Pick(kPlaces));
    if (Chance(20)) place.sites = SomeSelector();
    if (Chance(15)) place.entities = {Pick<std::string>({"x", "y"})};
    return place;
  }
  World SomeWorld() {
    World world;
    world.regions = {"eu", "eu/de", "eu/de/fra", "eu/den", "us"};
    for (const char* name : {"s1", "s2", "s3"}) {
      world.sites[name] = MakeSite(name, Pick(world.regions), SomeLabels(), Pick<std::string>({"", "x", "y"}));
    }
    world.sets["p"]["good"] = {{"eu/de", "us"}, std::nullopt};
    world.sets["p"]["old"] = {{"eu"}, kNow};
    for (int i = 0; i < 5; ++i) {
      Rule rule = MakeRule(std::string(1, static_cast<char>('a' + i)), Chance(70) ? Effect::kPermit : Effect::kForbid);
      rule.policy = Pick<std::string>({"p", "p", "q"});
      rule.actions =
          Chance(60) ? std::vector<Action>{Action::kTransfer, Action::kReside} : std::vector<Action>{Action::kReside};
      rule.data = SomeSelector();
      rule.from = SomePlace();
      rule.to = SomePlace();
      if (Chance(4)) rule.unknown = {"x"};
      world.rules.push_back(rule);
    }
    return world;
  }

 private:
  uint64_t Next() {  // splitmix64: the same worlds from a seed on every machine
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  const std::vector<std::string> kValues = {"1", "2", "3"};
  const std::vector<std::string> kPlaces = {"eu",       "eu/de",   "us",       "eu/den", "set:good",
                                            "set:good", "set:old", "set:none", "mars"};
  uint64_t state_;
};

TEST(EvaluatorPropertyTest, AgreesWithTheReferenceAndIgnoresTheOrderOfRules) {
  std::map<Reason, int> reasons;
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    World world = random.SomeWorld();
    Request request{random.SomeLabels(), random.Pick<std::string>({"s1", "s2", "s3"}),
                    random.Pick<std::string>({"s1", "s2", "s3"}),
                    random.Pick<Action>({Action::kTransfer, Action::kReside})};
    const Decision decision = Evaluate(world, request, kNow);
    ASSERT_EQ(decision.reason, Reference(world, request, kNow)) << decision.sentence;
    ASSERT_EQ(decision.permitted, decision.reason == Reason::kPermitted);
    const Explanation explanation = Explain(world, request, kNow);
    ASSERT_EQ(explanation.decision.sentence, decision.sentence);
    ASSERT_EQ(explanation.remedy.empty(), decision.permitted);
    const policy::Flow flow{request.data, request.from_site, request.to_site, request.purpose, "s1"};
    ASSERT_EQ(PermitsReplication(world, flow, kNow), EvaluateReplication(world, flow, kNow).permitted);
    random.Shuffle(&world.rules);
    const Decision shuffled = Evaluate(world, request, kNow);
    ASSERT_EQ(shuffled.reason, decision.reason);
    ASSERT_EQ(shuffled.rule, decision.rule);
    ASSERT_EQ(shuffled.sentence, decision.sentence);
    ++reasons[decision.reason];
  }
  for (Reason reason : {Reason::kPermitted, Reason::kForbidden, Reason::kNoPermit, Reason::kError}) {
    EXPECT_GT(reasons[reason], 100) << ReasonName(reason) << ": the random worlds no longer exercise it";
  }
}

}  // namespace
}  // namespace bailiwick::policy
