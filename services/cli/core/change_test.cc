#include "services/cli/core/change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "common/rpc/codec.h"
#include "services/cli/core/pending.h"

namespace bailiwick::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kRegions = R"(---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu}
spec: {}
---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: us}
spec: {}
)";
constexpr const char* kSites = R"(---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: core, labels: {tier: core}}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: factory, labels: {tier: edge, line: a}}
spec: {region: eu}
)";

std::string Dataset(const std::string& labels, const std::string& home, const std::string& more = "") {
  return "---\napiVersion: bailiwick/v1\nkind: Dataset\nmetadata: {name: planner, labels: {" + labels +
         "}}\nspec: {home: {" + home + ", path: /srv/planner}" + more + "}\n";
}

CatalogChange Upsert(const std::string& yaml) {
  CatalogChange change;
  auto parsed = config::ParseYaml(yaml, "fleet.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  if (parsed.ok()) change.upserts = *std::move(parsed);
  return change;
}

CatalogChange Delete(const std::string& kind, const std::string& name) {
  CatalogChange change;
  change.deletes.emplace_back();
  change.deletes.back().set_kind(kind);
  change.deletes.back().set_name(name);
  return change;
}

class SignChangeTest : public ::testing::Test {
 protected:
  SignChangeTest() {
    keys_.push_back(crypto::SigningKey::Generate().value());
    known_.trust_domain = "test.example";
    known_.grant_key = crypto::SigningKey::Generate()->public_key();
    config::PolicyRoot root;
    root.keys = {keys_[0].public_key()};
    root_sha256_ = config::PolicyRootSha256(root);
  }

  absl::StatusOr<Signed> Sign(const CatalogChange& change) {
    return SignChange(known_, change, keys_, absl::FromUnixSeconds(1'700'000'000), os::Random::System());
  }

  // Signs, and takes over what was signed as the coordinator and an agent would: verified.
  Signed Apply(const CatalogChange& change) {
    auto made = Sign(change);
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return {};
    const auto& request = made->request;
    for (const auto& name : request.deletes()) known_.resources.erase({name.kind(), name.name()});
    for (const auto& r : request.upserts()) known_.resources[{config::KindOf(r), r.metadata().name()}] = r;
    if (request.has_bundle()) {
      auto bundle = config::OpenBundle(rpc::FromProto(request.bundle()), root_sha256_);
      EXPECT_TRUE(bundle.ok()) << bundle.status();
      if (bundle.ok()) known_.bundle = *std::move(bundle);
    }
    for (const auto& envelope : request.classifications()) {
      auto c = config::OpenClassification(rpc::FromProto(envelope), known_.bundle.world);
      EXPECT_TRUE(c.ok()) << c.status();
      if (!c.ok()) continue;
      std::erase_if(known_.classifications, [&](const auto& old) { return old.dataset_id == c->dataset_id; });
      known_.classifications.push_back(*c);
    }
    return *std::move(made);
  }

  const config::Classification& Planner() { return known_.classifications.at(0); }

  Known known_;
  std::vector<crypto::SigningKey> keys_;
  std::string root_sha256_;
};

TEST_F(SignChangeTest, FirstChangeMakesTheFirstBundle) {
  Signed made = Apply(Upsert(std::string(kRegions) + kSites));
  EXPECT_TRUE(made.anything);
  EXPECT_EQ(made.report.policy_revision, 1u);
  EXPECT_EQ(known_.bundle.world.revision, 1u);
  EXPECT_EQ(known_.bundle.world.trust_domain, "test.example");
  EXPECT_THAT(known_.bundle.world.grant_keys, ElementsAre(known_.grant_key));
  EXPECT_THAT(known_.bundle.world.classifier_keys, ElementsAre(keys_[0].public_key()));
  EXPECT_EQ(known_.bundle.world.sites.count("factory"), 1u);
}

TEST_F(SignChangeTest, TheSameAgainSignsNothing) {
  const std::string yaml = std::string(kRegions) + kSites + Dataset("class: internal", "site: factory");
  Apply(Upsert(yaml));
  Signed again = Apply(Upsert(yaml));
  EXPECT_FALSE(again.anything);
  EXPECT_FALSE(again.request.has_bundle());
  EXPECT_EQ(again.request.upserts_size() + again.request.classifications_size(), 0);
  for (const auto& line : again.report.lines) EXPECT_EQ(line.change, "unchanged") << line.kind << "/" << line.name;
}

TEST_F(SignChangeTest, OnlyTheLawMakesANewBundle) {
  Apply(Upsert(std::string(kRegions) + kSites));
  Signed dataset = Apply(Upsert(Dataset("class: internal", "site: factory")));
  EXPECT_FALSE(dataset.request.has_bundle());
  EXPECT_EQ(dataset.request.classifications_size(), 1);
  EXPECT_EQ(dataset.report.policy_revision, 1u);
  Signed region =
      Apply(Upsert("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: us}\nspec: {description: west}\n"));
  EXPECT_TRUE(region.request.has_bundle());
  EXPECT_EQ(region.report.policy_revision, 2u);
  ASSERT_EQ(region.report.lines.size(), 1u);
  EXPECT_EQ(region.report.lines[0].change, "changed");
  EXPECT_THAT(region.report.lines[0].diff, HasSubstr("description: west"));
  EXPECT_TRUE(Apply(Delete("Region", "us")).request.has_bundle());
  EXPECT_EQ(known_.bundle.resources.count({"Region", "us"}), 0u);
}

TEST_F(SignChangeTest, ClassificationFollowsLabelsAndHome) {
  Apply(Upsert(std::string(kRegions) + kSites + Dataset("class: internal", "site: factory")));
  const DatasetId id = Planner().dataset_id;
  EXPECT_EQ(Planner().epoch, 1u);
  EXPECT_EQ(Planner().revision, 1u);

  Apply(Upsert(Dataset("class: secret", "site: factory")));
  EXPECT_EQ(Planner().dataset_id, id);
  EXPECT_EQ(Planner().labels.at("class"), "secret");
  EXPECT_EQ(Planner().epoch, 1u);
  EXPECT_EQ(Planner().revision, 2u);

  Apply(Upsert(Dataset("class: secret", "site: core")));
  EXPECT_EQ(Planner().dataset_id, id);
  EXPECT_EQ(Planner().home_site, "core");
  EXPECT_EQ(Planner().epoch, 2u);
  EXPECT_EQ(Planner().revision, 3u);

  Signed other = Apply(Upsert(Dataset("class: secret", "site: core", ", retain: {last: 3}")));
  EXPECT_TRUE(other.anything);
  EXPECT_EQ(other.request.classifications_size(), 0) << "neither labels nor home changed";
}

TEST_F(SignChangeTest, FamilyKeepsItsEpochWithAnotherSelector) {
  Apply(Upsert(std::string(kRegions) + kSites +
               Dataset("class: internal", "siteSelector: {matchLabels: {tier: edge, line: a}}")));
  EXPECT_TRUE(Planner().family);
  Signed same = Apply(
      Upsert(Dataset("class: internal", "siteSelector: {matchLabels: {line: a, tier: edge}}", ", retain: {last: 3}")));
  EXPECT_EQ(same.request.classifications_size(), 0) << "the order of labels says nothing";
  Apply(Upsert(Dataset("class: internal", "siteSelector: {matchLabels: {tier: edge}}")));
  EXPECT_EQ(Planner().revision, 2u);
  EXPECT_EQ(Planner().epoch, 1u);
  Apply(Upsert(Dataset("class: internal", "site: factory")));
  EXPECT_FALSE(Planner().family);
  EXPECT_EQ(Planner().epoch, 2u);
}

TEST_F(SignChangeTest, PinsStayUntilTheirSiteGoes) {
  Apply(Upsert(std::string(kRegions) + kSites));
  CatalogChange pins;
  for (const char* site : {"core", "factory"}) {
    pins.pin.emplace_back();
    pins.pin.back().set_site(site);
    pins.pin.back().set_agent("a1");
    pins.pin.back().set_ed25519(std::string(32, site[0]));
  }
  Signed made = Apply(pins);
  EXPECT_TRUE(made.anything);
  EXPECT_EQ(known_.bundle.world.revision, 2u);
  EXPECT_EQ(known_.bundle.world.sites.at("core").enrolment_keys.at("a1"), std::string(32, 'c'));

  CatalogChange renewed;  // the same agent with another key
  renewed.pin.push_back(pins.pin[0]);
  renewed.pin[0].set_ed25519(std::string(32, 'x'));
  Apply(renewed);
  EXPECT_EQ(known_.bundle.world.sites.at("core").enrolment_keys.at("a1"), std::string(32, 'x'));
  EXPECT_EQ(known_.bundle.world.sites.at("factory").enrolment_keys.size(), 1u);

  Apply(Delete("Site", "factory"));
  EXPECT_EQ(known_.bundle.message.enrolment_keys_size(), 1);
}

TEST_F(SignChangeTest, RefusesWhatCannotBe) {
  EXPECT_TRUE(absl::IsNotFound(Sign(Delete("Site", "nowhere")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Sign(Upsert(kSites)).status())) << "sites without their region";
  Apply(Upsert(std::string(kRegions) + kSites + Dataset("class: internal", "site: factory", ", chunkSize: 64KiB")));
  auto chunks = Sign(Upsert(Dataset("class: internal", "site: factory", ", chunkSize: 128KiB"))).status();
  EXPECT_TRUE(absl::IsInvalidArgument(chunks));
  EXPECT_THAT(std::string(chunks.message()), HasSubstr("chunk size of dataset planner"));
  const absl::Status in_use = Sign(Delete("Region", "eu")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(in_use)) << "sites lie in it";
  EXPECT_THAT(std::string(in_use.message()), HasSubstr("region eu cannot be deleted while this names it"));

  EXPECT_TRUE(absl::IsInvalidArgument(Sign(Upsert(Dataset("class: internal", "site: factory"))).status()))
      << "32KiB by default";

  CatalogChange twice = Upsert(Dataset("class: a", "site: factory", ", chunkSize: 64KiB"));
  twice.upserts.push_back(Upsert(Dataset("class: b", "site: core", ", chunkSize: 64KiB")).upserts[0]);
  EXPECT_THAT(std::string(Sign(twice).status().message()), HasSubstr("Dataset planner is declared twice"));
}

TEST_F(SignChangeTest, SpellingOutTheDefaultChunkSizeIsNoChangeOfIt) {
  Apply(Upsert(std::string(kRegions) + kSites + Dataset("class: internal", "site: factory")));
  EXPECT_TRUE(Sign(Upsert(Dataset("class: internal", "site: factory", ", chunkSize: 32KiB"))).ok());
}

TEST_F(SignChangeTest, ADatasetNeverLosesItsIdentity) {
  Apply(Upsert(std::string(kRegions) + kSites + Dataset("class: internal", "site: factory")));
  known_.classifications.clear();  // could not be verified
  EXPECT_TRUE(absl::IsFailedPrecondition(Sign(Upsert(Dataset("class: secret", "site: factory"))).status()));
}

TEST_F(SignChangeTest, SignsOnlyWithAKeyOfTheRoot) {
  Apply(Upsert(std::string(kRegions) + kSites));
  crypto::SigningKey ours = keys_[0];
  keys_ = {crypto::SigningKey::Generate().value()};
  EXPECT_TRUE(absl::IsFailedPrecondition(Sign(Delete("Region", "us")).status()));
  keys_.push_back(ours);
  Apply(Delete("Region", "us"));
  EXPECT_EQ(known_.bundle.world.revision, 2u);
  EXPECT_THAT(known_.bundle.world.classifier_keys, ElementsAre(ours.public_key()));
  keys_.clear();
  EXPECT_TRUE(absl::IsFailedPrecondition(Sign(Delete("Site", "core")).status()));
}

TEST_F(SignChangeTest, APolicyAppliedAgainGetsFreshTimeZones) {
  const std::string policy = R"(---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec: {rules: [{id: day, effect: permit, when: {daily: [{hours: "08:00-18:00", tz: Europe/Berlin}]}}]}
)";
  Apply(Upsert(std::string(kRegions) + kSites + policy));
  const absl::Time horizon = known_.bundle.world.time_zones.at("Europe/Berlin").horizon;
  EXPECT_FALSE(Sign(Upsert(policy))->anything);
  const absl::Time later = absl::FromUnixSeconds(1'700'000'000) + absl::Hours(24 * 366 * 6);
  auto others = SignChange(known_, Upsert(Dataset("class: internal", "site: factory")), keys_, later, os::Random::System());
  ASSERT_TRUE(others.ok()) << others.status();
  EXPECT_FALSE(others->request.has_bundle());
  auto again = SignChange(known_, Upsert(policy), keys_, later, os::Random::System());
  ASSERT_TRUE(again.ok()) << again.status();
  auto bundle = config::OpenBundle(rpc::FromProto(again->request.bundle()), root_sha256_);
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  EXPECT_EQ(bundle->world.revision, 2u);
  EXPECT_GT(bundle->world.time_zones.at("Europe/Berlin").horizon, horizon);
}

TEST_F(SignChangeTest, TheLawInForceDecidesAboutRelabelling) {
  const std::string policy = R"(---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec: {rules: [{id: calm, effect: forbid, actions: [relabel], data: {matchLabels: {class: secret}}}]}
)";
  Apply(Upsert(std::string(kRegions) + kSites + Dataset("class: internal", "site: factory")));
  Apply(Upsert(Dataset("class: secret", "site: factory") + policy));  // the law that would deny is not in force yet
  const absl::Status refused = Sign(Upsert(Dataset("class: open", "site: factory"))).status();
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("fleet.yaml:4:27: metadata.labels: the law in force"));
}

TEST_F(SignChangeTest, ABundleNamesHowLongItCountsAndKeepsWhatWasDelegated) {
  known_.timestamp_key = crypto::SigningKey::Generate()->public_key();
  Apply(Upsert(std::string(kRegions) + kSites));
  EXPECT_THAT(known_.bundle.world.timestamp_keys, ElementsAre(known_.timestamp_key));
  EXPECT_EQ(known_.bundle.message.max_age().seconds(), 365 * 86400);
  CatalogChange change;
  change.law.renew = true;
  change.law.max_age = absl::Hours(1);
  resource::v1::Classifier robots;
  robots.mutable_key()->set_ed25519(std::string(32, 'r'));
  change.law.classifiers.push_back(robots);
  EXPECT_EQ(Apply(change).report.policy_revision, 2u);
  Apply(Delete("Region", "us"));
  EXPECT_EQ(known_.bundle.message.max_age().seconds(), 3600);
  EXPECT_EQ(known_.bundle.world.classifiers.size(), 1u);
  CatalogChange back;
  back.law.remove_classifiers.push_back(std::string(32, 'r'));
  Apply(back);
  EXPECT_TRUE(known_.bundle.world.classifiers.empty());
}

TEST_F(SignChangeTest, OnlyWhatWasDelegatedIsTakenBack) {
  Apply(Upsert(std::string(kRegions) + kSites));
  CatalogChange back;
  back.law.remove_classifiers.push_back(std::string(32, 'r'));
  EXPECT_TRUE(absl::IsNotFound(Sign(back).status()));
  CatalogChange nowhere;
  nowhere.law.classifiers.emplace_back();
  nowhere.law.classifiers.back().mutable_key()->set_ed25519(std::string(32, 'r'));
  nowhere.law.classifiers.back().add_home_regions("nope");
  EXPECT_TRUE(absl::IsInvalidArgument(Sign(nowhere).status()));
}

TEST_F(SignChangeTest, AHomeThatIsAwayIsTakenAwayWithAWarning) {
  Apply(Upsert(std::string(kRegions) + kSites + Dataset("class: internal", "site: factory")));
  EXPECT_TRUE(Sign(Upsert(Dataset("class: internal", "site: core")))->report.warnings.empty());
  known_.away = {"factory"};
  EXPECT_TRUE(Sign(Upsert(Dataset("class: open", "site: factory")))->report.warnings.empty()) << "it stays the home";
  auto moved = Sign(Upsert(Dataset("class: internal", "site: core")));
  ASSERT_TRUE(moved.ok()) << moved.status();
  ASSERT_EQ(moved->report.warnings.size(), 1u);
  EXPECT_THAT(moved->report.warnings[0], HasSubstr("site factory, the home of"));
}

TEST_F(SignChangeTest, ALawIsAboveWhatAgentsHave) {
  Apply(Upsert(std::string(kRegions) + kSites));
  known_.installed = 7;  // by a coordinator that was brought back from a backup
  CatalogChange renew;
  renew.law.renew = true;
  EXPECT_EQ(Apply(renew).report.policy_revision, 8u);
}

TEST_F(SignChangeTest, ADelegateSignsWithinItsLimitsAndNothingElse) {
  const crypto::SigningKey robots = *crypto::SigningKey::Generate();
  CatalogChange change = Upsert(std::string(kRegions) + kSites);
  resource::v1::Classifier classifier;
  classifier.mutable_key()->set_ed25519(robots.public_key());
  auto* label = classifier.add_labels();
  label->set_key("class");
  label->add_values("internal");
  change.law.classifiers.push_back(classifier);
  Apply(change);
  keys_ = {robots};
  EXPECT_TRUE(absl::IsPermissionDenied(Sign(Upsert(Dataset("class: secret", "site: factory"))).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Sign(Delete("Region", "us")).status()));
  Apply(Upsert(Dataset("class: internal", "site: factory")));
  EXPECT_EQ(Planner().limited_by, robots.public_key());
}

TEST_F(SignChangeTest, ARotationCarriesTheChainAndSignsRecordsAgain) {
  Apply(Upsert(std::string(kRegions) + kSites + Dataset("class: internal", "site: factory")));
  auto record = Sign(Upsert(Dataset("class: secret", "site: factory")));
  ASSERT_TRUE(record.ok()) << record.status();
  known_.records = {rpc::FromProto(record->request.classifications(0))};
  const crypto::SigningKey second = *crypto::SigningKey::Generate();
  keys_.push_back(second);
  CatalogChange change;
  change.law.root = config::PolicyRoot{{second.public_key()}, 1};
  auto rotated = Sign(change);
  ASSERT_TRUE(rotated.ok()) << rotated.status();
  config::RootChain chain;
  for (const auto& root : rotated->request.roots()) chain.push_back(rpc::FromProto(root));
  ASSERT_EQ(chain.size(), 2u);
  auto bundle = config::OpenBundle(rpc::FromProto(rotated->request.bundle()), root_sha256_, chain);
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  ASSERT_EQ(rotated->request.classifications_size(), 1);
  EXPECT_TRUE(config::OpenClassification(rpc::FromProto(rotated->request.classifications(0)), bundle->world).ok());
  keys_ = {second};
  EXPECT_TRUE(absl::IsFailedPrecondition(Sign(change).status())) << "new keys alone do not begin it";
}

TEST_F(SignChangeTest, WhatIsOnlyTriedCarriesNoSignatureOfIt) {
  Apply(Upsert(std::string(kRegions) + kSites));
  CatalogChange change = Upsert(Dataset("class: internal", "site: factory"));
  change.law.renew = true;
  change.law.root = config::PolicyRoot{{keys_[0].public_key(), crypto::SigningKey::Generate()->public_key()}, 1};
  auto made = Sign(change);
  ASSERT_TRUE(made.ok()) << made.status();
  const control::v1::ApplyRequest shown = WithoutSignatures(made->request);
  EXPECT_EQ(shown.bundle().payload(), made->request.bundle().payload());
  EXPECT_EQ(shown.bundle().signatures_size(), 0);
  ASSERT_EQ(shown.classifications_size(), 1);
  EXPECT_EQ(shown.classifications(0).signatures_size(), 0);
  ASSERT_EQ(shown.roots_size(), 2);
  EXPECT_EQ(shown.roots(1).signatures_size(), 0);
}

TEST_F(SignChangeTest, OneOfTwoKeysSignsWhatTheOtherCompletes) {
  Apply(Upsert(std::string(kRegions) + kSites));
  const crypto::SigningKey first = keys_[0], second = *crypto::SigningKey::Generate();
  keys_ = {first, second};
  CatalogChange rotation;
  rotation.law.root = config::PolicyRoot{{first.public_key(), second.public_key()}, 2};
  auto rotated = Sign(rotation);
  ASSERT_TRUE(rotated.ok()) << rotated.status();
  for (const auto& root : rotated->request.roots()) known_.roots.push_back(rpc::FromProto(root));
  auto bundle = config::OpenBundle(rpc::FromProto(rotated->request.bundle()), root_sha256_, known_.roots);
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  known_.bundle = *bundle;
  EXPECT_TRUE(known_.bundle.world.classifier_keys.empty()) << "one key alone must not relabel either";
  keys_ = {first};
  auto half = Sign(Upsert(Dataset("class: internal", "site: factory")));
  ASSERT_TRUE(half.ok()) << half.status();
  EXPECT_FALSE(config::OpenClassification(rpc::FromProto(half->request.classifications(0)), known_.bundle.world).ok());
  auto described = DescribePending(half->request, known_);
  ASSERT_TRUE(described.ok());
  EXPECT_THAT(*described, HasSubstr("+ class=internal at factory"));
  EXPECT_EQ(*SignPending({first}, root_sha256_, known_.roots, &half->request), 0);
  EXPECT_EQ(*SignPending({*crypto::SigningKey::Generate()}, root_sha256_, known_.roots, &half->request), 0);
  EXPECT_EQ(*SignPending({second}, root_sha256_, known_.roots, &half->request), 1);
  EXPECT_TRUE(config::OpenClassification(rpc::FromProto(half->request.classifications(0)), known_.bundle.world).ok());
  EXPECT_TRUE(
      absl::IsPermissionDenied(SignPending({second}, std::string(32, 'x'), known_.roots, &half->request).status()));
}

TEST(LineDiffTest, ShowsWhatDiffers) {
  EXPECT_EQ(LineDiff("a\nb\nc\n", "a\nx\nc\n"), "- b\n+ x\n");
  EXPECT_EQ(LineDiff("a\n", "a\n"), "");
  EXPECT_EQ(LineDiff("", "a\nb\n"), "+ a\n+ b\n");
  // Which of two rules it was is seen.
  const std::string rules =
      "spec:\n  rules:\n  - id: one\n    to:\n      in: [eu]\n  - id: two\n    to:\n      in: [eu]\n";
  EXPECT_EQ(
      LineDiff(rules, absl::StrReplaceAll(rules, {{"two\n    to:\n      in: [eu]", "two\n    to:\n      in: [us]"}})),
      "  spec:\n    rules:\n    - id: two\n      to:\n-       in: [eu]\n+       in: [us]\n");
}

}  // namespace
}  // namespace bailiwick::cli
