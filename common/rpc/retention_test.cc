// What a Dataset says of retention, with what it leaves out.
#include "common/rpc/retention.h"

#include <gtest/gtest.h>

#include "common/config/yaml.h"

namespace bailiwick::rpc {
namespace {

store::RetentionRule RuleOf(const std::string& retain) {
  auto parsed = config::ParseYaml(
      "apiVersion: bailiwick/v1\nkind: Dataset\nmetadata: {name: d}\nspec: {home: {site: a, path: /p}" + retain + "}\n",
      "d.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  // As it is kept and told: written and read again.
  auto again = config::ParseYaml(config::ToYaml((*parsed)[0].resource), "again.yaml");
  EXPECT_TRUE(again.ok()) << again.status();
  return RetentionOf((*again)[0].resource.dataset());
}

void Expect(const std::string& retain, uint32_t last, uint32_t hourly, uint32_t daily) {
  const store::RetentionRule rule = RuleOf(retain);
  EXPECT_EQ(rule.last, last) << retain;
  EXPECT_EQ(rule.hourly, hourly) << retain;
  EXPECT_EQ(rule.daily, daily) << retain;
}

TEST(RetentionOfTest, WhatIsLeftOutHasItsDefaultAndZeroIsZero) {
  Expect("", 10, 24, 30);
  Expect(", retain: {last: 100}", 100, 24, 30);
  Expect(", retain: {hourly: 0}", 10, 0, 30);
  Expect(", retain: {last: 3, hourly: 0, daily: 0}", 3, 0, 0);
  Expect(", retain: {last: 0, daily: 7}", 0, 24, 7);
}

}  // namespace
}  // namespace bailiwick::rpc
