#include "services/agent/evict/residence.h"

#include <gtest/gtest.h>

#include "common/policy/world_fixture.h"

namespace bailiwick::agent {
namespace {

using policy::Effect;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

// Data from the EU may lie in the EU, and until kNow + 1 h in the USA.
class ResidenceTest : public ::testing::Test {
 protected:
  ResidenceTest() {
    id_.bytes.fill(3);
    law_.world.revision = 7;
    law_.world.regions = {"eu", "us"};
    law_.world.sites["home"] = policy::MakeSite("home", "eu");
    law_.world.sites["core"] = policy::MakeSite("core", "eu");
    law_.world.sites["cloud"] = policy::MakeSite("cloud", "us");
    policy::Rule eu = policy::MakeRule("eu", Effect::kPermit), us = policy::MakeRule("us", Effect::kPermit);
    eu.to.in = {"eu"};
    us.to.in = {"us"};
    us.when.not_after = kNow + absl::Hours(1);
    law_.world.rules = {eu, us};
    law_.classifications[id_] = {.dataset_id = id_, .dataset = "set", .labels = {}, .home_site = "home"};
  }
  Residence Judge(const std::string& site, absl::Time now, absl::Time known) {
    return JudgeResidence(law_, id_, "set", site, now, known);
  }

  LawSnapshot law_;
  DatasetId id_;
};

TEST_F(ResidenceTest, WhatOnlyAGuessOfTheTimeForbidsIsNotCertain) {
  EXPECT_TRUE(Judge("cloud", kNow, kNow).verdict.lawful);
  const Residence jumped = Judge("cloud", kNow + absl::Hours(24 * 365), kNow);
  EXPECT_FALSE(jumped.verdict.lawful);
  EXPECT_TRUE(jumped.verdict.judged);
  EXPECT_FALSE(jumped.verdict.certain);
  const Residence over = Judge("cloud", kNow + absl::Hours(3), kNow + absl::Hours(2));
  EXPECT_FALSE(over.verdict.lawful);
  EXPECT_TRUE(over.verdict.certain);
}

TEST_F(ResidenceTest, TheRetentionHereAndAtTheHome) {
  EXPECT_EQ(Judge("core", kNow, kNow).verdict.max_retention, absl::InfiniteDuration());
  policy::Rule brief = law_.world.rules[0];
  brief.id = "brief";
  brief.to.sites.conditions = {policy::In("tier", {"edge"})};
  brief.obligations.max_retention = absl::Hours(5);
  law_.world.rules.push_back(brief);
  law_.world.sites["core"].labels = {{"tier", "edge"}};
  law_.world.sites["home"].labels = {{"tier", "core"}};
  Verdict verdict = Judge("core", kNow, kNow).verdict;
  EXPECT_TRUE(verdict.lawful);
  EXPECT_EQ(verdict.max_retention, absl::Hours(5)) << "the strictest of the rules that permit";
  EXPECT_EQ(verdict.retention_rule, "acme/brief");
  EXPECT_EQ(verdict.home_retention, absl::InfiniteDuration());

  law_.world.rules[0].obligations.max_retention = absl::Hours(9);  // of the home as well
  verdict = Judge("core", kNow, kNow).verdict;
  EXPECT_EQ(verdict.max_retention, absl::Hours(5));
  EXPECT_EQ(verdict.home_retention, absl::Hours(9));
  const Residence home = Judge("home", kNow, kNow);
  EXPECT_TRUE(home.home);
  EXPECT_EQ(home.verdict.max_retention, absl::Hours(9));
  EXPECT_EQ(home.verdict.retention_rule, "acme/eu");
}

}  // namespace
}  // namespace bailiwick::agent
