#include "common/config/steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace bailiwick::config {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

constexpr char kFleet[] = R"yaml(
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu}
spec: {}
---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: us}
spec: {}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: factory, labels: {tier: edge}}
spec: {region: eu, entity: acme-gmbh}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: cloud}
spec: {region: us, entity: acme-inc}
)yaml";

constexpr char kFlows[] = "{id: eu, effect: permit, actions: [transfer, reside], to: {in: [eu]}}";

Catalog Read(const std::string& text, std::vector<Located>* located = nullptr) {
  Catalog catalog;
  auto parsed = ParseYaml(text, "f.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  if (!parsed.ok()) return catalog;
  for (const Located& one : *parsed) catalog[{KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
  if (located != nullptr) *located = *std::move(parsed);
  return catalog;
}

policy::World Law(const std::string& rules) {
  auto world = BuildWorld(Read(absl::StrCat(
      kFleet, "---\napiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {name: acme}\nspec:\n  rules: [",
      kFlows, rules.empty() ? "" : ", ", rules, "]\n")));
  EXPECT_TRUE(world.ok()) << world.status();
  return *std::move(world);
}

Classification Known(const std::string& name, policy::Labels labels, const std::string& home = "factory") {
  Classification c;
  c.dataset = name;
  c.labels = std::move(labels);
  c.home_site = home;
  return c;
}

std::string Dataset(const std::string& name, const std::string& labels) {
  return absl::StrCat("apiVersion: bailiwick/v1\nkind: Dataset\nmetadata:\n  name: ", name, "\n  labels: {", labels,
                      "}\nspec: {home: {site: factory, path: /d}}\n");
}

std::string Site(const std::string& name, const std::string& spec) {
  return absl::StrCat("apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: ", name,
                      ", labels: {tier: edge}}\nspec: ", spec, "\n");
}

std::string Check(const policy::World& law, const std::vector<Classification>& known, const std::string& after) {
  std::vector<Located> located;
  const Catalog catalog = Read(after, &located);
  const absl::Status status = CheckSteps(law, known, catalog, located, kNow);
  EXPECT_TRUE(status.ok() || absl::IsPermissionDenied(status)) << status;
  return std::string(status.message());
}

TEST(StepsTest, FreeUntilARuleNamesThem) {
  EXPECT_EQ(Check(Law(""), {Known("d", {{"pii", "yes"}})}, Dataset("d", "pii: \"no\"")), "");
  EXPECT_EQ(Check(Law(""), {Known("d", {})}, Site("factory", "{region: us}")), "");
}

TEST(StepsTest, ARelabellingNeedsAPermitBeforeAndAfter) {
  const policy::World law =
      Law("{id: public, effect: permit, actions: [relabel], data: {matchExpressions: [{key: class, operator: NotIn, "
          "values: "
          "[health]}]}}");
  EXPECT_EQ(Check(law, {Known("d", {{"class", "logs"}})}, Dataset("d", "class: traces")), "");
  EXPECT_EQ(Check(law, {Known("d", {{"class", "health"}})}, Dataset("d", "class: health")), "");  // no step
  EXPECT_EQ(Check(law, {}, Dataset("d", "class: health")), "");                                   // a new dataset
  EXPECT_THAT(
      Check(law, {Known("d", {{"class", "health"}})}, Dataset("d", "class: logs")),
      HasSubstr("f.yaml:5:3: metadata.labels: the law in force does not let dataset d be relabelled (judged with "
                "the labels before): no rule permits relabel at factory (eu)"));
  EXPECT_THAT(Check(law, {Known("d", {{"class", "logs"}})}, Dataset("d", "class: health")),
              HasSubstr("(judged with the labels after): no rule permits relabel"));
  EXPECT_THAT(Check(law, {Known("d", {})}, Dataset("d", "class: logs")), HasSubstr("missing label class"));
  const policy::World forbid =
      Law("{id: never, effect: forbid, actions: [relabel], data: {matchLabels: {pii: \"yes\"}}}");
  EXPECT_THAT(Check(forbid, {Known("d", {{"pii", "no"}})}, Dataset("d", "pii: maybe")), HasSubstr("no rule permits"));
}

TEST(StepsTest, AFamilyIsJudgedAtEachOfItsHomes) {
  Classification family = Known("d", {{"class", "logs"}}, "");
  family.family = true;
  family.home_selector.conditions = {{"tier", policy::Operator::kIn, {"edge"}}};
  const policy::World law = Law("{id: us, effect: permit, actions: [relabel], from: {in: [us]}}");
  EXPECT_THAT(Check(law, {family}, Dataset("d", "class: traces")), HasSubstr("relabel at factory (eu)"));
  family.home_selector.conditions[0].values = {"space"};
  EXPECT_EQ(Check(law, {family}, Dataset("d", "class: traces")), "");
}

TEST(StepsTest, AMoveIsJudgedForEveryDatasetThatMayLieThere) {
  const policy::World law =
      Law("{id: public-may, effect: permit, actions: [move-site], data: {matchLabels: {class: public}}, from: {in: "
          "[eu]}, to: "
          "{entities: [acme-inc]}}");
  const std::string moved = Site("factory", "{region: us, entity: acme-inc}");
  EXPECT_EQ(Check(law, {Known("d", {{"class", "public"}})}, moved), "");
  EXPECT_EQ(
      Check(law, {Known("d", {{"class", "public"}}), Known("h", {{"class", "health"}})}, moved),
      "f.yaml:4:16: spec.region: the law in force does not let site factory move, where dataset h may lie: no rule "
      "permits move-site of factory (eu) to us; the nearest, acme/public-may, does not: data: label class is "
      "\"health\", not one of: public");
  // The law keeps everything out of the cloud: nothing moves with it.
  EXPECT_EQ(Check(law, {Known("h", {{"class", "health"}})}, Site("cloud", "{region: eu, entity: acme-inc}")), "");
  EXPECT_THAT(Check(law, {Known("d", {{"class", "public"}})}, Site("factory", "{region: eu, entity: other}")),
              HasSubstr("spec.entity: the law in force does not let site factory move"));
  EXPECT_EQ(Check(law, {Known("h", {{"class", "health"}})}, Site("new", "{region: us}")), "");
  // Into a region that comes with the same change.
  EXPECT_EQ(Check(law, {Known("d", {{"class", "public"}})},
                  absl::StrCat("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: us/new}\nspec: {}\n---\n",
                               Site("factory", "{region: us/new, entity: acme-inc}"))),
            "");
}

}  // namespace
}  // namespace bailiwick::config
