#include "common/policy/compiled.h"

#include <gtest/gtest.h>

#include "common/policy/world_fixture.h"

namespace bailiwick::policy {
namespace {

void ExpectSame(const Verdict& verdict, const Decision& decision) {
  ASSERT_EQ(verdict.reason, decision.reason) << decision.sentence;
  ASSERT_EQ(verdict.permitted, decision.permitted);
  ASSERT_EQ(verdict.rule == nullptr ? "" : verdict.rule->name(), decision.rule);
  ASSERT_EQ(verdict.obligations, decision.obligations);
}

TEST(CompiledPropertyTest, SaysWhatTheEvaluatorSaysForAsLongAsItIsValid) {
  std::map<Reason, int> reasons;
  int bounded = 0;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    World world = random.SomeWorld();
    if (random.Chance(5)) world.sites["s2"].region = "mars";
    const absl::Time compiled_at = random.SomeTime();
    const CompiledWorld compiled = CompiledWorld::Compile(world, compiled_at);
    ASSERT_GT(compiled.valid_until(), compiled_at);
    bounded += compiled.valid_until() != absl::InfiniteFuture();
    const absl::Time end = std::min(compiled.valid_until(), compiled_at + absl::Hours(72));
    for (int i = 0; i < 6; ++i) {
      const Request request = random.SomeRequest();
      const absl::Duration into =
          absl::Seconds(random.Number(static_cast<int>(absl::ToInt64Seconds(end - compiled_at))));
      const absl::Time now = i == 0 ? end - absl::Nanoseconds(1) : compiled_at + into;
      const DataView view = compiled.View(request.data, request.purpose);
      const size_t from = compiled.SiteIndex(request.from_site), to = compiled.SiteIndex(request.to_site);
      const Decision decision = Evaluate(world, request, now);
      ExpectSame(compiled.Decide(view, from, to, request.action), decision);
      ExpectSame(
          compiled.DecideReplication(view, from, to, compiled.SiteIndex("s1")),
          EvaluateReplication(world, {request.data, request.from_site, request.to_site, request.purpose, "s1"}, now));
      if (HasFatalFailure()) return;
      ++reasons[decision.reason];
    }
  }
  for (Reason reason : {Reason::kPermitted, Reason::kForbidden, Reason::kNoPermit, Reason::kError}) {
    EXPECT_GT(reasons[reason], 300) << ReasonName(reason);
  }
  EXPECT_GT(bounded, 500);
}

TEST(CompiledTest, MoreRulesThanAWordHasBits) {
  World world;
  world.regions = {"eu"};
  world.sites["a"] = MakeSite("a", "eu");
  for (int i = 0; i < 200; ++i) {
    Rule rule = MakeRule("r" + std::to_string(1000 + i), Effect::kPermit);
    rule.data.conditions = {In("n", {std::to_string(i)})};
    rule.obligations.max_hops = static_cast<uint32_t>(i + 1);
    world.rules.push_back(rule);
  }
  const CompiledWorld compiled(&world, kNow);
  for (int i : {0, 63, 64, 199}) {
    const Labels labels = {{"n", std::to_string(i)}};
    const Verdict verdict = compiled.Decide(compiled.View(labels), 0, 0, Action::kTransfer);
    ExpectSame(verdict, Evaluate(world, {labels, "a", "a"}, kNow));
    EXPECT_EQ(verdict.obligations.max_hops, static_cast<uint32_t>(i + 1));
  }
  EXPECT_EQ(compiled.Decide(compiled.View({}), 0, CompiledWorld::kNoSite, Action::kTransfer).reason, Reason::kError);
  EXPECT_EQ(compiled.SiteIndex("b"), CompiledWorld::kNoSite);
}

}  // namespace
}  // namespace bailiwick::policy
