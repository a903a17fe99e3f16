#include "common/policy/residence.h"

#include <gtest/gtest.h>

namespace bailiwick::policy {
namespace {

TEST(Residence, AnyPurposeThatPermitsIsEnough) {
  World world;
  world.regions = {"eu"};
  world.sites["home"] = {.name = "home", .region = "eu"};
  world.sites["core"] = {.name = "core", .region = "eu"};
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  EXPECT_EQ(EvaluateResidence(world, {}, "home", "core", now).reason, Reason::kNoPermit);
  Rule rule;
  rule.policy = "p";
  rule.id = "r";
  rule.actions = {Action::kReside};
  rule.purposes = {"training"};
  world.rules = {rule};
  const Decision decision = EvaluateResidence(world, {}, "home", "core", now);
  EXPECT_TRUE(decision.permitted) << decision.sentence;
  EXPECT_EQ(decision.rule, "p/r");
  rule.id = "never";
  rule.effect = Effect::kForbid;
  rule.purposes.clear();
  world.rules.push_back(rule);
  EXPECT_FALSE(EvaluateResidence(world, {}, "home", "core", now).permitted);
  EXPECT_EQ(EvaluateResidence(world, {}, "home", "nowhere", now).reason, Reason::kError);
}

}  // namespace
}  // namespace bailiwick::policy
