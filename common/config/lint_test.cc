// Everything that can be wrong with a policy is found, at its place.
#include "common/config/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/config/fleet_fixture.h"
#include "common/config/policy_tests.h"
#include "common/config/time_zones.h"

namespace bailiwick::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

// What check says of a policy whose spec is `spec`, beside the fleet: a finding a line.
std::vector<std::string> Findings(const std::string& spec, bool* errors = nullptr) {
  const std::string text =
      absl::StrCat("apiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {name: acme}\nspec:\n", spec);
  Catalog catalog;
  std::vector<Located> located;
  for (const auto& [body, file] : {std::pair(std::string(kFleet), "fleet.yaml"), std::pair(text, "law.yaml")}) {
    auto parsed = ParseYaml(body, file);
    if (!parsed.ok()) {
      if (errors != nullptr) *errors = true;
      return absl::StrSplit(parsed.status().message(), '\n');
    }
    for (Located& one : *parsed) {
      catalog[{KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
      located.push_back(std::move(one));
    }
  }
  std::vector<std::string> out;
  for (const LintFinding& f : Lint(catalog, located, kNow, CompileTimeZones(ZonesOf(catalog), kNow))) {
    out.push_back(f.str());
    if (errors != nullptr) *errors |= f.error;
  }
  return out;
}

constexpr char kGood[] = "  rules:\n  - {id: all, effect: permit}\n";

struct Broken {
  const char* spec;
  const char* finding;
};

// The second line of each spec is line 6 of law.yaml.
const Broken kBroken[] = {
    {"  rules: 7\n", "law.yaml:5:10: spec.rules: expected a list, found \"7\""},
    {"  rules: [{id: a, effect: permit, form: {in: [eu]}}]\n",
     "law.yaml:5:35: unknown field \"form\" in spec.rules[0]; did you mean \"from\"?"},
    {"  rules:\n"
     "  - {id: a, effect: allow}\n",
     "law.yaml:6:21: spec.rules[0].effect: unknown value \"allow\"; expected one of: permit, forbid"},
    {"  rules:\n"
     "  - {id: a}\n",
     "law.yaml:6:5: spec.rules[0].effect: expected permit or forbid"},
    {"  rules:\n"
     "  - {effect: permit}\n",
     "law.yaml:6:5: spec.rules[0].id: the rule has no id"},
    {"  rules:\n"
     "  - {id: A_b, effect: permit}\n",
     "law.yaml:6:10: spec.rules[0].id: \"A_b\" is not a valid name; use up to 63 lower-case letters, "
     "digits and '-', beginning and ending with a letter or digit"},
    {"  rules:\n"
     "  - {id: a, effect: permit}\n"
     "  - {id: a, effect: forbid, to: {in: [us]}}\n",
     "law.yaml:7:10: spec.rules[1].id: the id a is used twice"},
    {"  rules:\n"
     "  - {id: a, effect: permit, actions: [copy]}\n",
     "law.yaml:6:39: spec.rules[0].actions[0]: unknown value \"copy\"; expected one of: transfer, reside, "
     "transit, relabel, move-site"},
    {"  rules:\n"
     "  - {id: a, effect: permit, to: {in: [eu/den]}}\n",
     "law.yaml:6:39: spec.rules[0].to.in[0]: region eu/den is not declared; did you mean eu/de?"},
    {"  rules:\n"
     "  - {id: a, effect: permit, to: {in: [EU]}}\n",
     "law.yaml:6:39: spec.rules[0].to.in[0]: \"EU\" is not a valid region; write names of lower-case "
     "letters, digits and '-' parted by single slashes, as in eu/de/fra"},
    {"  rules:\n"
     "  - {id: a, effect: permit, to: {notIn: [mars]}}\n",
     "law.yaml:6:42: spec.rules[0].to.notIn[0]: region mars is not declared; add a Region of this name"},
    {"  rules:\n"
     "  - {id: a, effect: permit, from: {in: [\"set:near\"]}}\n",
     "law.yaml:6:41: spec.rules[0].from.in[0]: this policy has no set near"},
    {"  rules:\n"
     "  - {id: a, effect: permit, data: {matchLabels: {class: \"a b\"}}}\n",
     "law.yaml:6:57: spec.rules[0].data.matchLabels.class: \"a b\" is not a valid label value; use up to "
     "63 letters and digits with . _ - / inside"},
    {"  rules:\n"
     "  - {id: a, effect: permit, data: {matchExpressions: [{key: class, operator: in, values: [x]}]}}\n",
     "law.yaml:6:78: spec.rules[0].data.matchExpressions[0].operator: unknown value \"in\"; did you mean "
     "\"In\"?"},
    {"  rules:\n"
     "  - {id: a, effect: permit, data: {matchExpressions: [{key: class, operator: In}]}}\n",
     "law.yaml:6:55: spec.rules[0].data.matchExpressions[0].values: In and NotIn need at least one value"},
    {"  rules:\n"
     "  - {id: a, effect: permit, data: {matchExpressions: [{key: class, operator: Exists, values: [x]}]}}\n",
     "law.yaml:6:86: spec.rules[0].data.matchExpressions[0].values: Exists and DoesNotExist take no values"},
    {"  rules:\n"
     "  - {id: a, effect: permit, basis: because}\n",
     "law.yaml:6:36: spec.rules[0].basis: unknown value \"because\"; expected one of: residency, "
     "adequacy, scc, bcr, derogation"},
    {"  rules:\n"
     "  - {id: a, effect: permit, obligations: [{encryptAtRset: {keyRegion: eu}}]}\n",
     "law.yaml:6:44: unknown field \"encryptAtRset\" in spec.rules[0].obligations[0]; did you mean "
     "\"encryptAtRest\"?"},
    {"  rules:\n"
     "  - {id: a, effect: permit, obligations: [{encryptAtRest: {keyRegion: mars}}]}\n",
     "law.yaml:6:71: spec.rules[0].obligations[0].encryptAtRest.keyRegion: region mars is not declared; "
     "add a Region of this name"},
    {"  rules:\n"
     "  - {id: a, effect: permit, obligations: [{maxRetention: soon}]}\n",
     "law.yaml:6:58: spec.rules[0].obligations[0].maxRetention: \"soon\" is not a duration; write 90s, "
     "15m, 1h30m or 30d"},
    {"  rules:\n"
     "  - {id: a, effect: permit, obligations: [{maxHops: 0}]}\n",
     "law.yaml:6:53: spec.rules[0].obligations[0].maxHops: expected at least 1; forbid what may not go at "
     "all"},
    {"  rules:\n"
     "  - {id: a, effect: forbid, obligations: [{maxHops: 1}]}\n",
     "law.yaml:6:29: spec.rules[0].obligations: obligations belong to rules that permit transfer, reside "
     "or transit"},
    {"  rules:\n"
     "  - {id: a, effect: permit, when: {notBefore: tomorrow}}\n",
     "law.yaml:6:47: spec.rules[0].when.notBefore: \"tomorrow\" is not a moment; write RFC 3339 with an "
     "offset, as in 2026-07-01T08:00:00+02:00"},
    {"  rules:\n"
     "  - {id: a, effect: permit, when: {notBefore: \"2026-08-01T00:00:00Z\", notAfter: \"2026-07-01T00:00:00Z\"}}\n",
     "law.yaml:6:81: spec.rules[0].when.notAfter: expected a moment later than notBefore"},
    {"  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{hours: \"8-18\", tz: UTC}]}}\n",
     "law.yaml:6:52: spec.rules[0].when.daily[0].hours: \"8-18\" are not hours; write \"08:00-18:00\", "
     "over midnight \"22:00-06:00\""},
    {"  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{days: montag, tz: UTC}]}}\n",
     "law.yaml:6:51: spec.rules[0].when.daily[0].days: \"montag\" are not days; write mon-fri, or sat,sun "
     "in quotes"},
    {"  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{hours: \"08:00-18:00\", tz: Europe/Berlim}]}}\n",
     "law.yaml:6:71: spec.rules[0].when.daily[0].tz: time zone Europe/Berlim is not known on this "
     "machine; write an IANA name such as Europe/Berlin (package tzdata)"},
    {"  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{hours: \"08:00-18:00\"}]}}\n",
     "law.yaml:6:44: spec.rules[0].when.daily[0].tz: a time zone is missing; write UTC or an IANA name, "
     "Europe/Berlin"},
    {"  rules:\n"
     "  - {id: a, effect: permit, purposes: [\"the reason\"]}\n",
     "law.yaml:6:40: spec.rules[0].purposes[0]: \"the reason\" is not a valid name; use up to 63 "
     "lower-case letters, digits and '-', beginning and ending with a letter or digit"},
    {"  tier: supreme\n", "law.yaml:5:9: spec.tier: unknown value \"supreme\"; expected one of: policy, guardrail"},
    {"  offline:\n"
     "  - {jurisdiction: mars, maxStaleness: 1h}\n",
     "law.yaml:6:20: spec.offline[0].jurisdiction: region mars is not declared; add a Region of this name"},
    {"  offline:\n"
     "  - {jurisdiction: eu, maxStaleness: 1s}\n",
     "law.yaml:6:38: spec.offline[0].maxStaleness: expected at least 1m"},
    {"  sets:\n"
     "    near: {regions: []}\n",
     "law.yaml:6:12: spec.sets.near.regions: expected at least one region"},
    {"  sets:\n"
     "    near: {regions: [eu/den]}\n",
     "law.yaml:6:22: spec.sets.near.regions[0]: region eu/den is not declared; did you mean eu/de?"},
    {"  sets:\n"
     "    near: {regions: [us], expires: 2026-02-30}\n",
     "law.yaml:6:36: spec.sets.near.expires: \"2026-02-30\" is not a date; write YYYY-MM-DD"},
    {"  sets:\n"
     "    near: {regions: [us], reviewed: last-year}\n",
     "law.yaml:6:37: spec.sets.near.reviewed: \"last-year\" is not a date; write YYYY-MM-DD"},
    {"  tests:\n"
     "  - {data: {class: x}, from: eu, to: us, expect: deny}\n",
     "law.yaml:6:5: spec.tests[0].name: the test has no name"},
    {"  tests:\n"
     "  - {name: t, data: {class: x}, from: eu, to: mars, expect: deny}\n",
     "law.yaml:6:47: spec.tests[0].to: mars is neither a region nor a site"},
    {"  tests:\n"
     "  - {name: t, data: {class: x}, from: eu, to: us, expect: maybe}\n",
     "law.yaml:6:59: spec.tests[0].expect: expected permit or deny"},
    {"  tests:\n"
     "  - {name: t, data: {class: x}, from: eu, to: us, expect: permit}\n",
     "law.yaml:6:5: spec.tests[0]: test \"t\" fails: expected permit, but no sovereignty policy is "
     "declared, which denies transfer from any site (eu) to any site (us)"},
    {"  tests:\n"
     "  - {name: t, data: {class: x}, from: eu, to: us, at: noon, expect: deny}\n",
     "law.yaml:6:55: spec.tests[0].at: \"noon\" is not a time; write 2026-07-01T08:00:00+02:00"},
    {"  tests:\n"
     "  - {name: t, data: {class: x}, from: eu, to: us, action: move-site, expect: deny}\n",
     "law.yaml:6:59: spec.tests[0].action: a case asks about one flow; expected transfer, reside, transit "
     "or relabel"},
    {"  tests:\n"
     "  - {name: t, never: {data: {class: x}, reach: mars}}\n",
     "law.yaml:6:48: spec.tests[0].never.reach: region mars is not declared; add a Region of this name"},
    {"  tests:\n"
     "  - {name: t, never: {data: {class: x}, from: mars, reach: us}}\n",
     "law.yaml:6:47: spec.tests[0].never.from: mars is neither a region nor a site"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  tests:\n"
     "  - {name: t, never: {data: {class: x}, reach: us}}\n",
     "law.yaml:8:5: spec.tests[0]: test \"t\" fails: the data must never reach us, but it can go factory "
     "to cloud (transfer by acme/all, reside by acme/all)"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: forbid, data: {matchLabels: {class: x}, matchExpressions: [{key: class, operator: NotIn, "
     "values: [x]}]}}\n",
     "law.yaml:7:29: warning: SovereigntyPolicy/acme spec.rules[1].data: rule a: no data can meet every "
     "condition on label class"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: forbid, to: {in: [eu/de], notIn: [eu]}}\n",
     "law.yaml:7:29: warning: SovereigntyPolicy/acme spec.rules[1].to: rule a: no declared region is in "
     "eu/de and not in eu"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: forbid, from: {siteSelector: {matchLabels: {tier: moon}}}}\n",
     "law.yaml:7:29: warning: SovereigntyPolicy/acme spec.rules[1].from: rule a: no declared site matches"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: forbid, from: {entities: [nobody]}}\n",
     "law.yaml:7:29: warning: SovereigntyPolicy/acme spec.rules[1].from: rule a: no declared site matches"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: forbid, data: {matchLabels: {colour: red}}}\n",
     "law.yaml:7:29: warning: SovereigntyPolicy/acme spec.rules[1].data: rule a: no dataset has a label "
     "colour"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: forbid, data: {matchLabels: {class: wealth}}}\n",
     "law.yaml:7:29: warning: SovereigntyPolicy/acme spec.rules[1].data: rule a: no dataset has the label "
     "class with the value wealth"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: forbid, when: {notAfter: \"2026-06-01T00:00:00Z\"}, to: {in: [us]}}\n",
     "law.yaml:7:29: warning: SovereigntyPolicy/acme spec.rules[1].when: rule a: its time ended on "
     "2026-06-01"},
    {"  rules:\n"
     "  - {id: closed, effect: forbid, to: {in: [us]}}\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: a, effect: permit, to: {in: [us]}}\n",
     "law.yaml:8:21: warning: SovereigntyPolicy/acme spec.rules[2].effect: rule a: it never decides: "
     "wherever it applies, acme/closed forbids"},
    {"  rules:\n"
     "  - {id: all, effect: permit}\n"
     "  - {id: closed, effect: forbid, from: {in: [eu]}, to: {in: [us]}}\n"
     "  - {id: a, effect: forbid, from: {in: [eu/de]}, to: {in: [us]}}\n",
     "law.yaml:8:21: warning: SovereigntyPolicy/acme spec.rules[2].effect: rule a: it never decides: "
     "wherever it applies, acme/closed forbids as well"},
    {"  sets:\n"
     "    near: {regions: [us], reviewed: 2026-06-01, expires: 2026-06-30}\n"
     "  rules:\n"
     "  - {id: all, effect: permit, to: {in: [eu, \"set:near\"]}}\n",
     "law.yaml:6:58: error: SovereigntyPolicy/acme spec.sets.near.expires: it expired on 2026-06-30: "
     "every rule that names it denies"},
    {"  sets:\n"
     "    near: {regions: [us], reviewed: 2026-06-01, expires: 2026-07-30}\n"
     "  rules:\n"
     "  - {id: all, effect: permit, to: {in: [eu, \"set:near\"]}}\n",
     "law.yaml:6:58: warning: SovereigntyPolicy/acme spec.sets.near.expires: it expires on 2026-07-30: "
     "from then on every rule that names it denies"},
    {"  sets:\n"
     "    near: {regions: [us]}\n"
     "  rules:\n"
     "  - {id: all, effect: permit, to: {in: [eu, \"set:near\"]}}\n",
     "law.yaml:6:5: warning: SovereigntyPolicy/acme spec.sets.near: nobody has reviewed this set; write "
     "`reviewed: YYYY-MM-DD` when somebody has"},
    {"  sets:\n"
     "    near: {regions: [us], reviewed: 2025-06-01}\n"
     "  rules:\n"
     "  - {id: all, effect: permit, to: {in: [eu, \"set:near\"]}}\n",
     "law.yaml:6:37: warning: SovereigntyPolicy/acme spec.sets.near.reviewed: this set was last reviewed "
     "on 2025-06-01, more than a year ago"},
    {"  sets:\n"
     "    near: {regions: [us], reviewed: 2026-06-01}\n"
     "  rules:\n"
     "  - {id: all, effect: permit}\n",
     "law.yaml:6:5: warning: SovereigntyPolicy/acme spec.sets.near: no rule names this set"},
    {"  rules:\n"
     "  - {id: all, effect: permit, from: {in: [eu]}, to: {in: [eu]}}\n",
     "fleet.yaml:24:18: warning: Site/cloud no rule speaks of this site: nothing may come there and "
     "nothing may leave"},
    {"  rules:\n"
     "  - {id: all, effect: permit, data: {matchLabels: {class: open}}}\n",
     "fleet.yaml:29:25: warning: Dataset/scans metadata.labels: no rule speaks of data with these labels: "
     "it stays where it is committed"},
};

TEST(LintTest, AGoodPolicyHasNoFindings) { EXPECT_THAT(Findings(kGood), IsEmpty()); }

TEST(LintTest, EveryBrokenPolicyIsToldAtItsPlace) {
  EXPECT_GE(std::size(kBroken), 40u);
  for (const Broken& broken : kBroken) {
    const std::vector<std::string> found = Findings(broken.spec);
    EXPECT_THAT(found, ::testing::Contains(HasSubstr(broken.finding))) << broken.spec;
  }
}

TEST(LintTest, OnlyWhatDeniesOrIsRefusedIsAnError) {
  bool errors = false;
  Findings(
      "  sets:\n    near: {regions: [us], reviewed: 2026-06-01, expires: 2026-07-15}\n  rules:\n"
      "  - {id: a, effect: permit, to: {in: [eu, us, \"set:near\"]}}\n",
      &errors);
  EXPECT_FALSE(errors);
  Findings(
      "  sets:\n    near: {regions: [us], reviewed: 2026-06-01, expires: 2026-06-15}\n  rules:\n"
      "  - {id: a, effect: permit, to: {in: [eu, us, \"set:near\"]}}\n",
      &errors);
  EXPECT_TRUE(errors);
}

TEST(PolicyTestsTest, CasesKnowPurposeTimeActionAndRule) {
  const std::string rules =
      "  rules:\n  - {id: lies, effect: permit, actions: [reside]}\n"
      "  - {id: day, effect: permit, actions: [transfer], purposes: [care], when: {daily: [{hours: \"08:00-18:00\", "
      "tz: "
      "Europe/Berlin}]}}\n"
      "  - {id: home, effect: permit, actions: [relabel], from: {in: [eu]}}\n  tests:\n  - ";
  const std::string flow = "{name: t, data: {class: health}, from: factory, to: cloud, ";
  EXPECT_THAT(Findings(rules + flow + "purpose: care, at: \"2026-07-01T12:00:00+02:00\", rule: day, expect: permit}\n"),
              IsEmpty());
  EXPECT_THAT(Findings(rules + flow + "purpose: care, at: \"2026-07-01T20:00:00+02:00\", expect: permit}\n"),
              ElementsAre(HasSubstr("expected permit, but no rule permits transfer")));
  EXPECT_THAT(Findings(rules + flow + "at: \"2026-07-01T12:00:00+02:00\", expect: deny}\n"), IsEmpty());
  EXPECT_THAT(
      Findings(rules + flow + "purpose: care, at: \"2026-07-01T12:00:00+02:00\", rule: home, expect: permit}\n"),
      ElementsAre(HasSubstr("expected that acme/home decides, but policy acme/lies permits reside")));
  EXPECT_THAT(
      Findings(rules + "{name: t, data: {class: x}, from: factory, to: factory, action: relabel, expect: permit}\n"),
      IsEmpty());
}

TEST(PolicyTestsTest, AnInvariantThatFailsTellsTheWay) {
  const std::string rules =
      "  rules:\n  - {id: out, effect: permit, data: {matchLabels: {class: open}}}\n"
      "  - {id: open-up, effect: permit, actions: [relabel]}\n  tests:\n";
  EXPECT_THAT(Findings(rules + "  - {name: n, never: {data: {class: health}, from: factory, reach: us}}\n"),
              ElementsAre(HasSubstr("the data must never reach us, but it can go relabelled to class=open (relabel by "
                                    "acme/open-up), then factory to ")));
  EXPECT_THAT(
      Findings("  rules:\n  - {id: out, effect: permit, when: {notBefore: \"2027-01-01T00:00:00Z\"}}\n  tests:\n"
               "  - {name: n, never: {data: {class: health}, reach: us}}\n"),
      ElementsAre(HasSubstr("law.yaml:8:5: spec.tests[0]: test \"n\" fails")));
}

}  // namespace
}  // namespace bailiwick::config
