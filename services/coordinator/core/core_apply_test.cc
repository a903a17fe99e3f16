#include "common/config/obligations.h"
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class ApplyTest : public CoreTest {
 protected:
  // Refused with a sentence that has `words`, and nothing changed.
  void ExpectRefused(const control::v1::ApplyRequest& request, absl::StatusCode code, const std::string& words) {
    const uint64_t generation = core_->Info().generation();
    const uint64_t revision = core_->Info().policy_revision();
    const size_t resources = Catalogued().size();
    const absl::Status status = Apply(request);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_EQ(core_->Info().generation(), generation);
    EXPECT_EQ(core_->Info().policy_revision(), revision);
    EXPECT_EQ(Catalogued().size(), resources);
  }
};

TEST_F(ApplyTest, LawAndDatasetsAreThereAndSurviveARestart) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(absl::StrCat(kDataset, "---", kReplication)).ok());
  const size_t resources = Catalogued().size();
  Restart();
  EXPECT_EQ(core_->Info().policy_revision(), 2u);
  EXPECT_EQ(core_->Info().generation(), 2u);
  EXPECT_EQ(Catalogued().size(), resources);
  ASSERT_EQ(core_->Datasets().datasets_size(), 1);
  EXPECT_EQ(core_->Datasets().datasets(0).name(), "planner");
  EXPECT_EQ(core_->Policy({})->classifications_size(), 1);
  EXPECT_THAT(EventKinds(), Contains("policy-applied"));
}

TEST_F(ApplyTest, TheSameAgainChangesNothing) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::ApplyRequest again = Request(kLaw);
  again.clear_bundle();
  auto response = core_->Apply("spiffe://acme/admin/alice", again);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->generation(), 1u);
  EXPECT_EQ(core_->Info().generation(), 1u);
}

TEST_F(ApplyTest, WhatAConnectedAgentDoesNotEnforce) {
  Fleet();
  constexpr char kGuardrail[] = R"yaml(
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: org}
spec: {tier: guardrail, rules: [{id: a, effect: permit, to: {in: [eu]}}]}
)yaml";
  ExpectRefused(Request(kGuardrail), absl::StatusCode::kFailedPrecondition,
                "policy org asks for guardrail, which the agent of site cloud (build ");
  for (auto& [site, session] : sessions_) {
    ASSERT_TRUE(Hello(session, "127.0.0.1:9", config::EnforcedParts()).ok());
  }
  EXPECT_TRUE(Apply(kGuardrail).ok());
}

TEST_F(ApplyTest, TheEndOfTheLawIsTold) {
  EXPECT_FALSE(core_->Info().has_policy_expires()) << "there is no law";
  ASSERT_TRUE(Apply(kLaw).ok());
  EXPECT_FALSE(core_->Info().has_policy_expires()) << "it has no maxAge";
  control::v1::ApplyRequest request;
  request.set_expected_generation(core_->Info().generation());
  auto bundle = BundleOf(Catalogued(), core_->Info().policy_revision() + 1);
  bundle.mutable_max_age()->set_seconds(7200);
  *request.mutable_bundle() = Signed(crypto::kBundleType, bundle);
  ASSERT_TRUE(Apply(request).ok());
  Restart();
  EXPECT_EQ(core_->Info().policy_expires().seconds(), bundle.issued_at().seconds() + 7200);
}

TEST_F(ApplyTest, SomebodyWasFaster) {
  const control::v1::ApplyRequest early = Request(kLaw);
  ASSERT_TRUE(Apply(kLaw).ok());
  ExpectRefused(early, absl::StatusCode::kAborted, "meanwhile");
}

TEST_F(ApplyTest, LawWithoutASignature) {
  control::v1::ApplyRequest request = Request(kLaw);
  request.clear_bundle();
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "signed policy bundle");
}

TEST_F(ApplyTest, ABundleThatSaysSomethingElse) {
  control::v1::ApplyRequest request = Request(kLaw);
  config::Catalog other;
  for (const auto& r : Parse(kLaw)) other[{config::KindOf(r), r.metadata().name()}] = r;
  other[{"Site", "core"}].mutable_site()->set_region("us");
  *request.mutable_bundle() = Signed(crypto::kBundleType, BundleOf(other, 1));
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "signed policy bundle");
}

TEST_F(ApplyTest, ATamperedBundle) {
  control::v1::ApplyRequest request = Request(kLaw);
  resource::v1::PolicyBundle bundle;
  ASSERT_TRUE(bundle.ParseFromString(request.bundle().payload()));
  bundle.mutable_issued_at()->set_seconds(1);
  request.mutable_bundle()->set_payload(bundle.SerializeAsString());
  ExpectRefused(request, absl::StatusCode::kPermissionDenied, "signed");
}

TEST_F(ApplyTest, AnotherRootThanTheFirst) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::ApplyRequest request = Request(kLaw);
  const crypto::SigningKey usurper = *crypto::SigningKey::Generate();
  resource::v1::PolicyBundle bundle;
  ASSERT_TRUE(bundle.ParseFromString(request.bundle().payload()));
  bundle.set_root(config::EncodePolicyRoot({{usurper.public_key()}, 1}));
  rpc::ToProto(crypto::SignEnvelope(crypto::kBundleType, bundle.SerializeAsString(), usurper),
               request.mutable_bundle());
  ExpectRefused(request, absl::StatusCode::kPermissionDenied, "root");
}

TEST_F(ApplyTest, ARevisionThatIsNotTheNext) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::ApplyRequest request = Request(kLaw);
  for (uint64_t revision : {uint64_t{1}, uint64_t{3}}) {
    *request.mutable_bundle() = Signed(crypto::kBundleType, BundleOf(Catalogued(), revision));
    ExpectRefused(request, absl::StatusCode::kAborted, "revision");
  }
}

TEST_F(ApplyTest, ABundleForAnotherCoordinator) {
  control::v1::ApplyRequest request = Request(kLaw);
  resource::v1::PolicyBundle bundle;
  ASSERT_TRUE(bundle.ParseFromString(request.bundle().payload()));
  bundle.mutable_grant_keys(0)->set_ed25519(crypto::SigningKey::Generate()->public_key());
  *request.mutable_bundle() = Signed(crypto::kBundleType, bundle);
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "grant key");
  bundle.mutable_grant_keys(0)->set_ed25519(grant_key_.public_key());
  bundle.set_trust_domain("other");
  *request.mutable_bundle() = Signed(crypto::kBundleType, bundle);
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "trust domain");
}

TEST_F(ApplyTest, ADatasetWithoutAClassification) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::ApplyRequest request = Request(kDataset);
  request.clear_classifications();
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "classification");
}

TEST_F(ApplyTest, AClassificationOfAStranger) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::ApplyRequest request = Request(kDataset);
  const crypto::SigningKey stranger = *crypto::SigningKey::Generate();
  rpc::ToProto(crypto::SignEnvelope(crypto::kClassificationType, request.classifications(0).payload(), stranger),
               request.mutable_classifications(0));
  ExpectRefused(request, absl::StatusCode::kPermissionDenied, "classifi");
}

TEST_F(ApplyTest, LabelsThatTheClassificationDoesNotHave) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(kDataset).ok());
  control::v1::ApplyRequest request = Request(kDataset);
  request.clear_classifications();
  (*request.mutable_upserts(0)->mutable_metadata()->mutable_labels())["pii"] = "no";
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "labels of dataset planner");
}

TEST_F(ApplyTest, AHomeThatMovesNeedsANewEpoch) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(kDataset).ok());
  control::v1::ApplyRequest request = Request(kDataset);
  request.mutable_upserts(0)->mutable_dataset()->mutable_home()->set_site("core");
  resource::v1::Classification c = Classify(request.upserts(0), 9);
  *request.mutable_classifications(0) = Signed(crypto::kClassificationType, c);
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "epoch");
  c.set_epoch(2);
  *request.mutable_classifications(0) = Signed(crypto::kClassificationType, c);
  EXPECT_TRUE(Apply(request).ok());
  EXPECT_EQ(core_->Datasets().datasets(0).home_site(), "core");
}

TEST_F(ApplyTest, AnOldClassificationIsNotNews) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(kDataset).ok());
  control::v1::ApplyRequest request = Request(kDataset);
  *request.mutable_classifications(0) = Signed(crypto::kClassificationType, Classify(request.upserts(0), 1));
  ExpectRefused(request, absl::StatusCode::kAborted, "newer");
}

TEST_F(ApplyTest, WhatIsInUseIsNotDeleted) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(kDataset).ok());
  for (auto [kind, name] : {std::pair{"Site", "factory"}, std::pair{"Region", "eu"}}) {
    control::v1::ApplyRequest request;
    request.set_expected_generation(core_->Info().generation());
    auto* doomed = request.add_deletes();
    doomed->set_kind(kind);
    doomed->set_name(name);
    config::Catalog after = Catalogued();
    after.erase({kind, name});
    *request.mutable_bundle() = Signed(crypto::kBundleType, BundleOf(after, core_->Info().policy_revision() + 1));
    ExpectRefused(request, absl::StatusCode::kFailedPrecondition,
                  absl::StrCat(name, " cannot be deleted while this names it"));
  }
}

TEST_F(ApplyTest, DeletingWhatIsNotThere) {
  control::v1::ApplyRequest request;
  request.add_deletes()->set_kind("Dataset");
  ExpectRefused(request, absl::StatusCode::kNotFound, "does not exist");
}

TEST_F(ApplyTest, TheDecisionIsInTheAuditLog) {
  ASSERT_TRUE(Apply(kLaw).ok());
  auto records = audit_->Read(1, 10);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 1u);
  EXPECT_EQ(records->at(0).kind, "resources-changed");
  EXPECT_THAT(records->at(0).detail, HasSubstr("spiffe://acme/admin/alice"));
  // With what changed.
  ASSERT_TRUE(Apply("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: audited}\nspec: {}\n").ok());
  records = audit_->Read(2, 10);
  ASSERT_EQ(records->size(), 1u);
  EXPECT_THAT(records->at(0).detail, HasSubstr("\"resource\":\"Region/audited\",\"diff\":\"+apiVersion"));
}

TEST_F(ApplyTest, KeysAndAgesOfTheLawAreRecordedAsTheyChange) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::ApplyRequest request;
  request.set_expected_generation(core_->Info().generation());
  auto bundle = BundleOf(Catalogued(), core_->Info().policy_revision() + 1);
  bundle.mutable_max_age()->set_seconds(3600);
  auto* pinned = bundle.add_enrolment_keys();
  pinned->set_site("core");
  pinned->set_agent("core");
  pinned->set_ed25519(std::string(32, '\x11'));
  *request.mutable_bundle() = Signed(crypto::kBundleType, bundle);
  ASSERT_TRUE(core_->Apply("spiffe://acme/admin/alice", request).ok());
  auto records = audit_->Read(2, 10);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 1u);
  EXPECT_THAT(records->at(0).detail, HasSubstr("\"resource\":\"PolicyBundle/keys\",\"diff\":\"+agent of core 1111"));
  EXPECT_THAT(records->at(0).detail, HasSubstr("+maxAge 3600s"));
}

TEST_F(ApplyTest, ABigChangeIsRecordedInPartsAndWhole) {
  ASSERT_TRUE(Apply(kLaw).ok());
  std::string yaml;
  constexpr int kRegions = 2000;
  for (int i = 0; i < kRegions; ++i) {
    absl::StrAppend(&yaml, "---\napiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: r", i, "}\nspec: {}\n");
  }
  ASSERT_TRUE(Apply(yaml).ok());
  auto records = audit_->Read(2, 100);
  ASSERT_TRUE(records.ok());
  ASSERT_GT(records->size(), 1u);
  std::string all;
  for (const auto& record : *records) all += record.detail;
  for (int i = 0; i < kRegions; ++i) {
    ASSERT_THAT(all, HasSubstr(absl::StrCat("\"resource\":\"Region/r", i, "\""))) << i;
  }
  EXPECT_THAT(records->back().detail,
              HasSubstr(absl::StrCat("\"part\":", records->size(), ",\"parts\":", records->size())));
}

TEST_F(ApplyTest, AnAgentWhoseSiteMovedLosesItsSession) {
  Fleet();
  control::v1::ApplyRequest request =
      Request("apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: core}\nspec: {region: us}\n");
  ASSERT_TRUE(Apply(request).ok());
  ASSERT_TRUE(sessions_.at("core")->closed.has_value());
  EXPECT_TRUE(absl::IsPermissionDenied(*sessions_.at("core")->closed));
  EXPECT_FALSE(sessions_.at("factory")->closed.has_value());
}

TEST_F(ApplyTest, FamiliesHaveAStreamForEverySite) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(R"(
apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: telemetry, labels: {class: model}}
spec: {home: {siteSelector: {matchLabels: {tier: edge}}, path: /data/telemetry}}
)")
                  .ok());
  ASSERT_EQ(core_->Datasets().datasets_size(), 1);
  EXPECT_EQ(core_->Datasets().datasets(0).name(), "telemetry@factory");
  EXPECT_EQ(core_->Datasets().datasets(0).family(), "telemetry");
  ASSERT_TRUE(
      Apply("apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: robot, labels: {tier: edge}}\nspec: {region: eu}\n")
          .ok());
  ASSERT_EQ(core_->Datasets().datasets_size(), 2);
  EXPECT_EQ(core_->Datasets().datasets(1).name(), "telemetry@robot");
  EXPECT_TRUE(absl::IsNotFound(core_->Why("telemetry", "core").status()));
  ASSERT_TRUE(
      Apply("apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: robot, labels: {tier: lab}}\nspec: {region: eu}\n")
          .ok());
  EXPECT_EQ(core_->Datasets().datasets_size(), 1);
  EXPECT_THAT(EventKinds(), Contains("streams-ended")) << "nobody would look for what is in no list any more";
}

TEST_F(ApplyTest, TheNumberOfCopiesThatBecomeUnlawfulIsCountedWhenItIsApplied) {
  Fleet();
  const crypto::Envelope record = SignedRecord(Record(1), "factory");
  Report("factory", {record});
  control::v1::ApplyRequest tighter = Request(R"(
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules:
  - {id: abroad, effect: permit, from: {in: [eu]}, to: {in: [us]}}
)");
  tighter.set_expected_evictions(0);  // as counted a moment ago: the home's own does not go
  Report("core", {record});           // and this one came since
  const absl::Status refused = Apply(tighter);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("by now the change makes 1 copy unlawful, and 0 were expected"));
  EXPECT_EQ(core_->Info().policy_revision(), 2u) << "nothing was applied";
  tighter.set_expected_evictions(1);
  const absl::Status applied = Apply(tighter);
  EXPECT_TRUE(applied.ok()) << applied;
  EXPECT_EQ(core_->Info().policy_revision(), 3u);
}

}  // namespace
}  // namespace bailiwick::coordinator
