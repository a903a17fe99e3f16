#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMoreLaw[] = R"(
apiVersion: bailiwick/v1
kind: Region
metadata: {name: ap}
spec: {}
)";

// A root of two keys that must both sign.
class PendingTest : public CoreTest {
 protected:
  void SetUp() override {
    CoreTest::SetUp();
    ASSERT_TRUE(Send(Both(kLaw)).ok());
  }
  control::v1::ApplyRequest One(const std::string& yaml) {
    control::v1::ApplyRequest request = Request(yaml);
    resource::v1::PolicyBundle bundle;
    EXPECT_TRUE(bundle.ParseFromString(request.bundle().payload()));
    bundle.set_root(root_);
    bundle.clear_classifier_keys();
    *request.mutable_bundle() = Signed(crypto::kBundleType, bundle);
    return request;
  }
  static void AddSignature(types::v1::Envelope* envelope, const crypto::SigningKey& key) {
    crypto::Envelope e = rpc::FromProto(*envelope);
    crypto::AddSignature(e, key);
    rpc::ToProto(e, envelope);
  }
  void Cosign(control::v1::ApplyRequest* request, const crypto::SigningKey& key) {
    if (request->has_bundle()) AddSignature(request->mutable_bundle(), key);
    for (auto& c : *request->mutable_classifications()) AddSignature(&c, key);
    if (request->roots_size() != 0) AddSignature(request->mutable_roots(request->roots_size() - 1), key);
  }
  control::v1::ApplyRequest Both(const std::string& yaml) {
    control::v1::ApplyRequest request = One(yaml);
    Cosign(&request, second_);
    return request;
  }
  absl::StatusOr<control::v1::ApplyResponse> Send(const control::v1::ApplyRequest& request) {
    return core_->Apply("spiffe://acme/admin/alice", request);
  }

  const crypto::SigningKey second_ = *crypto::SigningKey::Generate();
  const std::string root_ = config::EncodePolicyRoot({{policy_key_.public_key(), second_.public_key()}, 2, 1});
};

TEST_F(PendingTest, NothingIsInEffectUntilTheLastSignature) {
  control::v1::ApplyRequest request = One(absl::StrCat(kMoreLaw, "---", kDataset));
  auto first = Send(request);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(first->has_pending());
  EXPECT_THAT(first->pending().missing(), HasSubstr("the policy bundle has 1 of 2 signatures"));
  EXPECT_THAT(first->pending().missing(), HasSubstr("a classification has 1 of 2 signatures"));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(core_->Info().policy_revision(), 1u);
    EXPECT_EQ(core_->Info().generation(), 1u);
    EXPECT_EQ(Catalogued().count({"Region", "ap"}), 0u);
    EXPECT_EQ(core_->Datasets().datasets_size(), 0);
    ASSERT_TRUE(core_->GetPending().has_pending());
    EXPECT_EQ(core_->GetPending().pending().policy_revision(), 2u);
    EXPECT_EQ(core_->GetPending().pending().signed_key_ids_size(), 1);
    Restart();
  }
  ASSERT_TRUE(Send(request)->has_pending()) << "the same signature again is one signature";
  // What waits goes on waiting beside changes that need no signature.
  control::v1::ApplyRequest unsigned_change;
  unsigned_change.set_expected_generation(1);
  *unsigned_change.add_upserts() = Parse(R"(
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: core-only}
spec: {select: {}, to: [{site: core}]}
)")[0];
  ASSERT_TRUE(Send(unsigned_change).ok());
  control::v1::ApplyRequest approval = core_->GetPending().request();
  Cosign(&approval, second_);
  auto applied = Send(approval);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_FALSE(applied->has_pending());
  EXPECT_EQ(applied->policy_revision(), 2u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Catalogued().count({"Region", "ap"}), 1u);
    EXPECT_EQ(core_->Datasets().datasets_size(), 1);
    EXPECT_FALSE(core_->GetPending().has_pending());
    Restart();
  }
}

TEST_F(PendingTest, SignaturesOfApproversThatDidNotSeeEachOtherAddUp) {
  const control::v1::ApplyRequest none = One(kMoreLaw);
  control::v1::ApplyRequest by_second = none;
  by_second.mutable_bundle()->clear_signatures();
  EXPECT_TRUE(absl::IsPermissionDenied(Send(by_second).status())) << "unsigned is not pending but refused";
  Cosign(&by_second, second_);
  ASSERT_TRUE(Send(none)->has_pending());
  auto applied = Send(by_second);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_FALSE(applied->has_pending());
  EXPECT_EQ(core_->Info().policy_revision(), 2u);
}

TEST_F(PendingTest, OneAtATimeAndRejected) {
  ASSERT_TRUE(Send(One(kMoreLaw))->has_pending());
  const control::v1::ApplyRequest other =
      One("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: af}\nspec: {}\n");
  EXPECT_TRUE(absl::IsFailedPrecondition(Send(other).status()));
  control::v1::RejectPendingRequest reject;
  reject.set_id(std::string(32, 'x'));
  EXPECT_TRUE(absl::IsNotFound(core_->RejectPending("bob", reject).status()));
  reject.set_id(core_->GetPending().pending().id());
  ASSERT_TRUE(core_->RejectPending("bob", reject).ok());
  Restart();
  EXPECT_FALSE(core_->GetPending().has_pending());
  EXPECT_TRUE(Send(other)->has_pending());
  // A law that all have signed goes ahead; what waited was for the law before.
  auto ahead = Send(Both(kMoreLaw));
  ASSERT_TRUE(ahead.ok()) << ahead.status();
  EXPECT_FALSE(ahead->outdated_by().empty()) << "and whoever sends it ahead hears that";
  EXPECT_FALSE(core_->GetPending().has_pending());
  EXPECT_THAT(EventKinds(), Contains("policy-change-outdated"));
}

TEST_F(PendingTest, ARootIsReplacedByOldAndNewKeysTogether) {
  const crypto::SigningKey third = *crypto::SigningKey::Generate();
  const std::string next = config::EncodePolicyRoot({{second_.public_key(), third.public_key()}, 2, 2});
  auto rotation = [&](const std::string& root) {
    control::v1::ApplyRequest request = One(kMoreLaw);
    resource::v1::PolicyBundle bundle;
    EXPECT_TRUE(bundle.ParseFromString(request.bundle().payload()));
    bundle.set_root(root);
    request.mutable_bundle()->clear_signatures();
    request.mutable_bundle()->set_payload(bundle.SerializeAsString());
    rpc::ToProto(crypto::Envelope{std::string(crypto::kRootType), root_, {}}, request.add_roots());
    rpc::ToProto(crypto::Envelope{std::string(crypto::kRootType), root, {}}, request.add_roots());
    return request;
  };
  control::v1::ApplyRequest stranger = rotation(next);
  Cosign(&stranger, third);
  EXPECT_TRUE(absl::IsPermissionDenied(Send(stranger).status())) << "new keys alone do not even begin";
  control::v1::ApplyRequest request = rotation(next);
  Cosign(&request, policy_key_);
  ASSERT_TRUE(Send(request)->has_pending());
  Cosign(&request, third);
  auto two = Send(request);
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_THAT(two->pending().missing(), HasSubstr("by keys of the old one, has 1 of 2"));
  Cosign(&request, second_);
  auto applied = Send(request);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_FALSE(applied->has_pending());
  Restart();
  EXPECT_EQ(core_->Info().policy_revision(), 2u);
  auto policy = core_->Policy({});
  ASSERT_EQ(policy->roots_size(), 2);
  config::RootChain chain;
  for (const auto& root : policy->roots()) chain.push_back(rpc::FromProto(root));
  const std::string pinned(crypto::Sha256(root_).view());
  EXPECT_TRUE(config::OpenBundle(rpc::FromProto(policy->bundle()), pinned, chain).ok());
  EXPECT_FALSE(Send(Both(kMoreLaw)).ok()) << "the old root signs no more";
}

class TimestampTest : public CoreTest {};

TEST_F(TimestampTest, SessionsGetAFreshOneNowAndAgain) {
  Fleet();
  FakeSession& core = *sessions_.at("core");
  const auto* offer = core.Last(Message::kPolicy);
  ASSERT_NE(offer, nullptr);
  auto bundle = config::OpenUnsigned(rpc::FromProto(offer->policy().bundle()));
  ASSERT_TRUE(bundle.ok());
  auto first = config::OpenTimestamp(rpc::FromProto(offer->policy().timestamp()), bundle->world);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->issued_at, clock_.Now());
  core_->Reconcile();
  clock_.Advance(absl::Minutes(20));
  for (const char* site : {"factory", "core", "cloud"}) Say(site, {});
  core_->Reconcile();
  const auto* pushed = core.Last(Message::kPolicyTimestamp);
  ASSERT_NE(pushed, nullptr);
  auto next = config::OpenTimestamp(rpc::FromProto(pushed->policy_timestamp()), bundle->world);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->issued_at, clock_.Now());
}

TEST_F(TimestampTest, ABundleFromTheFutureIsRefused) {
  clock_.Advance(absl::Minutes(5));
  const auto request = Request(kLaw);
  clock_.SetWall(clock_.Now() - absl::Minutes(5));
  const absl::Status status = Apply(request);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("5m ahead"));
}

TEST_F(TimestampTest, AStaleSiteIsSeenAndSaid) {
  Fleet();
  agent::v1::AgentMessage message;
  message.mutable_policy()->set_revision(core_->Info().policy_revision());
  message.mutable_policy()->set_stale("the coordinator last said a week ago");
  Say("core", message);
  std::string stale;
  const auto sites = core_->Sites();
  for (const auto& site : sites.sites()) stale += site.policy_stale();
  EXPECT_EQ(stale, "the coordinator last said a week ago");
  EXPECT_THAT(EventKinds(), Contains("policy-stale"));
}

TEST_F(TimestampTest, ThousandsOfClassificationsComeInParts) {
  std::string yaml;
  constexpr int kDatasets = 6000;
  for (int i = 0; i < kDatasets; ++i) {
    absl::StrAppend(&yaml, "---\napiVersion: bailiwick/v1\nkind: Dataset\nmetadata: {name: d", i,
                    ", labels: {class: \"", std::string(60, 'x'), "\", note: \"", std::string(60, 'y'), "\", more: \"",
                    std::string(60, 'z'), "\"}}\nspec: {home: {site: factory, path: /d/", i, "}}\n");
  }
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(yaml).ok());
  FakeSession& session = Connect("core");
  size_t records = 0, largest = 0;
  int offers = 0;
  for (const auto& message : session.sent) {
    if (!message.has_policy()) continue;
    EXPECT_EQ(message.policy().has_bundle(), offers == 0);
    ++offers;
    records += message.policy().classifications_size();
    largest = std::max(largest, message.ByteSizeLong());
  }
  EXPECT_EQ(records, static_cast<size_t>(kDatasets));
  EXPECT_GT(offers, 2);
  EXPECT_LT(largest, 2u << 20);
  control::v1::GetPolicyRequest request;
  size_t read = 0;
  for (bool more = true; more;) {
    request.set_skip(static_cast<uint32_t>(read));
    auto policy = core_->Policy(request);
    ASSERT_TRUE(policy.ok());
    EXPECT_LT(policy->ByteSizeLong(), 2u << 20);
    read += policy->classifications_size();
    more = policy->more();
  }
  EXPECT_EQ(read, static_cast<size_t>(kDatasets));
  // A change of one of them is told as one.
  session.sent.clear();
  control::v1::ApplyRequest one;
  one.set_expected_generation(core_->Info().generation());
  auto changed = Parse(
      "apiVersion: bailiwick/v1\nkind: Dataset\nmetadata: {name: d7, labels: {class: other}}\n"
      "spec: {home: {site: factory, path: /d/7}}\n")[0];
  *one.add_upserts() = changed;
  *one.add_classifications() = Signed(crypto::kClassificationType, Classify(changed, 99));
  ASSERT_TRUE(Apply(one).ok());
  ASSERT_NE(session.Last(Message::kPolicy), nullptr);
  EXPECT_EQ(session.Last(Message::kPolicy)->policy().classifications_size(), 1);
}

TEST_F(TimestampTest, HistoryKeepsEveryRevisionAndWhoMadeIt) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(kMoreLaw).ok());
  Restart();
  auto history = core_->Policies({});
  ASSERT_TRUE(history.ok()) << history.status();
  ASSERT_EQ(history->policies_size(), 2);
  EXPECT_EQ(history->policies(0).revision(), 2u);
  EXPECT_THAT(history->policies(0).summary(), HasSubstr("Region/ap"));
  EXPECT_EQ(history->policies(1).by(), "spiffe://acme/admin/alice");
  control::v1::GetPolicyRequest request;
  request.set_revision(1);
  auto first = core_->Policy(request);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(crypto::Sha256(first->bundle().payload()).view(), history->policies(1).sha256());
  request.set_revision(9);
  EXPECT_TRUE(absl::IsNotFound(core_->Policy(request).status()));
}

}  // namespace
}  // namespace bailiwick::coordinator
