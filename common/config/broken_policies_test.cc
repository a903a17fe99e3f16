// Broken policies, each with the message that its author sees: file, line, column, what is wrong and what was expected.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/config/fleet_fixture.h"
#include "common/config/time_zones.h"
#include "common/config/world.h"

namespace bailiwick::config {
namespace {

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

constexpr char kHead[] = "apiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {name: p}\n";

struct Broken {
  const char* spec;  // from the fourth line of the file on
  const char* error;
};

// clang-format off
const Broken kBroken[] = {
    {"spec: []\n",
     "p.yaml:4:7: spec: expected a map (write {} for an empty one), found a list"},
    {"spec:\n"
     "  rule: []\n",
     "p.yaml:5:3: unknown field \"rule\" in spec; did you mean \"rules\"?"},
    {"spec:\n"
     "  rules: {id: a, effect: permit}\n",
     "p.yaml:5:10: spec.rules: expected a list, found a map"},
    {"spec:\n"
     "  rules:\n"
     "  - permit everything\n",
     "p.yaml:6:5: spec.rules[0]: expected a map (write {} for an empty one), found \"permit everything\""},
    {"spec:\n"
     "  rules:\n"
     "  - {effect: permit}\n",
     "p.yaml:6:5: spec.rules[0].id: the rule has no id"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: A!, effect: permit}\n",
     "p.yaml:6:10: spec.rules[0].id: \"A!\" is not a valid name; use up to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit}\n"
     "  - {id: a, effect: forbid}\n",
     "p.yaml:7:10: spec.rules[1].id: the id a is used twice"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a}\n",
     "p.yaml:6:5: spec.rules[0].effect: expected permit or forbid"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: allow}\n",
     "p.yaml:6:21: spec.rules[0].effect: unknown value \"allow\"; expected one of: permit, forbid"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, effect: forbid}\n",
     "p.yaml:6:29: \"effect\" is given twice in spec.rules[0]"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, action: [transfer]}\n",
     "p.yaml:6:29: unknown field \"action\" in spec.rules[0]; did you mean \"actions\"?"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, actions: transfer}\n",
     "p.yaml:6:38: spec.rules[0].actions: expected a list, found \"transfer\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, actions: [transfer, teleport]}\n",
     "p.yaml:6:49: spec.rules[0].actions[1]: unknown value \"teleport\"; expected one of: transfer, reside, transit, relabel, move-site"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, actions: [movesite]}\n",
     "p.yaml:6:39: spec.rules[0].actions[0]: unknown value \"movesite\"; did you mean \"move-site\"?"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {class: health}}\n",
     "p.yaml:6:36: unknown field \"class\" in spec.rules[0].data; expected one of: matchLabels, matchExpressions"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {matchLabels: {pii: yes}}}\n",
     "p.yaml:6:55: spec.rules[0].data.matchLabels.pii: yes could be read as something else than text; quote it: \"yes\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {matchLabels: {\"p ii\": \"yes\"}}}\n",
     "p.yaml:6:58: spec.rules[0].data.matchLabels.p ii: \"p ii\" is not a valid label key; use letters and digits with . _ - / inside"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {matchLabels: {pii: \"ye s\"}}}\n",
     "p.yaml:6:55: spec.rules[0].data.matchLabels.pii: \"ye s\" is not a valid label value; use up to 63 letters and digits with . _ - / inside"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {matchExpressions: [{key: pii, operator: Equals, values: [a]}]}}\n",
     "p.yaml:6:76: spec.rules[0].data.matchExpressions[0].operator: unknown value \"Equals\"; expected one of: In, NotIn, Exists, DoesNotExist"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {matchExpressions: [{key: pii, operator: In}]}}\n",
     "p.yaml:6:55: spec.rules[0].data.matchExpressions[0].values: In and NotIn need at least one value"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {matchExpressions: [{key: pii, operator: Exists, values: [a]}]}}\n",
     "p.yaml:6:84: spec.rules[0].data.matchExpressions[0].values: Exists and DoesNotExist take no values"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, data: {matchExpressions: [{operator: Exists}]}}\n",
     "p.yaml:6:55: spec.rules[0].data.matchExpressions[0].key: \"\" is not a valid label key; use letters and digits with . _ - / inside"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, from: {in: eu}}\n",
     "p.yaml:6:40: spec.rules[0].from.in: expected a list, found \"eu\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, from: {in: [eu, mars]}}\n",
     "p.yaml:6:45: spec.rules[0].from.in[1]: region mars is not declared; add a Region of this name"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, from: {in: [eu/dee]}}\n",
     "p.yaml:6:41: spec.rules[0].from.in[0]: region eu/dee is not declared; did you mean eu/de?"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, from: {in: [EU]}}\n",
     "p.yaml:6:41: spec.rules[0].from.in[0]: \"EU\" is not a valid region; write names of lower-case letters, digits and '-' parted by single slashes, as in eu/de/fra"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, from: {within: [eu]}}\n",
     "p.yaml:6:36: unknown field \"within\" in spec.rules[0].from; expected one of: in, notIn, siteSelector, entities"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, to: {notIn: [\"set:\"]}}\n",
     "p.yaml:6:42: spec.rules[0].to.notIn[0]: a name is missing"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, to: {notIn: [\"set:adequate\"]}}\n",
     "p.yaml:6:42: spec.rules[0].to.notIn[0]: this policy has no set adequate"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, to: {entities: [\"Acme Inc.\"]}}\n",
     "p.yaml:6:45: spec.rules[0].to.entities[0]: \"Acme Inc.\" is not a valid name; use up to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, to: {siteSelector: {matchLabels: {tier: 1}}}}\n",
     "p.yaml:6:69: spec.rules[0].to.siteSelector.matchLabels.tier: 1 could be read as something else than text; quote it: \"1\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, basis: consent}\n",
     "p.yaml:6:36: spec.rules[0].basis: unknown value \"consent\"; expected one of: residency, adequacy, scc, bcr, derogation"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{encrypt: {keyRegion: eu}}]}\n",
     "p.yaml:6:44: unknown field \"encrypt\" in spec.rules[0].obligations[0]; did you mean \"encryptAtRest\"?"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{maxHops: 2, noTransit: true}]}\n",
     "p.yaml:6:67: spec.rules[0].obligations[0]: maxHops and noTransit exclude each other here; write one list item for each"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{}]}\n",
     "p.yaml:6:43: spec.rules[0].obligations[0]: expected one of: encryptAtRest, maxRetention, maxHops, noTransit"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{maxHops: 0}]}\n",
     "p.yaml:6:53: spec.rules[0].obligations[0].maxHops: expected at least 1; forbid what may not go at all"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{maxHops: two}]}\n",
     "p.yaml:6:53: spec.rules[0].obligations[0].maxHops: expected a whole number from 0 to 4294967295, found \"two\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{noTransit: false}]}\n",
     "p.yaml:6:55: spec.rules[0].obligations[0].noTransit: expected true; leave it out otherwise"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{maxRetention: 5s}]}\n",
     "p.yaml:6:58: spec.rules[0].obligations[0].maxRetention: expected at least 10s"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, actions: [transfer], obligations: [{maxRetention: 1h}]}\n",
     "p.yaml:6:79: spec.rules[0].obligations[0].maxRetention: expected the rule to permit reside, which it is a limit of"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{maxRetention: a while}]}\n",
     "p.yaml:6:58: spec.rules[0].obligations[0].maxRetention: \"a while\" is not a duration; write 90s, 15m, 1h30m or 30d"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{encryptAtRest: {}}]}\n",
     "p.yaml:6:44: spec.rules[0].obligations[0].encryptAtRest.keyRegion: a region is missing"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, obligations: [{encryptAtRest: {keyRegion: eu, algorithm: rot13}}]}\n",
     "p.yaml:6:75: unknown field \"algorithm\" in spec.rules[0].obligations[0].encryptAtRest; expected keyRegion"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, actions: [relabel], obligations: [{maxHops: 2}]}\n",
     "p.yaml:6:49: spec.rules[0].obligations: obligations belong to rules that permit transfer, reside or transit"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: forbid, obligations: [{maxHops: 2}]}\n",
     "p.yaml:6:29: spec.rules[0].obligations: obligations belong to rules that permit transfer, reside or transit"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, purposes: [Care!]}\n",
     "p.yaml:6:40: spec.rules[0].purposes[0]: \"Care!\" is not a valid name; use up to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, actions: [move-site], purposes: [care]}\n",
     "p.yaml:6:51: spec.rules[0].purposes: relabel and move-site have no purpose; give them a rule of their own"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: always}\n",
     "p.yaml:6:35: spec.rules[0].when: expected a map (write {} for an empty one), found \"always\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {notBefore: 2026-07-01}}\n",
     "p.yaml:6:47: spec.rules[0].when.notBefore: \"2026-07-01\" is not a moment; write RFC 3339 with an offset, as in 2026-07-01T08:00:00+02:00"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {notAfter: 2026-07-01T08:00:00}}\n",
     "p.yaml:6:46: spec.rules[0].when.notAfter: \"2026-07-01T08:00:00\" is not a moment; write RFC 3339 with an offset, as in 2026-07-01T08:00:00+02:00"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {notBefore: 2026-07-02T00:00:00Z, notAfter: 2026-07-01T00:00:00Z}}\n",
     "p.yaml:6:79: spec.rules[0].when.notAfter: expected a moment later than notBefore"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{days: workdays, tz: UTC}]}}\n",
     "p.yaml:6:51: spec.rules[0].when.daily[0].days: \"workdays\" are not days; write mon-fri, or sat,sun in quotes"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{hours: \"8-18\", tz: UTC}]}}\n",
     "p.yaml:6:52: spec.rules[0].when.daily[0].hours: \"8-18\" are not hours; write \"08:00-18:00\", over midnight \"22:00-06:00\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{hours: \"08:00-08:00\", tz: UTC}]}}\n",
     "p.yaml:6:52: spec.rules[0].when.daily[0].hours: \"08:00-08:00\" are not hours; write \"08:00-18:00\", over midnight \"22:00-06:00\""},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{hours: \"08:00-18:00\"}]}}\n",
     "p.yaml:6:44: spec.rules[0].when.daily[0].tz: a time zone is missing; write UTC or an IANA name, Europe/Berlin"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{hours: \"08:00-18:00\", tz: CET}]}}\n",
     "p.yaml:6:71: spec.rules[0].when.daily[0].tz: \"CET\" is not a time zone; write UTC or an IANA name, Europe/Berlin"},
    {"spec:\n"
     "  rules:\n"
     "  - {id: a, effect: permit, when: {daily: [{days: mon, tz: Europe/Belrin}]}}\n",
     "p.yaml:6:60: spec.rules[0].when.daily[0].tz: time zone Europe/Belrin is not known on this machine; write an IANA name such as Europe/Berlin (package tzdata)"},
    {"spec:\n"
     "  sets:\n"
     "    ok: {regions: []}\n",
     "p.yaml:6:10: spec.sets.ok.regions: expected at least one region"},
    {"spec:\n"
     "  sets:\n"
     "    ok: {regions: [eu, mars]}\n",
     "p.yaml:6:24: spec.sets.ok.regions[1]: region mars is not declared; add a Region of this name"},
    {"spec:\n"
     "  sets:\n"
     "    ok: {regions: [eu], expires: 2026-02-30}\n",
     "p.yaml:6:34: spec.sets.ok.expires: \"2026-02-30\" is not a date; write YYYY-MM-DD"},
    {"spec:\n"
     "  sets:\n"
     "    ok: {regions: [eu], reviewed: yesterday}\n",
     "p.yaml:6:35: spec.sets.ok.reviewed: \"yesterday\" is not a date; write YYYY-MM-DD"},
    {"spec:\n"
     "  sets:\n"
     "    Not Ok: {regions: [eu]}\n",
     "p.yaml:6:5: spec.sets.Not Ok: \"Not Ok\" is not a valid name; use up to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"},
    {"spec:\n"
     "  tier: constitution\n",
     "p.yaml:5:9: spec.tier: unknown value \"constitution\"; expected one of: policy, guardrail"},
    {"spec:\n"
     "  offline: [{jurisdiction: mars, maxStaleness: 1h}]\n",
     "p.yaml:5:28: spec.offline[0].jurisdiction: region mars is not declared; add a Region of this name"},
    {"spec:\n"
     "  offline: [{jurisdiction: eu}]\n",
     "p.yaml:5:13: spec.offline[0].maxStaleness: expected at least 1m"},
    {"spec:\n"
     "  offline: [{jurisdiction: eu, maxStaleness: 10s}]\n",
     "p.yaml:5:46: spec.offline[0].maxStaleness: expected at least 1m"},
    {"spec:\n"
     "  offline: [{jurisdiction: eu, maxStaleness: forever}]\n",
     "p.yaml:5:46: spec.offline[0].maxStaleness: \"forever\" is not a duration; write 90s, 15m, 1h30m or 30d"},
    {"spec:\n"
     "  tests:\n"
     "  - {data: {a: b}, from: eu, to: us, expect: deny}\n",
     "p.yaml:6:5: spec.tests[0].name: the test has no name"},
    {"spec:\n"
     "  tests:\n"
     "  - {name: t, from: eu, to: us, expect: maybe}\n",
     "p.yaml:6:41: spec.tests[0].expect: expected permit or deny"},
    {"spec:\n"
     "  tests:\n"
     "  - {name: t, from: eu, to: factroy, expect: deny}\n",
     "p.yaml:6:29: spec.tests[0].to: factroy is neither a region nor a site; did you mean factory?"},
    {"spec:\n"
     "  tests:\n"
     "  - {name: t, from: eu, to: us, expect: deny, never: {reach: us}}\n",
     "p.yaml:6:5: spec.tests[0]: expected either a case {data, from, to, expect} or an invariant {never: {data, reach}}"},
    {"spec:\n"
     "  tests:\n"
     "  - {name: t, never: {reach: mars}}\n",
     "p.yaml:6:30: spec.tests[0].never.reach: region mars is not declared; add a Region of this name"},
    {"spec:\n"
     "  tests:\n"
     "  - {name: t, from: eu, to: us, expect: permit}\n",
     "p.yaml:6:5: spec.tests[0]: test \"t\" fails: expected permit, but no sovereignty policy is declared, which denies transfer from any site (eu) to any site (us)"},
};
// clang-format on

// What `policy check` and `apply` say, stage by stage: syntax and fields, then references, then the policy's own tests.
std::string Check(const std::string& text) {
  auto parsed = ParseYaml(text, "p.yaml");
  if (!parsed.ok()) return std::string(parsed.status().message());
  auto fleet = ParseYaml(kFleet, "fleet.yaml");
  EXPECT_TRUE(fleet.ok()) << fleet.status();
  Catalog catalog;
  for (const auto* located : {&*fleet, &*parsed}) {
    for (const Located& one : *located) catalog[{KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
  }
  const TimeZones zones = CompileTimeZones(ZonesOf(catalog), kNow);
  return std::string(Validate(catalog, *parsed, kNow, zones).message());
}

class BrokenPolicyTest : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenPolicyTest, SaysWhereAndWhat) {
  const std::string text = absl::StrCat(kHead, GetParam().spec);
  EXPECT_EQ(Check(text), GetParam().error) << text;
}

INSTANTIATE_TEST_SUITE_P(Table, BrokenPolicyTest, ::testing::ValuesIn(kBroken));

TEST(PolicyTest, TheFleetAloneIsFine) { EXPECT_EQ(Check(absl::StrCat(kHead, "spec: {}\n")), ""); }

}  // namespace
}  // namespace bailiwick::config
