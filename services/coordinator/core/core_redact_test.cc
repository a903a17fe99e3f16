// Orders to redact as the core sees them: who may give one, who is told, what became of it.
#include "common/rpc/receipt.h"
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Contains;

class RedactTest : public CoreTest {
 protected:
  void SetUp() override {
    CoreTest::SetUp();
    Fleet();
    const crypto::Envelope record = SignedRecord(Record(1), "factory");
    Report("factory", {record});
    Report("core", {record});
    SayInstalled();
    core_->Reconcile();
  }
  crypto::Envelope Order(const crypto::SigningKey& key, const std::string& id = std::string(16, 'o')) {
    rpc::RedactionOrder order;
    order.order_id = id;
    order.trust_domain = core_->Info().trust_domain();
    order.dataset_id = dataset();
    order.dataset = "planner";
    Digest digest;
    digest.algorithm = Digest::kSha256;
    digest.bytes.fill(3);
    order.chunks = {digest};
    order.reason = "request 12";
    order.issued_at = clock_.Now();
    return crypto::SignEnvelope(crypto::kRedactionType, rpc::EncodeRedaction(order), key);
  }
  // From now on the root wants a second signature.
  void WantTwo(const crypto::SigningKey& second) {
    control::v1::ApplyRequest request = Request(kLaw);
    const std::string before = config::EncodePolicyRoot({{policy_key_.public_key()}, 1});
    const std::string next = config::EncodePolicyRoot({{policy_key_.public_key(), second.public_key()}, 2, 2});
    resource::v1::PolicyBundle bundle;
    ASSERT_TRUE(bundle.ParseFromString(request.bundle().payload()));
    bundle.set_root(next);
    crypto::Envelope law = crypto::SignEnvelope(crypto::kBundleType, bundle.SerializeAsString(), policy_key_);
    crypto::Envelope root = crypto::SignEnvelope(crypto::kRootType, next, policy_key_);
    for (crypto::Envelope* envelope : {&law, &root}) crypto::AddSignature(*envelope, second);
    rpc::ToProto(law, request.mutable_bundle());
    rpc::ToProto(crypto::Envelope{std::string(crypto::kRootType), before, {}}, request.add_roots());
    rpc::ToProto(root, request.add_roots());
    const absl::Status applied = Apply(request);
    ASSERT_TRUE(applied.ok()) << applied;
    SayInstalled();
    core_->Reconcile();
  }
  absl::Status Redact(const crypto::Envelope& envelope) {
    control::v1::RedactRequest request;
    rpc::ToProto(envelope, request.mutable_order());
    return core_->Redact("admin", request).status();
  }
  std::vector<control::v1::Redaction> All() {
    auto response = core_->Redactions({});
    EXPECT_TRUE(response.ok()) << response.status();
    return {response->redactions().begin(), response->redactions().end()};
  }
  std::map<std::string, std::string> States() {
    std::map<std::string, std::string> states;
    if (All().size() != 1) return states;
    const control::v1::Redaction redaction = All()[0];
    for (const auto& site : redaction.sites()) states[site.site()] = site.state();
    return states;
  }
  void SayReceipt(const std::string& site) {
    rpc::ErasureReceipt receipt;
    receipt.receipt_id = std::string(16, site[0]);
    receipt.dataset_id = dataset();
    receipt.dataset = "planner";
    receipt.site = site;
    receipt.agent = PeerOf(site, "eu").uri;
    receipt.cause = "redaction";
    receipt.erased_at = clock_.Now();
    receipt.method = "deleted";
    receipt.order_id = std::string(16, 'o');
    agent::v1::AgentMessage message;
    rpc::ToProto(crypto::SignEnvelope(crypto::kReceiptType, rpc::EncodeReceipt(receipt), enrolment_.at(site)),
                 message.mutable_receipt());
    Say(site, message);
  }
};

TEST_F(RedactTest, OnlyTheRootsKeysGiveOne) {
  EXPECT_TRUE(absl::IsPermissionDenied(Redact(Order(*crypto::SigningKey::Generate()))));
  EXPECT_TRUE(absl::IsPermissionDenied(Redact(Order(enrolment_.at("core")))));
  EXPECT_TRUE(All().empty());
  EXPECT_EQ(sessions_.at("core")->Last(Message::kRedactions), nullptr);
  ASSERT_TRUE(Redact(Order(policy_key_)).ok());
  crypto::Envelope other = Order(policy_key_);
  clock_.Advance(absl::Seconds(5));
  other = Order(policy_key_);
  EXPECT_TRUE(absl::IsInvalidArgument(Redact(other))) << "the same id for something else";
}

TEST_F(RedactTest, ToldToWhoHasAPartUntilEachHasAReceipt) {
  ASSERT_TRUE(Redact(Order(policy_key_)).ok());
  const Message* told = sessions_.at("core")->Last(Message::kRedactions);
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->redactions().orders_size(), 1);
  const size_t sent = sessions_.at("core")->sent.size();
  ASSERT_TRUE(Redact(Order(policy_key_)).ok());
  core_->Reconcile();
  EXPECT_EQ(sessions_.at("core")->sent.size(), sent) << "told once";
  EXPECT_THAT(EventKinds(), Contains("redaction-ordered"));
  EXPECT_EQ(States().at("factory"), "pending");
  EXPECT_EQ(States().at("core"), "pending");
  SayReceipt("factory");
  EXPECT_EQ(States().at("factory"), "done");
  EXPECT_EQ(All()[0].state(), "pending");
  EXPECT_TRUE(core_->Evictions({})->evictions().empty()) << "an eviction it is not";
  Disconnect("core");
  EXPECT_EQ(States().at("core"), "unconfirmed");
  Restart();
  core_->Reconcile();
  EXPECT_EQ(States().at("factory"), "done");
  EXPECT_EQ(States().at("core"), "unconfirmed");
  EXPECT_TRUE(core_->Evictions({})->evictions().empty()) << "nor after a restart";
  const std::string receipt = absl::BytesToHexString(std::string(16, 'f'));
  control::v1::ListRedactionsRequest one;
  one.set_order_id(absl::BytesToHexString(std::string(16, 'o')));
  auto shown = core_->Redactions(one);
  ASSERT_TRUE(shown.ok()) << shown.status();
  for (const auto& site : shown->redactions(0).sites()) {
    EXPECT_EQ(site.receipt_id(), site.site() == "factory" ? receipt : "");
    EXPECT_EQ(site.has_receipt(), site.site() == "factory");
  }
  control::v1::ListEvictionsRequest by_receipt;
  by_receipt.set_receipt_id(receipt);
  auto found = core_->Evictions(by_receipt);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->evictions(0).cause(), "redaction");
}

TEST_F(RedactTest, AnOrderThatLacksASignatureIsCountedUntilItHasIt) {
  EXPECT_EQ(core_->WaitingRedactions(), 0u);
  ASSERT_TRUE(Redact(Order(policy_key_)).ok());
  EXPECT_EQ(core_->WaitingRedactions(), 0u) << "one signature is enough";
  SayReceipt("factory");
  const crypto::SigningKey second = *crypto::SigningKey::Generate();
  WantTwo(second);
  EXPECT_EQ(All()[0].state(), "waiting");
  EXPECT_EQ(core_->WaitingRedactions(), 1u) << "core has not erased it yet";
  SayReceipt("core");
  EXPECT_EQ(All()[0].state(), "done");
  EXPECT_EQ(core_->WaitingRedactions(), 0u) << "every site has carried it out";
  const std::string id(16, 'p');
  crypto::Envelope order = Order(policy_key_, id);
  ASSERT_TRUE(Redact(order).ok());
  EXPECT_EQ(core_->WaitingRedactions(), 1u);
  Restart();
  EXPECT_EQ(core_->WaitingRedactions(), 1u) << "known after a restart";
  crypto::AddSignature(order, second);
  ASSERT_TRUE(Redact(order).ok());
  EXPECT_EQ(core_->WaitingRedactions(), 0u);
}

}  // namespace
}  // namespace bailiwick::coordinator
