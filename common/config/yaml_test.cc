#include "common/config/yaml.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/config/yaml_tree.h"

namespace bailiwick::config {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;

struct Broken {
  const char* text;  // "%" stands for a good apiVersion line
  const char* errors;
};

// One row for each thing a person can get wrong, with the place and the words that they see.
// clang-format off
const Broken kBroken[] = {
    {"kind: [unclosed\n", "f.yaml:2:1: not YAML: end of sequence flow not found"},
    {"a: b: c\n", "f.yaml:1:5: not YAML: illegal map value"},
    {"%kind: Region\n\tmetadata: {}\n", "f.yaml:3:1: not YAML: illegal tab when looking for indentation"},
    {"just words\n",
     "f.yaml:1:1: expected a resource: a map with apiVersion, kind, metadata and spec; found \"just words\""},
    {"- a list\n", "f.yaml:1:1: expected a resource: a map with apiVersion, kind, metadata and spec; found a list"},
    {"kind: Region\n",
     "f.yaml:1:1: apiVersion is missing\nf.yaml:1:1: metadata is missing\nf.yaml:1:1: spec is missing"},
    {"apiVersion: bailiwick/v2\nkind: Region\nmetadata: {name: eu}\nspec: {}\n",
     "f.yaml:1:13: apiVersion \"bailiwick/v2\" is not known; expected bailiwick/v1"},
    {"%kind: Regoin\nmetadata: {name: eu}\nspec: {}\n",
     "f.yaml:2:7: unknown kind \"Regoin\"; did you mean \"Region\"?"},
    {"%kind: Widget\nmetadata: {name: eu}\nspec: {}\n",
     "f.yaml:2:7: unknown kind \"Widget\"; expected one of: Region, Site, Dataset, ReplicationPolicy, "
     "SovereigntyPolicy, BandwidthPolicy, RoleBinding"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: {descripton: x}\n",
     "f.yaml:4:8: unknown field \"descripton\" in spec; did you mean \"description\"?"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: {}\nextra: 1\n",
     "f.yaml:5:1: unknown field \"extra\"; expected one of: apiVersion, kind, metadata, spec"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: {description: a, description: b}\n",
     "f.yaml:4:24: \"description\" is given twice in spec"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: \n",
     "f.yaml:4:1: spec: expected a map (write {} for an empty one), found nothing"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: []\n",
     "f.yaml:4:7: spec: expected a map (write {} for an empty one), found a list"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: {description: [a]}\n",
     "f.yaml:4:21: spec.description: expected text, found a list"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: {description: 2024}\n",
     "f.yaml:4:21: spec.description: 2024 could be read as something else than text; quote it: \"2024\""},
    {"%kind: Region\nmetadata: {name: no}\nspec: {}\n",
     "f.yaml:3:18: metadata.name: no could be read as something else than text; quote it: \"no\""},
    {"%kind: Region\nmetadata: {name: EU}\nspec: {}\n",
     "f.yaml:3:18: metadata.name: \"EU\" is not a valid region; write names of lower-case letters, digits and '-' "
     "parted by single slashes, as in eu/de/fra"},
    {"%kind: Region\nmetadata: {name: eu//de}\nspec: {}\n",
     "f.yaml:3:18: metadata.name: \"eu//de\" is not a valid region; write names of lower-case letters, digits and "
     "'-' parted by single slashes, as in eu/de/fra"},
    {"%kind: Region\nmetadata: {name: eu/site}\nspec: {}\n",
     "f.yaml:3:18: metadata.name: \"eu/site\" is not a valid region: \"site\" is reserved in the identities of agents"},
    {"%kind: Site\nmetadata: {name: robot@1}\nspec: {region: eu}\n",
     "f.yaml:3:18: metadata.name: \"robot@1\" is not a valid name: '@' is reserved for the streams of a family"},
    {"%kind: Site\nmetadata: {name: core, labels: {pii: yes}}\nspec: {region: eu}\n",
     "f.yaml:3:38: metadata.labels.pii: yes could be read as something else than text; quote it: \"yes\""},
    {"%kind: Site\nmetadata: {name: core, labels: {pii: 1.5}}\nspec: {region: eu}\n",
     "f.yaml:3:38: metadata.labels.pii: 1.5 could be read as something else than text; quote it: \"1.5\""},
    {"%kind: Site\nmetadata: {name: core, labels: {pii: null}}\nspec: {region: eu}\n",
     "f.yaml:3:38: metadata.labels.pii: expected text, found nothing; write \"\" for an empty one"},
    {"%kind: Site\nmetadata: {name: core, labels: {on: a}}\nspec: {region: eu}\n",
     "f.yaml:3:33: the name \"on\" could be read as something else than text; quote it"},
    {"%kind: Site\nmetadata: {name: core, labels: {a b: c}}\nspec: {region: eu}\n",
     "f.yaml:3:38: metadata.labels.a b: \"a b\" is not a valid label key; use letters and digits with . _ - / inside"},
    {"%kind: Site\nmetadata: {name: core, labels: {a: b!}}\nspec: {region: eu}\n",
     "f.yaml:3:36: metadata.labels.a: \"b!\" is not a valid label value; use up to 63 letters and digits with . _ - "
     "/ inside"},
    {"%kind: Site\nmetadata: {name: core}\nspec: {}\n", "f.yaml:4:1: spec.region: a region is missing"},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: eu, dial: outbound}\n",
     "f.yaml:4:26: spec.dial: unknown value \"outbound\"; did you mean \"outbound-only\"?"},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: eu, dial: unspecified}\n",
     "f.yaml:4:26: spec.dial: unknown value \"unspecified\"; expected one of: any, outbound-only"},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: eu, dial: [any]}\n",
     "f.yaml:4:26: spec.dial: expected one of: any, outbound-only, found a list"},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: eu, replicaPath: data}\n",
     "f.yaml:4:33: spec.replicaPath: expected an absolute path without \".\", \"..\", double or trailing slashes, "
     "found \"data\""},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: eu, replicaPath: /a/../b}\n",
     "f.yaml:4:33: spec.replicaPath: expected an absolute path without \".\", \"..\", double or trailing slashes, "
     "found \"/a/../b\""},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: &r eu}\n",
     "f.yaml:4:16: anchors are not supported; write the value out"},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: &r eu, entity: *r}\n",
     "f.yaml:4:16: anchors are not supported; write the value out\nf.yaml:4:31: aliases are not supported; write the "
     "value out"},
    {"%kind: Site\nmetadata: {name: core}\nspec: {region: !!str eu}\n",
     "f.yaml:4:16: the tag tag:yaml.org,2002:str is not supported; leave tags out"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {}\n",
     "f.yaml:4:1: spec.home: a dataset needs a home: {site, path} or, for a family, {siteSelector, path}"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {path: /d}}\n",
     "f.yaml:4:8: spec.home: expected exactly one of site and siteSelector"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, siteSelector: {}, path: /d}}\n",
     "f.yaml:4:8: spec.home: expected exactly one of site and siteSelector"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: d/}}\n",
     "f.yaml:4:33: spec.home.path: expected an absolute path without \".\", \"..\", double or trailing slashes, "
     "found \"d/\""},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, chunkSize: 48KiB}\n",
     "f.yaml:4:49: spec.chunkSize: expected a power of two from 16KiB to 4MiB"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, chunkSize: 8MiB}\n",
     "f.yaml:4:49: spec.chunkSize: expected a power of two from 16KiB to 4MiB"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, chunkSize: 32kB}\n",
     "f.yaml:4:49: spec.chunkSize: \"32kB\": unknown unit; use B, KiB, MiB, GiB or TiB"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, commit: {every: 5}}\n",
     "f.yaml:4:54: spec.commit.every: \"5\" is not a duration; write 90s, 15m, 1h30m or 30d"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, commit: {every: 500ms}}\n",
     "f.yaml:4:54: spec.commit.every: expected at least 1s"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, commit: {onRequest: yes}}\n",
     "f.yaml:4:58: spec.commit.onRequest: expected true or false, found \"yes\""},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, ingest: move}\n",
     "f.yaml:4:46: spec.ingest: unknown value \"move\"; expected one of: copy, consume"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, ingest: reflink}\n",
     "f.yaml:4:46: spec.ingest: reflink is not offered: file systems share whole blocks between files, and the store's "
     "chunks begin anywhere; use copy, or consume to need the space once"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, ingest: consume}\n",
     "f.yaml:4:46: spec.ingest: consume takes files out of the source: it needs `absent: keep`, or the next version "
     "would lack them"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, retain: {last: -1}}\n",
     "f.yaml:4:53: spec.retain.last: expected a whole number from 0 to 4294967295, found \"-1\""},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, retain: {last: 5000000000}}\n",
     "f.yaml:4:53: spec.retain.last: 5000000000 is out of range; expected a whole number from 0 to 4294967295"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, retain: {last: 50000, daily: 1}}\n",
     "f.yaml:4:38: spec.retain: keeps more than 50000 versions, more than a site can tell of"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, retain: {last: \"5\"}}\n",
     "f.yaml:4:53: spec.retain.last: expected a whole number from 0 to 4294967295, found \"5\""},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, ignore: [\"\"]}\n",
     "f.yaml:4:47: spec.ignore[0]: expected a pattern in gitignore's syntax on one line"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, include: [ok, \"[\"]}\n",
     "f.yaml:4:52: spec.include[1]: pattern \"[\" has a bracket that is not closed; write \\[ for the character itself"},
    {"%kind: Dataset\nmetadata: {name: data}\nspec: {home: {site: core, path: /d}, ignore: x}\n",
     "f.yaml:4:46: spec.ignore: expected a list, found \"x\""},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {}\n",
     "f.yaml:4:1: spec.to: expected at least one target: {site}, {region} or {siteSelector}"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {to: [{site: a, region: eu}]}\n",
     "f.yaml:4:13: spec.to[0]: expected exactly one of site, region and siteSelector"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {to: [{copies: 2}]}\n",
     "f.yaml:4:13: spec.to[0]: expected exactly one of site, region and siteSelector"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {to: [{site: a}], order: newest_first}\n",
     "f.yaml:4:32: spec.order: unknown value \"newest_first\"; did you mean \"newest-first\"?"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {to: [{site: a}], order: in-order, history: newest}\n",
     "f.yaml:4:51: spec.history: in-order wants every version; leave out history: newest, or order it newest-first"},
    {"%kind: BandwidthPolicy\nmetadata: {name: b}\nspec: {caps: [{site: a, from: eu, to: us, limit: 1MiB}]}\n",
     "f.yaml:4:15: spec.caps[0]: expected exactly one of site and from"},
    {"%kind: BandwidthPolicy\nmetadata: {name: b}\nspec: {caps: [{from: eu, limit: 1MiB}]}\n",
     "f.yaml:4:15: spec.caps[0]: expected the region that the bytes go to beside `from`: to"},
    {"%kind: BandwidthPolicy\nmetadata: {name: b}\nspec: {caps: [{site: a}]}\n",
     "f.yaml:4:15: spec.caps[0].limit: expected at least 64KiB (a second)"},
    {"%kind: BandwidthPolicy\nmetadata: {name: b}\nspec: {caps: [{site: a, limit: 1MiB, daily: [{tz: CEST}]}]}\n",
     "f.yaml:4:51: spec.caps[0].daily[0].tz: \"CEST\" is not a time zone; write UTC or an IANA name, Europe/Berlin"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {to: [{site: a}], rpo: 99999d}\n",
     "f.yaml:4:30: spec.rpo: \"99999d\" is longer than 36500d"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {select: {matchExpressions: [{key: a, operator: in, "
     "values: [b]}]}, to: [{site: a}]}\n",
     "f.yaml:4:55: spec.select.matchExpressions[0].operator: unknown value \"in\"; did you mean \"In\"?"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {select: {matchExpressions: [{key: a, operator: In}]}, "
     "to: [{site: a}]}\n",
     "f.yaml:4:36: spec.select.matchExpressions[0].values: In and NotIn need at least one value"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {select: {matchExpressions: [{key: a, operator: Exists, "
     "values: [b]}]}, to: [{site: a}]}\n",
     "f.yaml:4:63: spec.select.matchExpressions[0].values: Exists and DoesNotExist take no values"},
    {"%kind: ReplicationPolicy\nmetadata: {name: r}\nspec: {select: {matchExpressions: [{key: a}]}, to: [{site: a}]}\n",
     "f.yaml:4:36: spec.select.matchExpressions[0].operator: expected one of: In, NotIn, Exists, DoesNotExist"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{effect: permit}]}\n",
     "f.yaml:4:16: spec.rules[0].id: the rule has no id"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{id: a}]}\n",
     "f.yaml:4:16: spec.rules[0].effect: expected permit or forbid"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{id: a, effect: permit}, {id: a, effect: "
     "permit}]}\n",
     "f.yaml:4:46: spec.rules[1].id: the id a is used twice"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{id: a, effect: allow}]}\n",
     "f.yaml:4:32: spec.rules[0].effect: unknown value \"allow\"; expected one of: permit, forbid"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{id: a, effect: permit, actions: [transfr]}]}\n",
     "f.yaml:4:50: spec.rules[0].actions[0]: unknown value \"transfr\"; did you mean \"transfer\"?"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{id: a, effect: permit, to: {in: [no]}}]}\n",
     "f.yaml:4:50: spec.rules[0].to.in[0]: no could be read as something else than text; quote it: \"no\""},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{id: a, effect: permit, to: {in: "
     "[\"set:\"]}}]}\n",
     "f.yaml:4:50: spec.rules[0].to.in[0]: a name is missing"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {rules: [{id: a, effect: permit, obligations: "
     "[{maxHop: 2}]}]}\n",
     "f.yaml:4:55: unknown field \"maxHop\" in spec.rules[0].obligations[0]; did you mean \"maxHops\"?"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {sets: {s: {regions: [eu], expires: 2026-02-30}}}\n",
     "f.yaml:4:43: spec.sets.s.expires: \"2026-02-30\" is not a date; write YYYY-MM-DD"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {sets: {s: {regions: []}}}\n",
     "f.yaml:4:19: spec.sets.s.regions: expected at least one region"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {tests: [{name: t}]}\n",
     "f.yaml:4:16: spec.tests[0]: expected either a case {data, from, to, expect} or an invariant {never: {data, "
     "reach}}"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {tests: [{name: t, from: eu, to: us, expect: allow}]}\n",
     "f.yaml:4:52: spec.tests[0].expect: expected permit or deny"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {tests: [{name: t, expect: deny, from: eu}]}\n",
     "f.yaml:4:16: spec.tests[0].to: expected a region or a site"},
    {"%kind: SovereigntyPolicy\nmetadata: {name: acme}\nspec: {tests: [{name: t, never: {}}]}\n",
     "f.yaml:4:26: spec.tests[0].never.reach: a region is missing"},
    {"%kind: Region\nmetadata: {name: eu}\nspec: {}\n---\n%kind: Region\nmetadata: {name: eu}\nspec: {}\n",
     "f.yaml:8:18: Region eu is declared twice; the first is at f.yaml:3:18"},
    {"%kind: Region\nmetadata:\n  name: eu\n  label: {}\nspec:\n  description: &a x\n  foo: 1\n",
     "f.yaml:5:3: unknown field \"label\" in metadata; did you mean \"labels\"?\nf.yaml:7:16: anchors are not "
     "supported; write the value out\nf.yaml:8:3: unknown field \"foo\" in spec; expected description"},
    {"\xff", "f.yaml:1:1: not UTF-8; save the file as UTF-8"},
};
// clang-format on

class BrokenYamlTest : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenYamlTest, SaysWhereAndWhat) {
  const std::string text = absl::StrReplaceAll(GetParam().text, {{"%", "apiVersion: bailiwick/v1\n"}});
  auto parsed = ParseYaml(text, "f.yaml");
  ASSERT_FALSE(parsed.ok()) << text;
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(parsed.status().message()), GetParam().errors) << text;
}

INSTANTIATE_TEST_SUITE_P(Table, BrokenYamlTest, ::testing::ValuesIn(kBroken));

constexpr char kEveryKind[] = R"yaml(
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu/de/fra}
spec: {description: "a: \"b\" \\ \n\t # é \u0001"}
---
# an empty document is skipped
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: core, labels: {tier: onprem, empty: "", number: "1.5", "yes": "no", example.com/a_b: C-d}}
spec:
  {region: eu/de, entity: acme-gmbh, replicaPath: /srv/bailiwick, dial: outbound-only, replicaVolume: encrypted,
   storageKeys: [{id: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, region: eu}]}
---
apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: data.v2, labels: {pii: "yes"}}
spec:
  home:
    siteSelector:
      matchLabels: {tier: robot}
      matchExpressions:
      - {key: a, operator: In, values: [b, "no"]}
      - {key: a, operator: NotIn, values: [c]}
      - {key: d, operator: Exists}
      - {key: e, operator: DoesNotExist}
    path: /var/lib/robot log
  chunkSize: 1MiB
  commit: {onRequest: true, every: 1h30m, quiet: 5s, settle: 250ms}
  ingest: copy
  absent: keep
  include: ["**/*.mcap"]
  ignore: ["*.tmp", "!keep"]
  retain: {last: 10, daily: 30}
  owner: true
  writable: true
---
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: models}
spec:
  select: {}
  to: [{region: eu, copies: 2}, {siteSelector: {}}, {site: core}]
  priority: high
  order: in-order
  rpo: 30d
  materialize: false
  purpose: research
---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  sets: {adequate: {regions: [ch, jp], reviewed: 2026-06-01, expires: 2027-06-01}}
  rules:
  - id: stays
    effect: permit
    actions: [transfer, reside, transit, relabel, move-site]
    data: {matchLabels: {class: telemetry}}
    from: {in: [eu]}
    to: {in: [eu, "set:adequate"], notIn: [us], siteSelector: {matchLabels: {tier: core}}, entities: [acme]}
    basis: residency
  - id: obliged
    effect: permit
    purposes: [care, research]
    obligations: [{encryptAtRest: {keyRegion: eu}}, {maxRetention: 30d}, {maxHops: 2}, {noTransit: true}]
    when:
      notBefore: 2026-07-01T00:00:00+02:00
      notAfter: 2027-07-01T00:00:00Z
      daily: [{days: "mon-wed,fri", hours: "22:00-06:00", tz: Europe/Berlin}, {tz: UTC}]
  - {id: abroad, effect: forbid, to: {notIn: [eu, set:adequate]}}
  tier: guardrail
  offline: [{jurisdiction: eu, maxStaleness: 12h}]
  tests:
  - {name: telemetry may go to core, data: {class: telemetry, pii: "no"}, from: eu, to: core, expect: permit}
  - {name: "never: us", never: {data: {pii: "yes"}, reach: us}}
---
apiVersion: bailiwick/v1
kind: BandwidthPolicy
metadata: {name: lines}
spec:
  caps:
  - {site: core, limit: 4MiB}
  - {from: eu, to: us, limit: 64KiB, daily: [{days: mon-fri, hours: "08:00-18:00", tz: Europe/Berlin}]}
---
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: admins}
spec: {roles: [policy-admin, auditor], people: [alice, bob]}
)yaml";

TEST(YamlTest, WhatBeginsNoValueEndsTheReading) {
  for (const char* text : {",", ", ", "a: 1\n---\n,", "- ,", "}", "]"}) {
    std::vector<Problem> problems;
    EXPECT_LE(ReadYaml(text, &problems).size(), 3u) << text;
    EXPECT_EQ(problems.size(), 1u) << text;
  }
}

TEST(YamlTest, EveryKindSurvivesTheRoundTrip) {
  auto parsed = ParseYaml(kEveryKind, "all.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), Kinds().size());
  for (const Located& one : *parsed) {
    const std::string text = ToYaml(one.resource);
    auto again = ParseYaml(text, "again.yaml");
    ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
    ASSERT_EQ(again->size(), 1u);
    std::string difference;
    MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&difference);
    EXPECT_TRUE(differencer.Compare(one.resource, (*again)[0].resource)) << difference << text;
    EXPECT_EQ(ToYaml((*again)[0].resource), text);
    // JSON is YAML too, so the same reader proves that its names and values are the same.
    auto json = ParseYaml(ToJson(one.resource), "a.json");
    ASSERT_TRUE(json.ok()) << json.status() << "\n" << ToJson(one.resource);
    EXPECT_TRUE(MessageDifferencer::Equals(one.resource, (*json)[0].resource)) << ToJson(one.resource);
  }
}

TEST(YamlTest, ValuesAreWhatWasWritten) {
  auto parsed = ParseYaml(kEveryKind, "all.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& site = (*parsed)[1].resource;
  EXPECT_EQ(site.metadata().labels().at("yes"), "no");
  EXPECT_EQ(site.site().dial(), resource::v1::DIAL_OUTBOUND_ONLY);
  const auto& dataset = (*parsed)[2].resource.dataset();
  EXPECT_EQ(dataset.chunk_size_bytes(), 1u << 20);
  EXPECT_EQ(dataset.commit().every().seconds(), 5400);
  EXPECT_EQ(dataset.commit().settle().nanos(), 250000000);
  EXPECT_EQ(dataset.home().site_selector().match_expressions(1).operator_(), resource::v1::LABEL_OPERATOR_NOT_IN);
  EXPECT_FALSE((*parsed)[3].resource.replication_policy().materialize());
  EXPECT_EQ((*parsed)[4].resource.sovereignty_policy().rules(0).actions(4), resource::v1::ACTION_MOVE_SITE);
}

TEST(YamlTest, DefaultsAreNotWrittenIn) {
  auto parsed = ParseYaml(
      "apiVersion: bailiwick/v1\nkind: Dataset\nmetadata: {name: d}\nspec: {home: {site: a, path: /p}}\n", "f");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& dataset = (*parsed)[0].resource.dataset();
  EXPECT_EQ(dataset.chunk_size_bytes(), 0u);
  EXPECT_FALSE(dataset.has_retain());
  EXPECT_EQ(dataset.ingest(), resource::v1::INGEST_UNSPECIFIED);
}

TEST(YamlTest, PositionsPointAtFieldsOrWhatEnclosesThem) {
  auto parsed = ParseYaml(kEveryKind, "all.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Located& policy = (*parsed)[4];
  EXPECT_EQ(policy.At("metadata.name").str(), "all.yaml:53:18");
  EXPECT_EQ(policy.At("spec.rules[0].to.in[1]").str(), "all.yaml:62:19");
  EXPECT_EQ(policy.At("spec.rules[0].to.in[1].nothing").str(), "all.yaml:62:19");
  EXPECT_EQ(policy.At("spec.rules[2].from.in[0]").str(), policy.At("spec.rules[2]").str());
}

TEST(YamlTest, HostileTextsAreRefusedQuickly) {
  const std::pair<std::string, const char*> cases[] = {
      {std::string(kMaxYamlBytes + 1, ' '), "larger than 16 MiB"},
      {"a: " + std::string(200, '['), "nested deeper than 64 levels"},
      {"a: " + std::string(4 << 20, '['), "more than 1000000 values"},
      {std::string("a: \0b", 5), "a NUL byte"},
      {"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "aliases are not supported"},
  };
  for (const auto& [text, error] : cases) {
    auto parsed = ParseYaml(text, "f.yaml");
    ASSERT_FALSE(parsed.ok()) << error;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(error));
  }
  std::string many = "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: eu}\nspec: {}\n";
  for (int i = 0; i < 500; ++i) absl::StrAppend(&many, "x", i, ": 1\n");
  EXPECT_THAT(std::string(ParseYaml(many, "f.yaml").status().message()), HasSubstr("and 400 more problems"));
}

TEST(YamlTest, NothingIsNothing) {
  for (const char* text : {"", "---\n", "# only a comment\n", "---\n---\n"}) {
    auto parsed = ParseYaml(text, "f.yaml");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(parsed->empty());
  }
}

TEST(KindTest, AcceptsHowPeopleSayThem) {
  for (const char* text : {"Dataset", "datasets", "DATASET", "ds"}) EXPECT_EQ(ParseKind(text).value(), "Dataset");
  EXPECT_EQ(ParseKind("sovereignty-policies").value(), "SovereigntyPolicy");
  EXPECT_EQ(ParseKind("rp").value(), "ReplicationPolicy");
  EXPECT_EQ(std::string(ParseKind("datsets").status().message()), "unknown kind \"datsets\"; did you mean dataset?");
  EXPECT_THAT(std::string(ParseKind("pod").status().message()), HasSubstr("expected one of: region, site"));
}

}  // namespace
}  // namespace bailiwick::config
