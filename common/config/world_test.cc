#include "common/config/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/str_cat.h"
#include "common/config/time_zones.h"
#include "common/crypto/digest.h"
#include "common/policy/evaluator.h"

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
metadata: {name: eu/de}
spec: {}
---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: us}
spec: {}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: factory, labels: {tier: robot}}
spec: {region: eu/de, entity: acme}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: core, labels: {tier: onprem}}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: cloud, labels: {tier: cloud}}
spec: {region: us}
---
apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: telemetry, labels: {class: telemetry, pii: "no"}}
spec: {home: {siteSelector: {matchLabels: {tier: robot}}, path: /log}}
---
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: home}
spec: {select: {}, to: [{region: eu}, {site: core}]}
)yaml";

constexpr char kLaw[] = R"yaml(apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  sets: {adequate: {regions: [us], expires: 2027-06-01}}
  rules:
  - {id: stays, effect: permit, data: {matchLabels: {class: telemetry}}, to: {in: [eu]}, basis: residency}
  - {id: no-pii, effect: forbid, data: {matchLabels: {pii: "yes"}}, to: {notIn: [eu]}}
  tests:
  - {name: stays, data: {class: telemetry, pii: "yes"}, from: factory, to: eu/de, expect: permit}
  - {name: not abroad, data: {class: telemetry, pii: "yes"}, from: eu/de, to: cloud, expect: deny}
  - {name: never us, never: {data: {class: telemetry, pii: "no"}, reach: us}}
)yaml";

struct Fleet {
  Catalog catalog;
  std::vector<Located> located;
};

Fleet Read(const std::vector<std::string>& texts) {
  Fleet fleet;
  for (size_t i = 0; i < texts.size(); ++i) {
    auto parsed = ParseYaml(texts[i], absl::StrCat("f", i, ".yaml"));
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    if (!parsed.ok()) continue;
    for (Located& one : *parsed) {
      fleet.catalog[{KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
      fleet.located.push_back(std::move(one));
    }
  }
  return fleet;
}

TimeZones Zones(const Fleet& fleet) { return CompileTimeZones(ZonesOf(fleet.catalog), kNow); }

std::string Check(const std::vector<std::string>& texts) {
  const Fleet fleet = Read(texts);
  return std::string(Validate(fleet.catalog, fleet.located, kNow, Zones(fleet)).message());
}

std::string Doc(const std::string& kind, const std::string& name, const std::string& spec) {
  return absl::StrCat("apiVersion: bailiwick/v1\nkind: ", kind, "\nmetadata: {name: ", name, "}\nspec: ", spec, "\n");
}

TEST(ValidateTest, AWholeFleetHoldsTogether) { EXPECT_EQ(Check({kFleet, kLaw}), ""); }

TEST(ValidateTest, BrokenReferencesAreFoundAtTheirPlace) {
  struct Case {
    std::string text;
    const char* error;
  };
  const Case cases[] = {
      {Doc("Region", "asia/jp", "{}"),
       "f1.yaml:3:18: metadata.name: its parent region asia is not declared; add a Region of this name"},
      {Doc("Site", "x", "{region: eu/dee}"),
       "f1.yaml:4:16: spec.region: region eu/dee is not declared; did you mean eu/de?"},
      {Doc("Dataset", "x", "{home: {site: factroy, path: /d}}"),
       "f1.yaml:4:21: spec.home.site: site factroy is not declared; did you mean factory?"},
      {Doc("ReplicationPolicy", "x", "{to: [{site: core}, {site: nowhere}]}"),
       "f1.yaml:4:34: spec.to[1].site: site nowhere is not declared; add a Site of this name"},
      {Doc("ReplicationPolicy", "x", "{to: [{region: mars}]}"),
       "f1.yaml:4:22: spec.to[0].region: region mars is not declared; add a Region of this name"},
      {Doc("SovereigntyPolicy", "x", "{rules: [{id: a, effect: permit, to: {in: [eu, mars]}}]}"),
       "f1.yaml:4:54: spec.rules[0].to.in[1]: region mars is not declared; add a Region of this name"},
      {Doc("SovereigntyPolicy", "x",
           "{sets: {good: {regions: [eu]}}, rules: [{id: a, effect: permit, from: {notIn: [\"set:god\"]}}]}"),
       "f1.yaml:4:86: spec.rules[0].from.notIn[0]: this policy has no set god; did you mean set:good?"},
      {Doc("SovereigntyPolicy", "x", "{sets: {good: {regions: [mars]}}}"),
       "f1.yaml:4:32: spec.sets.good.regions[0]: region mars is not declared; add a Region of this name"},
      {Doc("SovereigntyPolicy", "x", "{tests: [{name: t, from: eu, to: mars, expect: deny}]}"),
       "f1.yaml:4:40: spec.tests[0].to: mars is neither a region nor a site"},
      {Doc("SovereigntyPolicy", "x", "{tests: [{name: t, never: {reach: mars}}]}"),
       "f1.yaml:4:41: spec.tests[0].never.reach: region mars is not declared; add a Region of this name"},
  };
  for (const Case& one : cases) EXPECT_EQ(Check({kFleet, one.text}), one.error);
}

TEST(ValidateTest, WhatIsDeletedAndNamedYetIsNotTakenForAMistake) {
  Fleet fleet = Read({Doc("Site", "a", "{region: x}")});
  const absl::Status refused = Validate(fleet.catalog, {}, kNow, {}, {{"Region", "x"}, {"Region", "y"}});
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::string(refused.message()),
            "Site/a: spec.region: region x cannot be deleted while this names it; delete or change this first");
}

TEST(ValidateTest, EveryProblemIsReportedAndUnlocatedOnesByName) {
  Fleet fleet = Read({Doc("Site", "a", "{region: x}"), Doc("Site", "b", "{region: y}")});
  EXPECT_EQ(std::string(Validate(fleet.catalog, fleet.located, kNow, Zones(fleet)).message()),
            "f0.yaml:4:16: spec.region: region x is not declared; add a Region of this name\n"
            "f1.yaml:4:16: spec.region: region y is not declared; add a Region of this name");
  EXPECT_EQ(std::string(Validate(fleet.catalog, {}, kNow, {}).message()),
            "Site/a: spec.region: region x is not declared; add a Region of this name\n"
            "Site/b: spec.region: region y is not declared; add a Region of this name");
  fleet.catalog[{"Site", "a"}].mutable_metadata()->set_name("A!");
  EXPECT_THAT(std::string(Validate(fleet.catalog, {}, kNow, {}).message()), HasSubstr("Site/a: metadata.name:"));
}

TEST(ValidateTest, PolicyTestsGate) {
  const std::string wrong_case = Doc("SovereigntyPolicy", "x",
                                     "{rules: [{id: a, effect: permit, to: {in: [eu]}}], tests: [{name: open, data: "
                                     "{c: d}, from: eu, to: us, expect: permit}]}");
  EXPECT_EQ(Check({kFleet, wrong_case}),
            "f1.yaml:4:66: spec.tests[0]: test \"open\" fails: expected permit, but no rule permits transfer from any "
            "site (eu) to "
            "any site (us); the nearest, x/a, does not: destination us is not in eu");
  const std::string leak = Doc("SovereigntyPolicy", "x",
                               "{rules: [{id: a, effect: permit, to: {siteSelector: {matchLabels: {tier: cloud}}}}], "
                               "tests: [{name: closed, never: {data: {pii: \"yes\"}, reach: us}}]}");
  const std::string error = Check({kFleet, leak});
  EXPECT_THAT(error,
              HasSubstr("test \"closed\" fails: the data must never reach us, but it can go any site of eu to cloud "
                        "(transfer by x/a, reside by x/a)"));
}

TEST(ValidateTest, AThousandLikeSitesAreCheckedAtOnce) {
  std::string sites;
  for (int i = 0; i < 1000; ++i) {
    absl::StrAppend(&sites, Doc("Site", absl::StrCat("robot-", i, ", labels: {tier: robot}"), "{region: eu/de}"),
                    "---\n");
  }
  EXPECT_EQ(Check({kFleet, kLaw, sites}), "");
}

TEST(WorldTest, HoldsTheLaw) {
  auto world = BuildWorld(Read({kFleet, kLaw}).catalog);
  ASSERT_TRUE(world.ok()) << world.status();
  EXPECT_EQ(world->regions, (std::vector<std::string>{"eu", "eu/de", "us"}));
  EXPECT_EQ(world->sites.at("factory").labels.at("tier"), "robot");
  EXPECT_EQ(world->sites.at("factory").entity, "acme");
  ASSERT_EQ(world->rules.size(), 2u);
  EXPECT_EQ(world->rules[0].basis, "residency");
  EXPECT_EQ(world->rules[0].actions.size(), 3u);
  EXPECT_EQ(*world->sets.at("acme").at("adequate").expires,
            absl::FromCivil(absl::CivilDay(2027, 6, 1), absl::UTCTimeZone()));
  const policy::Labels data = {{"class", "telemetry"}, {"pii", "no"}};
  EXPECT_TRUE(policy::EvaluateReplication(*world, {data, "factory", "core"}, kNow).permitted);
  EXPECT_FALSE(policy::EvaluateReplication(*world, {data, "factory", "cloud"}, kNow).permitted);
}

TEST(WorldTest, ANewerConditionIsAnErrorNotARuleWithoutIt) {
  Catalog catalog = Read({kFleet, Doc("SovereigntyPolicy", "x", "{rules: [{id: a, effect: permit}]}")}).catalog;
  EXPECT_TRUE(policy::EvaluateReplication(*BuildWorld(catalog), {{}, "factory", "core"}, kNow).permitted);
  auto* rule = catalog[{"SovereigntyPolicy", "x"}].mutable_sovereignty_policy()->mutable_rules(0);
  rule->GetReflection()->MutableUnknownFields(rule)->AddVarint(99, 1);
  EXPECT_EQ(policy::EvaluateReplication(*BuildWorld(catalog), {{}, "factory", "core"}, kNow).reason,
            policy::Reason::kError);
}

class BundleTest : public ::testing::Test {
 protected:
  BundleTest() {
    for (int i = 0; i < 3; ++i) keys_.push_back(crypto::SigningKey::Generate().value());
    for (const auto& key : keys_) root_.keys.push_back(key.public_key());
    root_.threshold = 2;
    message_.set_format(1);
    message_.set_revision(5);
    message_.set_trust_domain("acme");
    message_.set_root(EncodePolicyRoot(root_));
    AddLaw(Read({kFleet, kLaw}).catalog, &message_);
    auto* enrolment = message_.add_enrolment_keys();
    enrolment->set_site("factory");
    enrolment->set_agent("a1");
    enrolment->set_ed25519(std::string(32, 'e'));
    message_.add_grant_keys()->set_ed25519(std::string(32, 'g'));
    message_.add_classifier_keys()->set_ed25519(keys_[2].public_key());
  }

  crypto::Envelope Sign(const std::vector<int>& signers) {
    crypto::Envelope envelope =
        crypto::SignEnvelope(crypto::kBundleType, message_.SerializeAsString(), keys_[signers[0]]);
    for (size_t i = 1; i < signers.size(); ++i) crypto::AddSignature(envelope, keys_[signers[i]]);
    return envelope;
  }

  absl::StatusOr<Bundle> Open(const crypto::Envelope& envelope) {
    return OpenBundle(envelope, PolicyRootSha256(root_));
  }

  std::vector<crypto::SigningKey> keys_;
  PolicyRoot root_;
  resource::v1::PolicyBundle message_;
};

TEST_F(BundleTest, OpensWhatTheRootSigned) {
  const crypto::Envelope envelope = Sign({0, 2});
  auto bundle = Open(envelope);
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  EXPECT_EQ(bundle->world.revision, 5u);
  EXPECT_EQ(bundle->world.trust_domain, "acme");
  EXPECT_EQ(bundle->world.digest, crypto::Sha256(envelope.payload).view());
  EXPECT_EQ(bundle->world.sites.at("factory").enrolment_keys.at("a1"), std::string(32, 'e'));
  EXPECT_EQ(bundle->world.grant_keys, std::vector<std::string>{std::string(32, 'g')});
  EXPECT_EQ(bundle->world.root_threshold, 2u);
  EXPECT_EQ(bundle->resources.size(), 7u);  // neither the dataset nor the replication policy is law
  EXPECT_EQ(bundle->world.rules.size(), 2u);
}

TEST_F(BundleTest, TooFewSignaturesAreDenied) {
  EXPECT_EQ(Open(Sign({0})).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Open(Sign({0, 0})).status().code(), absl::StatusCode::kPermissionDenied);
  keys_.push_back(crypto::SigningKey::Generate().value());
  EXPECT_EQ(Open(Sign({0, 3})).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(Open(Sign({0, 1, 2})).ok());
}

TEST_F(BundleTest, AnyChangedByteIsDenied) {
  const crypto::Envelope good = Sign({0, 1});
  for (size_t i = 0; i < good.payload.size(); i += 7) {
    crypto::Envelope bad = good;
    bad.payload[i] ^= 1;
    ASSERT_EQ(Open(bad).status().code(), absl::StatusCode::kPermissionDenied) << "byte " << i;
  }
  crypto::Envelope other = good;
  other.payload_type = crypto::kGrantType;
  EXPECT_EQ(Open(other).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(BundleTest, AnotherRootIsDenied) {
  const crypto::Envelope envelope = Sign({0, 1});
  EXPECT_EQ(OpenBundle(envelope, std::string(32, 'x')).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(OpenBundle(envelope, "").status().code(), absl::StatusCode::kPermissionDenied);
  PolicyRoot own = root_;  // an attacker's own root with a threshold that they can meet
  own.threshold = 1;
  message_.set_root(EncodePolicyRoot(own));
  EXPECT_EQ(Open(Sign({0})).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(BundleTest, SignedButUnusableIsSaidSo) {
  const std::pair<const char*, std::function<void()>> cases[] = {
      {"has format 2", [&] { message_.set_format(2); }},
      {"has format 0", [&] { message_.set_format(0); }},
      {"no trust domain", [&] { message_.clear_trust_domain(); }},
      {"not sorted", [&] { message_.mutable_resources()->SwapElements(0, 1); }},
      {"not sorted", [&] { *message_.add_resources() = message_.resources(message_.resources_size() - 1); }},
      {"which is not a region, site or sovereignty policy",
       [&] {
         *message_.add_resources() = Read({kFleet}).catalog.at({"Dataset", "telemetry"});
       }},
      {"expected permit or forbid",
       [&] {
         message_.mutable_resources(message_.resources_size() - 1)
             ->mutable_sovereignty_policy()
             ->mutable_rules(0)
             ->clear_effect();
       }},
      {"not 32", [&] { message_.add_grant_keys()->set_ed25519("short"); }},
      {"listed twice", [&] { *message_.add_classifier_keys() = message_.classifier_keys(0); }},
      {"two enrolment keys", [&] { *message_.add_enrolment_keys() = message_.enrolment_keys(0); }},
  };
  const resource::v1::PolicyBundle good = message_;
  for (const auto& [error, change] : cases) {
    message_ = good;
    change();
    auto bundle = Open(Sign({0, 1}));
    EXPECT_EQ(bundle.status().code(), absl::StatusCode::kInvalidArgument) << error;
    EXPECT_THAT(std::string(bundle.status().message()), HasSubstr(error));
  }
}

TEST_F(BundleTest, RootsThatCannotHoldAreRefused) {
  for (PolicyRoot root : {PolicyRoot{root_.keys, 0}, PolicyRoot{root_.keys, 4},
                          PolicyRoot{{root_.keys[0], root_.keys[0]}, 2}, PolicyRoot{{"short"}, 1}, PolicyRoot{{}, 1}}) {
    EXPECT_FALSE(DecodePolicyRoot(EncodePolicyRoot(root)).ok());
  }
  EXPECT_TRUE(DecodePolicyRoot(EncodePolicyRoot(root_)).ok());
}

TEST_F(BundleTest, ClassificationsAndStreams) {
  auto bundle = Open(Sign({0, 1}));
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  resource::v1::Classification record;
  record.set_format(1);
  record.set_dataset_id(std::string(16, 'i'));
  record.set_dataset("telemetry");
  (*record.mutable_labels())["pii"] = "no";
  (*record.mutable_home_selector()->mutable_match_labels())["tier"] = "robot";
  record.set_revision(3);
  auto open = [&](int signer) {
    return OpenClassification(
        crypto::SignEnvelope(crypto::kClassificationType, record.SerializeAsString(), keys_[signer]), bundle->world);
  };
  EXPECT_EQ(open(0).status().code(), absl::StatusCode::kPermissionDenied);  // a root key is not a classifier key
  auto family = open(2);
  ASSERT_TRUE(family.ok()) << family.status();
  EXPECT_TRUE(family->family);

  auto stream = StreamOf(*family, "factory", bundle->world);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(stream->dataset, "telemetry@factory");
  EXPECT_EQ(stream->home_site, "factory");
  EXPECT_FALSE(stream->family);
  EXPECT_EQ(stream->labels.at("pii"), "no");
  EXPECT_EQ(stream->dataset_id.view(),
            crypto::Sha256(absl::StrCat("stream", std::string(16, 'i'), "factory")).view().substr(0, 16));
  EXPECT_NE(stream->dataset_id, StreamId(family->dataset_id, "core"));
  EXPECT_FALSE(StreamOf(*family, "core", bundle->world).ok());
  EXPECT_FALSE(StreamOf(*family, "nowhere", bundle->world).ok());
  EXPECT_FALSE(StreamOf(*stream, "factory", bundle->world).ok());

  record.set_home_site("core");
  EXPECT_EQ(open(2).status().code(), absl::StatusCode::kInvalidArgument);  // both
  record.clear_home_selector();
  EXPECT_FALSE(open(2)->family);
  record.set_format(2);
  EXPECT_EQ(open(2).status().code(), absl::StatusCode::kInvalidArgument);
  record.set_format(1);
  record.set_dataset_id("short");
  EXPECT_EQ(open(2).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bailiwick::config
