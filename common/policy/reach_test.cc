#include "common/policy/reach.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "common/policy/flow_table.h"
#include "common/policy/random_world_fixture.h"
#include "common/policy/timeline.h"

namespace bailiwick::policy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kNow = RandomWorld::Begin();

// Every site, label set, purpose and instant there is, tried one by one with the evaluator itself.
class BruteForce {
 public:
  BruteForce(const RandomWorld& random, const ReachQuery& query) : world_(random.world), query_(query) {
    labels_ = {query.data};
    for (const Rule& rule : world_.rules) {
      for (Action action : rule.actions) relabels_ |= action == Action::kRelabel;
    }
    if (relabels_) {
      for (const char* cls : {"", "a", "b", "c"}) {
        for (const char* pii : {"", "yes", "no", "maybe"}) {
          Labels labels;
          if (*cls != 0) labels["class"] = cls;
          if (*pii != 0) labels["pii"] = pii;
          labels_.push_back(labels);
        }
      }
    }
    purposes_ =
        query.purpose ? std::vector<std::string>{*query.purpose} : std::vector<std::string>{"", "train", "bill", "fun"};
    for (const auto& [name, site] : world_.sites) {
      if (query.homes.empty() ? !RegionContains(query.to, site.region) : IsHome(site)) {
        homes_.push_back({name, {{0, name, 0, UINT32_MAX}}});
      }
    }
    const absl::Time last = query.only_now || !random.timed ? query.now : RandomWorld::End();
    for (absl::Time t = query.now; t <= last && !reaches; t += RandomWorld::kStep) {
      now_ = t;
      for (Home& home : homes_) Close(&home);
    }
  }
  bool reaches = false;
  absl::Time at = absl::InfiniteFuture();

 private:
  struct State {
    size_t labels;
    std::string site;
    uint32_t hops, bound;
    bool operator<(const State& o) const {
      return std::tie(labels, site, hops, bound) < std::tie(o.labels, o.site, o.hops, o.bound);
    }
  };
  struct Home {
    std::string name;
    std::set<State> states;
  };

  bool IsHome(const Site& site) const {
    for (const std::string& home : query_.homes) {
      if (home == site.name || RegionContains(home, site.region)) return true;
    }
    return false;
  }
  bool MayRelabel(const Home& home, size_t labels) const {
    return Evaluate(world_, {labels_[labels], home.name, home.name, Action::kRelabel, ""}, now_).permitted;
  }

  void Close(Home* home) {
    std::vector<char> may;
    for (size_t l = 0; relabels_ && l < labels_.size(); ++l) may.push_back(MayRelabel(*home, l));
    std::map<std::tuple<size_t, std::string, std::string>, std::vector<Decision>> decisions;
    std::vector<State> work(home->states.begin(), home->states.end());
    auto add = [&](const State& state) {
      if (home->states.insert(state).second) work.push_back(state);
    };
    while (!work.empty()) {
      const State state = work.back();
      work.pop_back();
      if (RegionContains(query_.to, world_.sites.at(state.site).region)) {
        reaches = true;
        at = std::min(at, now_);
      }
      for (size_t l = 0; l < may.size(); ++l) {
        if (may[state.labels] && may[l]) add({l, state.site, state.hops, state.bound});
      }
      if (state.hops >= world_.sites.size()) continue;  // a longer way visits a site twice
      for (const auto& [to, site] : world_.sites) {
        if (to == state.site || to == home->name) continue;
        auto [it, fresh] = decisions.try_emplace({state.labels, state.site, to});
        if (fresh) {
          for (const std::string& purpose : purposes_) {
            it->second.push_back(
                EvaluateReplication(world_, {labels_[state.labels], state.site, to, purpose, home->name}, now_));
          }
        }
        for (const Decision& decision : it->second) {
          if (!decision.permitted) continue;
          uint32_t bound = state.bound;
          if (decision.obligations.max_hops != 0) bound = std::min(bound, decision.obligations.max_hops);
          if (decision.obligations.no_transit) bound = std::min(bound, 1u);
          if (state.hops + 1 <= bound) add({state.labels, to, state.hops + 1, bound});
        }
      }
    }
  }

  const World& world_;
  const ReachQuery& query_;
  bool relabels_ = false;
  std::vector<Labels> labels_;
  std::vector<std::string> purposes_;
  std::vector<Home> homes_;
  absl::Time now_;
};

// Whether the path can be walked, step by step, by the evaluator's own word.
void CheckPath(const World& world, const ReachQuery& query, const Reach& found) {
  ASSERT_FALSE(found.path.empty());
  Labels labels = query.data;
  const std::string home = found.path.front().from;
  std::string at = home;
  absl::Time now = query.now;
  uint32_t hops = 0, bound = UINT32_MAX;
  for (const ReachStep& step : found.path) {
    ASSERT_GE(step.at, now);
    now = step.at;
    if (step.relabel) {
      for (const Labels& side : {labels, step.data}) {
        ASSERT_TRUE(Evaluate(world, {side, home, home, Action::kRelabel, ""}, now).permitted);
      }
      labels = step.data;
      continue;
    }
    ASSERT_EQ(step.from, at);
    const Decision decision = EvaluateReplication(world, {step.data, step.from, step.to, step.purpose, home}, now);
    ASSERT_TRUE(decision.permitted) << decision.sentence;
    ASSERT_EQ(step.data, labels);
    if (decision.obligations.max_hops != 0) bound = std::min(bound, decision.obligations.max_hops);
    if (decision.obligations.no_transit) bound = std::min(bound, 1u);
    ASSERT_LE(++hops, bound);
    at = step.to;
  }
  EXPECT_TRUE(RegionContains(query.to, world.sites.at(at).region));
}

ReachQuery SomeQuery(RandomWorld* random) {
  ReachQuery query;
  query.data = random->SomeLabels();
  query.to = random->SomeRegion();
  if (random->Chance(60)) query.homes = {random->Chance(70) ? random->SomeSite() : random->SomeRegion()};
  if (random->chained && random->Chance(70)) {
    query.homes = {random->world.sites.begin()->first};
    query.to = random->world.sites.rbegin()->second.region;
    if (query.to == "mars") query.to = "us";
  }
  if (random->Chance(25)) query.purpose = random->Pick({"", "train", "fun"});
  query.only_now = random->Chance(25);
  query.now = kNow + (random->timed ? RandomWorld::kStep * random->Below(12) : absl::ZeroDuration());
  return query;
}

// BAILIWICK_WORLDS sets how many worlds are tried, BAILIWICK_SEED where to begin.
uint32_t Setting(const char* name, uint32_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

TEST(ReachPropertyTest, AgreesWithTryingAllOnRandomWorlds) {
  const uint32_t worlds = Setting("BAILIWICK_WORLDS", 3000), first = Setting("BAILIWICK_SEED", 1);
  size_t yes = 0, no = 0, far = 0, waited = 0, relabelled = 0;
  for (uint32_t seed = first; seed < first + worlds; ++seed) {
    RandomWorld random(seed);
    const ReachQuery query = SomeQuery(&random);
    const absl::StatusOr<Reach> found = FindReach(random.world, query);
    ASSERT_TRUE(found.ok()) << "seed " << seed << ": " << found.status();
    const BruteForce truth(random, query);
    ASSERT_EQ(found->reaches, truth.reaches) << "seed " << seed;
    ++(truth.reaches ? yes : no);
    if (!truth.reaches || found->begins_there) continue;
    CheckPath(random.world, query, *found);
    if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
    ASSERT_EQ(found->path.back().at, truth.at) << "seed " << seed;
    far += found->path.size() > 1;
    waited += found->path.back().at > query.now;
    for (const ReachStep& step : found->path) relabelled += step.relabel;
  }
  // A generator that makes only easy worlds proves nothing.
  EXPECT_GT(yes, worlds / 10);
  EXPECT_GT(no, worlds / 10);
  EXPECT_GT(far, worlds / 100);
  EXPECT_GT(waited, worlds / 200);
  EXPECT_GT(relabelled, worlds / 400);
  std::printf("%zu reached, %zu of them over several steps, %zu after waiting, %zu relabellings; %zu not reached\n",
              yes, far, waited, relabelled, no);
}

// The table must mean what the evaluator says, of every action and pair.
TEST(FlowTablePropertyTest, AgreesWithTheEvaluator) {
  for (uint32_t seed = 1; seed <= 400; ++seed) {
    RandomWorld random(seed);
    const std::vector<Labels> data = {random.SomeLabels(), random.SomeLabels()};
    FlowTable::Options options;
    options.from = kNow;
    const FlowTable table(random.world, data, options);
    const absl::Time now = kNow + RandomWorld::kStep * random.Below(60);
    for (const std::string purpose : {"", "train", "fun"}) {
      const FlowTable::Moment moment = table.At(now, purpose);
      for (const auto& [from, source] : random.world.sites) {
        for (const auto& [to, destination] : random.world.sites) {
          for (size_t d = 0; d < data.size(); ++d) {
            for (Action action : {Action::kTransfer, Action::kReside, Action::kTransit, Action::kRelabel}) {
              const Decision truth = Evaluate(random.world, {data[d], from, to, action, purpose}, now);
              const size_t a = table.ClassOf(from), b = table.ClassOf(to);
              const FlowTable::Verdict verdict = table.Judge(moment, d, action, a, b);
              ASSERT_EQ(verdict.reason, truth.reason) << "seed " << seed << ": " << truth.sentence;
              ASSERT_EQ(verdict.rule == nullptr ? "" : verdict.rule->name(), truth.rule) << "seed " << seed;
              ASSERT_EQ(table.Permits(moment, d, action, a, b), truth.permitted) << "seed " << seed;
              ASSERT_EQ(verdict.obligations, truth.obligations) << "seed " << seed;
            }
          }
        }
      }
    }
  }
}

Site At(std::string name, std::string region, Labels labels = {}) {
  Site site;
  site.name = std::move(name);
  site.region = std::move(region);
  site.labels = std::move(labels);
  return site;
}

Rule Permit(std::string id, std::vector<std::string> from, std::vector<std::string> to) {
  Rule rule;
  rule.policy = "acme";
  rule.id = std::move(id);
  rule.actions = {Action::kTransfer, Action::kReside, Action::kTransit};
  rule.from.in = std::move(from);
  rule.to.in = std::move(to);
  return rule;
}

// Germany to Switzerland to the USA: nobody permits it in one hop.
World Chain() {
  World world;
  world.regions = {"ch", "eu", "eu/de", "us"};
  for (Site site : {At("berlin", "eu/de"), At("zurich", "ch"), At("boston", "us")}) world.sites[site.name] = site;
  world.rules = {Permit("adequate", {"eu"}, {"ch"}), Permit("onward", {"ch"}, {"us"})};
  return world;
}

ReachQuery FromBerlin() {
  ReachQuery query;
  query.data = {{"class", "health"}};
  query.to = "us";
  query.homes = {"berlin"};
  query.now = kNow;
  return query;
}

TEST(ReachTest, FindsTheWayThroughASiteInBetween) {
  const Reach reach = *FindReach(Chain(), FromBerlin());
  ASSERT_TRUE(reach.reaches);
  ASSERT_EQ(reach.path.size(), 2u);
  EXPECT_EQ(reach.path[0].to, "zurich");
  EXPECT_EQ(reach.path[1].to, "boston");
  EXPECT_THAT(reach.path[1].rules,
              ElementsAre("transfer by acme/onward", "reside by acme/onward", "transit by acme/adequate"));
}

TEST(ReachTest, WithoutTransitTheChainEndsAndTheCutSaysSo) {
  World world = Chain();
  world.rules[0].actions = {Action::kTransfer, Action::kReside};
  const Reach reach = *FindReach(world, FromBerlin());
  EXPECT_FALSE(reach.reaches);
  EXPECT_EQ(reach.reached, 2u);
  ASSERT_FALSE(reach.cut.empty());
  EXPECT_EQ(reach.cut[0].what, "transfer");  // of berlin to boston
  EXPECT_EQ(reach.cut[1].what, "transit");
  EXPECT_EQ(reach.cut[1].from, "zurich (ch)");
  EXPECT_THAT(reach.cut[1].into, ElementsAre("us"));
}

TEST(ReachTest, BoundsOnHopsHoldForEveryCopyMadeFromACopy) {
  World world = Chain();
  world.rules[0].obligations.max_hops = 2;
  EXPECT_TRUE(FindReach(world, FromBerlin())->reaches);
  world.rules[0].obligations.max_hops = 1;
  Reach reach = *FindReach(world, FromBerlin());
  EXPECT_FALSE(reach.reaches);
  EXPECT_TRUE(std::any_of(reach.cut.begin(), reach.cut.end(), [](const ReachCut& cut) { return cut.what == "hops"; }));
  world.rules[0].obligations = {};
  world.rules[1].obligations.no_transit = true;  // only the home may make this hop
  EXPECT_FALSE(FindReach(world, FromBerlin())->reaches);
  ReachQuery anywhere = FromBerlin();
  anywhere.homes.clear();
  EXPECT_TRUE(FindReach(world, anywhere)->reaches);  // with its home in zurich
}

TEST(ReachTest, ACopyWaitsForAWindowButNotBackwards) {
  World world = Chain();
  world.rules[0].when.not_before = kNow + absl::Hours(10);
  world.rules[1].when.not_after = kNow + absl::Hours(10);
  EXPECT_FALSE(FindReach(world, FromBerlin())->reaches);
  world.rules[1].when.not_after = kNow + absl::Hours(11);
  const Reach reach = *FindReach(world, FromBerlin());
  ASSERT_TRUE(reach.reaches);
  EXPECT_EQ(reach.path[1].at, kNow + absl::Hours(10));
  ReachQuery now = FromBerlin();
  now.only_now = true;
  EXPECT_FALSE(FindReach(world, now)->reaches);
  now.now = kNow + absl::Hours(10);
  EXPECT_TRUE(FindReach(world, now)->reaches);
}

TEST(ReachTest, APermittedRelabellingIsAWayOutAndAFreeOneIsSaid) {
  World world = Chain();
  for (Rule& rule : world.rules) rule.data.conditions = {{"class", Operator::kIn, {"public"}}};
  EXPECT_FALSE(FindReach(world, FromBerlin())->reaches);
  EXPECT_FALSE(FindReach(world, FromBerlin())->relabel_ruled);
  Rule relabel = Permit("declassify", {"eu"}, {"eu"});
  relabel.actions = {Action::kRelabel};
  world.rules.push_back(relabel);
  const Reach reach = *FindReach(world, FromBerlin());
  ASSERT_TRUE(reach.reaches);
  EXPECT_TRUE(reach.relabel_ruled);
  ASSERT_EQ(reach.path.size(), 3u);
  EXPECT_TRUE(reach.path[0].relabel);
  EXPECT_EQ(reach.path[0].data.at("class"), "public");
}

TEST(ReachTest, SaysWhatDoesNotExist) {
  ReachQuery query = FromBerlin();
  query.to = "mars";
  EXPECT_THAT(std::string(FindReach(Chain(), query).status().message()), HasSubstr("region mars is not declared"));
  query.to = "us";
  query.homes = {"paris"};
  EXPECT_THAT(std::string(FindReach(Chain(), query).status().message()),
              HasSubstr("paris is neither a site nor a region"));
  query.homes = {"us"};
  EXPECT_TRUE(FindReach(Chain(), query)->begins_there);
  World world = Chain();
  world.sites.erase("boston");
  const Reach empty = *FindReach(world, FromBerlin());
  EXPECT_FALSE(empty.reaches);
  EXPECT_EQ(empty.targets, 0u);
  query = FromBerlin();
  query.any_sites = true;  // somebody could declare one
  const Reach reach = *FindReach(world, query);
  ASSERT_TRUE(reach.reaches);
  EXPECT_EQ(reach.path.back().to, "any site of us");
}

TEST(ReachTest, TooManyLabelSetsAreAnErrorNotAGuess) {
  World world = Chain();
  for (int i = 0; i < 20; ++i) {
    Rule rule = Permit(absl::StrCat("r", i), {}, {});
    rule.actions.push_back(Action::kRelabel);
    rule.data.conditions = {{absl::StrCat("key", i), Operator::kExists, {}}};
    world.rules.push_back(rule);
  }
  EXPECT_EQ(FindReach(world, FromBerlin()).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(FlowTableTest, SitesThatNoRuleTellsApartAreOneClass) {
  World world = Chain();
  for (int i = 0; i < 1000; ++i) {
    const std::string name = absl::StrCat("robot-", i);
    world.sites[name] = At(name, "eu/de", {{"serial", absl::StrCat(i)}});
  }
  FlowTable::Options options;
  options.from = kNow;
  const FlowTable table(world, {{}}, options);
  EXPECT_EQ(table.classes(), 3u);
  EXPECT_EQ(table.members(table.ClassOf("robot-7")).size(), 1001u);
  EXPECT_EQ(table.ClassOf("nowhere"), table.classes());
}

TEST(TimelineTest, AWeekThatTeachesNothingIsNotRepeated) {
  World world = Chain();
  world.time_zones["UTC"].transitions = {{absl::InfinitePast(), absl::ZeroDuration()}};
  world.time_zones["UTC"].horizon = kNow + absl::Hours(24 * 365 * 10);
  Daily daily;
  daily.from_minute = 480;
  daily.to_minute = 1080;
  daily.tz = "UTC";
  world.rules[0].when.daily = {daily};
  size_t visits = 0;
  absl::Time last;
  WalkTime(
      world, kNow,
      [&](absl::Time t) {
        ++visits;
        last = t;
        return false;
      },
      [] { return false; });
  EXPECT_LT(visits, 40u);
  EXPECT_EQ(last, world.time_zones["UTC"].horizon);
  EXPECT_THAT(PurposeSpace(world), ElementsAre(""));
  EXPECT_THAT(FindReach(world, FromBerlin())->cut, IsEmpty());
}

}  // namespace
}  // namespace bailiwick::policy
