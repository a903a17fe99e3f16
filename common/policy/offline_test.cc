#include "common/policy/offline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/policy/grant.h"

namespace bailiwick::policy {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1790000000);

TEST(OfflineTest, ADelegationCoversFlowsInsideItsJurisdictionOnly) {
  World world;
  world.offline = {{"a", "eu/de", absl::Hours(1)}, {"b", "eu", absl::Minutes(10)}, {"c", "us", absl::Hours(9)}};
  struct Case {
    const char *from, *to;
    absl::Duration limit;  // zero: none
  };
  for (const Case& c : {Case{"eu/de", "eu/de/fra", absl::Hours(1)}, Case{"eu/de/fra", "eu/de/fra", absl::Hours(1)},
                        Case{"eu/de", "eu/fr", absl::Minutes(10)}, Case{"eu/fr", "eu/de", absl::Minutes(10)},
                        Case{"eu/den", "eu/de", absl::Minutes(10)}, Case{"us/east", "us", absl::Hours(9)},
                        Case{"eu/de", "us", absl::ZeroDuration()}, Case{"us", "eu/de", absl::ZeroDuration()},
                        Case{"eur", "eu", absl::ZeroDuration()}, Case{"cn", "cn", absl::ZeroDuration()}}) {
    const auto limit = SelfGrantLimit(world, c.from, c.to);
    EXPECT_EQ(limit.has_value(), c.limit != absl::ZeroDuration()) << c.from << " " << c.to;
    if (!limit.has_value()) continue;
    EXPECT_EQ(limit->max_staleness, c.limit) << c.from << " " << c.to;
  }
  EXPECT_FALSE(SelfGrantLimit(World(), "eu", "eu").has_value());
}

TEST(OfflineTest, WhereAGuardrailDelegatesOneOfEachTierMust) {
  World world;
  world.offline = {{"guard", "eu/de", absl::Hours(1), Tier::kGuardrail}};
  EXPECT_FALSE(SelfGrantLimit(world, "eu/de", "eu/de").has_value());
  world.offline.push_back({"acme", "eu", absl::Hours(5)});
  EXPECT_EQ(SelfGrantLimit(world, "eu/de", "eu/de")->max_staleness, absl::Hours(1));
  EXPECT_FALSE(SelfGrantLimit(world, "eu/fr", "eu/fr").has_value());  // outside of the guardrail's
  world.offline[1].max_staleness = absl::Minutes(5);
  EXPECT_EQ(SelfGrantLimit(world, "eu/de", "eu/de")->policy, "acme");
}

TEST(OfflineTest, AgeCountsFromTheLastSignedWord) {
  World world;
  world.revision = 3;
  world.offline = {{"acme", "eu", absl::Hours(1)}};
  EXPECT_EQ(CheckSelfGrant(world, "eu", "eu/de", kNow - absl::Minutes(59), kNow).code, "");
  EXPECT_EQ(CheckSelfGrant(world, "eu", "eu/de", kNow + absl::Seconds(10), kNow).code, "");
  const SelfGrantRefusal old = CheckSelfGrant(world, "eu", "eu/de", kNow - absl::Hours(1), kNow);
  EXPECT_EQ(old.code, "POLICY_STALE");
  EXPECT_THAT(old.message, ::testing::HasSubstr("policy acme lets sites below eu grant themselves flows for 1h"));
  EXPECT_EQ(CheckSelfGrant(world, "eu", "eu/de", absl::InfinitePast(), kNow).code, "POLICY_STALE");
  EXPECT_EQ(CheckSelfGrant(world, "eu", "us", kNow, kNow).code, "NOT_DELEGATED");
}

}  // namespace
}  // namespace bailiwick::policy
