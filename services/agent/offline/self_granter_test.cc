#include "services/agent/offline/self_granter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/config/yaml.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {
namespace {

using ::testing::HasSubstr;

constexpr char kResources[] = R"(
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
metadata: {name: factory}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: core}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: cloud}
spec: {region: us}
---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  offline: [{jurisdiction: eu, maxStaleness: 1h}]
  rules:
  - {id: care-anywhere, effect: permit, purposes: [care], to: {in: [eu, us]}}
)";
constexpr char kFactory[] = "spiffe://acme/region/eu/site/factory/agent/factory";
constexpr char kCore[] = "spiffe://acme/region/eu/site/core/agent/core";
constexpr char kCloud[] = "spiffe://acme/region/us/site/cloud/agent/cloud";

class SelfGranterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(::testing::TempDir(), "/bw-self-grant-", getpid(), "-",
                              ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
    std::vector<std::string> migrations = Law::Migrations();
    migrations.push_back(Law::LaterMigration());
    db_ = *sql::Database::Open({files_, directory_ + "/agent.db", migrations});
    audit_ = *audit::Log::Open(files_, &clock_, os::Random::System(), directory_ + "/audit");
    root_ = {{policy_key_.public_key()}, 1, 1};
    law_ = std::make_unique<Law>(config::PolicyRootSha256(root_), db_.get(), &clock_);
    ASSERT_TRUE(law_->Load().ok());
    Install(1);
    granter_ = std::make_unique<SelfGranter>(SelfGranter::Environment{.law = law_.get(),
                                                                      .clock = &clock_,
                                                                      .random = os::Random::System(),
                                                                      .audit = audit_.get(),
                                                                      .self = [] { return std::string(kFactory); },
                                                                      .key = &site_key_});
    flow_.transfer_id = "t1";
    flow_.destination = kCore;
    flow_.purpose = "care";
    flow_.version.record.dataset_id = *DatasetId::From(std::string(16, 'p'));
    flow_.version.record.dataset = "planner";
    flow_.version.record.manifest_root = *Digest::From(Digest::kSha256, std::string(32, 'm'));
    flow_.version.identity = *Digest::From(Digest::kSha256, std::string(32, 'v'));
  }
  void TearDown() override {
    granter_.reset();
    law_.reset();
    audit_.reset();
    db_.reset();
    EXPECT_TRUE(files_->RemoveTree(directory_).ok());
  }

  void Install(uint64_t revision, const std::string& without = "") {
    resource::v1::PolicyBundle bundle;
    bundle.set_format(1);
    bundle.set_revision(revision);
    bundle.set_trust_domain("acme");
    rpc::ToProto(clock_.Now(), bundle.mutable_issued_at());
    bundle.set_root(config::EncodePolicyRoot(root_));
    config::Catalog catalog;
    auto parsed = config::ParseYaml(kResources, "resources.yaml");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    for (const auto& l : *parsed) {
      auto& resource = catalog[{config::KindOf(l.resource), l.resource.metadata().name()}];
      resource = l.resource;
      if (without == "offline" && resource.has_sovereignty_policy())
        resource.mutable_sovereignty_policy()->clear_offline();
    }
    config::AddLaw(catalog, &bundle);
    bundle.add_classifier_keys()->set_ed25519(policy_key_.public_key());
    bundle.add_timestamp_keys()->set_ed25519(timestamp_key_.public_key());
    auto* pin = bundle.add_enrolment_keys();
    pin->set_site("factory");
    pin->set_agent("factory");
    pin->set_ed25519(site_key_.public_key());
    LawOffer offer;
    offer.bundle = crypto::SignEnvelope(crypto::kBundleType, bundle.SerializeAsString(), policy_key_);
    resource::v1::Classification c;
    c.set_format(1);
    c.set_dataset_id(std::string(16, 'p'));
    c.set_dataset("planner");
    c.set_home_site("factory");
    c.set_epoch(1);
    c.set_revision(revision);
    offer.classifications = {crypto::SignEnvelope(crypto::kClassificationType, c.SerializeAsString(), policy_key_)};
    ASSERT_TRUE(law_->Install(offer).ok());
    Vouch();
  }
  void Vouch() {
    ASSERT_TRUE(law_->Refresh(config::SignTimestamp(law_->current()->world, clock_.Now(), timestamp_key_)).ok());
  }
  void GoAway() {
    granter_->SetConnected(false);
    clock_.Advance(SelfGranter::kAwayAfter);
  }
  std::string Refusal() {
    auto grant = granter_->Grant(flow_);
    EXPECT_FALSE(grant.ok());
    return grant.ok() ? "" : std::string(grant.status().message());
  }

  os::Files* const files_ = os::Files::System();
  os::FakeClock clock_;
  std::string directory_;
  const crypto::SigningKey policy_key_ = *crypto::SigningKey::Generate();
  const crypto::SigningKey timestamp_key_ = *crypto::SigningKey::Generate();
  const crypto::SigningKey site_key_ = *crypto::SigningKey::Generate();
  config::PolicyRoot root_;
  std::unique_ptr<sql::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<Law> law_;
  std::unique_ptr<SelfGranter> granter_;
  SelfGranter::Flow flow_;
};

TEST_F(SelfGranterTest, WhatItSignsPassesTheCheckOfBothEnds) {
  GoAway();
  auto envelope = granter_->Grant(flow_);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  EXPECT_EQ(envelope->payload_type, crypto::kSelfGrantType);
  auto law = law_->current();
  auto grant = rpc::OpenGrant(*envelope, law->world);
  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_TRUE(grant->self_granted);
  EXPECT_LE(grant->not_after - grant->not_before, policy::kMaxGrantLife);
  for (const bool source : {true, false}) {
    const policy::GrantDecision decision = policy::CheckGrant({.world = &law->world,
                                                               .grant = &*grant,
                                                               .self = source ? kFactory : kCore,
                                                               .peer = source ? kCore : kFactory,
                                                               .self_is_source = source,
                                                               .home_site = "factory",
                                                               .dataset_id = flow_.version.record.dataset_id,
                                                               .version = flow_.version.identity,
                                                               .manifest_root = flow_.version.record.manifest_root,
                                                               .now = clock_.Now(),
                                                               .called_current = law_->called_current()});
    EXPECT_TRUE(decision.permitted) << decision.message;
  }
  auto records = audit_->Read(1, 10);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 1u);
  EXPECT_EQ(records->front().kind, "self-grant-issued");
  EXPECT_EQ(records->front().subject, "planner/t1");
  EXPECT_THAT(records->front().detail, HasSubstr("\"policyAgeSeconds\":15"));
  EXPECT_THAT(records->front().detail, HasSubstr("\"rule\":\"acme/care-anywhere\""));
}

TEST_F(SelfGranterTest, NeverWhileTheCoordinatorIsInReach) {
  granter_->SetConnected(true);
  clock_.Advance(absl::Minutes(10));
  EXPECT_FALSE(granter_->away());
  EXPECT_THAT(Refusal(), HasSubstr("coordinator is in reach"));
  granter_->SetConnected(false);
  clock_.Advance(SelfGranter::kAwayAfter - absl::Seconds(1));
  EXPECT_THAT(Refusal(), HasSubstr("coordinator is in reach"));  // it may be restarting
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(granter_->Grant(flow_).ok());
  granter_->SetConnected(true);
  EXPECT_FALSE(granter_->Grant(flow_).ok());
  EXPECT_EQ(audit_->Read(1, 10)->size(), 1u);  // refusals sign nothing
}

TEST_F(SelfGranterTest, NeverOutOfTheJurisdictionWhateverTheLawPermits) {
  GoAway();
  flow_.destination = kCloud;
  EXPECT_THAT(Refusal(), HasSubstr("lets no site grant itself flows from eu to us"));
  EXPECT_EQ(granter_->Until("cloud"), absl::InfinitePast());
  flow_.destination = "spiffe://acme/region/eu/site/elsewhere/agent/a";
  EXPECT_THAT(Refusal(), HasSubstr("elsewhere is not in the policy"));
}

TEST_F(SelfGranterTest, OnlyWhileTheLawIsYoung) {
  GoAway();
  const absl::Time called = law_->called_current();
  EXPECT_EQ(granter_->Until("core"), called + absl::Hours(1));
  clock_.Advance(absl::Minutes(60));
  EXPECT_THAT(Refusal(), HasSubstr("acme lets sites below eu grant themselves flows for 1h"));
  Vouch();
  EXPECT_TRUE(granter_->Grant(flow_).ok());
}

TEST_F(SelfGranterTest, OnlyWhatTheLawPermitsAndDelegates) {
  GoAway();
  flow_.purpose = "sales";
  EXPECT_FALSE(Refusal().empty());
  flow_.purpose = "care";
  flow_.version.record.dataset = "unknown";
  EXPECT_FALSE(Refusal().empty());
  flow_.version.record.dataset = "planner";
  EXPECT_TRUE(granter_->Grant(flow_).ok());
  Install(2, "offline");
  EXPECT_THAT(Refusal(), HasSubstr("lets no site grant itself"));
}

}  // namespace
}  // namespace bailiwick::agent
