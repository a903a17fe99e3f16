// Fences, orders, receipts and holds as the core sees them.
#include "common/rpc/receipt.h"
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class EvictTest : public CoreTest {
 protected:
  // The cloud holds version 1, which the law lets the home alone keep.
  void HeldAbroad() {
    Fleet();
    record_ = SignedRecord(Record(1), "factory");
    Report("factory", {record_});
    Report("cloud", {record_});
    SayInstalled();
    core_->Reconcile();
  }
  void SayFenced(agent::v1::FenceStage stage, bool holds = true) {
    agent::v1::AgentMessage message;
    auto* report = message.mutable_replica();
    report->set_dataset_id(dataset().str());
    if (holds) {
      auto* version = report->add_versions();
      version->set_number(1);
      version->set_identity(std::string(store::VersionIdentity(record_).view()));
    }
    report->mutable_fence()->set_stage(stage);
    report->mutable_fence()->set_reason("FORBIDDEN");
    report->mutable_fence()->set_rule("acme/eu-stays");
    report->mutable_fence()->set_sentence("rule acme/eu-stays forbids it");
    Say("cloud", message);
    core_->Reconcile();
  }
  crypto::Envelope Receipt(const crypto::SigningKey& key, const std::string& site = "cloud") {
    rpc::ErasureReceipt receipt;
    receipt.receipt_id = std::string(16, 'r');
    receipt.dataset_id = dataset();
    receipt.dataset = "planner";
    receipt.site = site;
    receipt.agent = PeerOf(site, site == "cloud" ? "us" : "eu").uri;
    receipt.versions = {{1, store::VersionIdentity(record_)}};
    receipt.bytes = 1000;
    receipt.everything = true;
    receipt.cause = "unlawful";
    receipt.erased_at = clock_.Now();
    receipt.method = "deleted";
    return crypto::SignEnvelope(crypto::kReceiptType, rpc::EncodeReceipt(receipt), key);
  }
  void SayReceipt(const std::string& site, const crypto::Envelope& envelope) {
    agent::v1::AgentMessage message;
    rpc::ToProto(envelope, message.mutable_receipt());
    Say(site, message);
  }
  std::vector<control::v1::Eviction> Evictions() {
    auto response = core_->Evictions({});
    EXPECT_TRUE(response.ok()) << response.status();
    return {response->evictions().begin(), response->evictions().end()};
  }

  crypto::Envelope record_;
};

TEST_F(EvictTest, FromUnconfirmedToErased) {
  HeldAbroad();
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].state(), "unconfirmed");
  EXPECT_EQ(core_->Replicas("planner", "cloud")->replicas(0).state(), "unconfirmed");
  EXPECT_EQ(sessions_.at("cloud")->Last(Message::kEvict), nullptr);

  SayFenced(agent::v1::FENCE_STAGE_FENCED);
  EXPECT_EQ(Evictions()[0].state(), "fenced");
  EXPECT_EQ(Evictions()[0].rule(), "acme/eu-stays");
  const Message* order = sessions_.at("cloud")->Last(Message::kEvict);
  ASSERT_NE(order, nullptr);
  ASSERT_EQ(order->evict().identities_size(), 1);
  EXPECT_EQ(order->evict().identities(0), store::VersionIdentity(record_).view());
  const size_t sent = sessions_.at("cloud")->sent.size();
  core_->Reconcile();
  EXPECT_EQ(sessions_.at("cloud")->sent.size(), sent) << "told once";
  EXPECT_THAT(EventKinds(), Contains("replica-fenced"));
  EXPECT_THAT(EventKinds(), Contains("eviction-ordered"));

  SayFenced(agent::v1::FENCE_STAGE_ERASED, /*holds=*/false);
  SayReceipt("cloud", Receipt(enrolment_.at("cloud")));
  const Message* ack = sessions_.at("cloud")->Last(Message::kReceiptAck);
  ASSERT_NE(ack, nullptr);
  EXPECT_EQ(ack->receipt_ack().receipt_id(), std::string(16, 'r'));
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].state(), "erased");
  SayReceipt("cloud", Receipt(enrolment_.at("cloud")));  // twice
  EXPECT_EQ(Evictions().size(), 1u);
  Restart();
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].receipt_id(), absl::BytesToHexString(std::string(16, 'r')));
}

TEST_F(EvictTest, AFencedCopyIsNoCopy) {
  HeldAbroad();
  Report("factory", {});  // the home lost it
  SayFenced(agent::v1::FENCE_STAGE_FENCED);
  EXPECT_EQ(Evictions()[0].state(), "last-copy");
  EXPECT_EQ(sessions_.at("cloud")->Last(Message::kEvict), nullptr);
  EXPECT_THAT(EventKinds(), Contains("eviction-last-copy"));
}

TEST_F(EvictTest, NothingIsErasedOnTheWordOfAHomeThatHasSaidNothingSinceTheStart) {
  HeldAbroad();
  Restart();  // what the home has damaged is not stored
  Connect("cloud");
  SayInstalled();
  SayFenced(agent::v1::FENCE_STAGE_FENCED);
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].state(), "last-copy");
  EXPECT_EQ(sessions_.at("cloud")->Last(Message::kEvict), nullptr);
  Connect("factory");
  Report("factory", {record_});
  SayInstalled();
  core_->Reconcile();
  EXPECT_NE(sessions_.at("cloud")->Last(Message::kEvict), nullptr);
}

TEST_F(EvictTest, AFalseReceiptIsNotStored) {
  HeldAbroad();
  SayReceipt("cloud", Receipt(enrolment_.at("core")));
  SayReceipt("cloud", Receipt(enrolment_.at("core"), "core"));  // true, but not the cloud's to give
  EXPECT_EQ(sessions_.at("cloud")->Last(Message::kReceiptAck), nullptr);
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].state(), "unconfirmed");
  EXPECT_THAT(EventKinds(), Contains("receipt-refused"));
}

TEST_F(EvictTest, ASilentSiteStaysUnconfirmedOverARestart) {
  HeldAbroad();
  SayFenced(agent::v1::FENCE_STAGE_FENCED);
  Disconnect("cloud");
  clock_.Advance(absl::Hours(2));
  core_->Reconcile();
  EXPECT_EQ(Evictions()[0].state(), "unconfirmed");
  EXPECT_THAT(Evictions()[0].reason(), HasSubstr("silent for 2h"));
  Restart();
  core_->Reconcile();
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].state(), "unconfirmed");
}

TEST_F(EvictTest, HoldsReachTheSitesThatTheyConcern) {
  HeldAbroad();
  control::v1::HoldRequest request;
  request.set_dataset("planner");
  request.set_number(1);
  request.set_site("cloud");
  EXPECT_TRUE(absl::IsInvalidArgument(core_->Hold("alice", request).status())) << "without a reason";
  request.set_reason("case 4711");
  request.set_number(7);
  EXPECT_TRUE(absl::IsNotFound(core_->Hold("alice", request).status()));
  request.set_number(1);
  auto held = core_->Hold("alice", request);
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(sessions_.at("cloud")->Last(Message::kAssignments)->assignments().holds().holds_size(), 1);
  EXPECT_EQ(sessions_.at("core")->Last(Message::kAssignments)->assignments().holds().holds_size(), 0);
  Restart();
  ASSERT_EQ(core_->Holds("planner")->holds_size(), 1);
  EXPECT_EQ(core_->Holds("planner")->holds(0).hold().reason(), "case 4711");
  control::v1::ReleaseRequest release;
  release.set_dataset("planner");
  release.add_hold_ids("00");
  EXPECT_TRUE(absl::IsNotFound(core_->Release("alice", release).status()));
  release.set_hold_ids(0, absl::BytesToHexString(held->hold().hold_id()));
  EXPECT_EQ(core_->Release("alice", release)->released(), 1u);
  EXPECT_EQ(core_->Holds("")->holds_size(), 0);
  Restart();
  EXPECT_EQ(core_->Holds("")->holds_size(), 0);
}

TEST_F(EvictTest, WhatIsPastItsTimeGoesOnceItLiesElsewhere) {
  Fleet();
  record_ = SignedRecord(Record(1), "factory");
  SayInstalled();
  auto say = [&] {  // core: lawful, its version 1 is past its time
    agent::v1::AgentMessage message;
    auto* report = message.mutable_replica();
    report->set_dataset_id(dataset().str());
    auto* version = report->add_versions();
    version->set_number(1);
    version->set_identity(std::string(store::VersionIdentity(record_).view()));
    report->mutable_fence()->set_stage(agent::v1::FENCE_STAGE_RETIRING);
    report->mutable_fence()->set_rule("acme/a-while");
    report->mutable_fence()->set_sentence("policy acme/a-while lets a version lie here for 1h");
    report->mutable_fence()->add_waiting(1);
    Say("core", message);
    core_->Reconcile();
  };
  Report("factory", {record_});
  Report("factory", {});  // the home's own retention took it
  say();
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].state(), "last-copy");
  EXPECT_EQ(sessions_["core"]->Last(Message::kEvict), nullptr);
  Report("factory", {record_});
  core_->Reconcile();
  ASSERT_EQ(Evictions().size(), 1u);
  EXPECT_EQ(Evictions()[0].state(), "fenced");
  EXPECT_EQ(Evictions()[0].rule(), "acme/a-while");
  const Message* order = sessions_["core"]->Last(Message::kEvict);
  ASSERT_NE(order, nullptr);
  ASSERT_EQ(order->evict().identities_size(), 1);
  EXPECT_EQ(order->evict().identities(0), std::string(store::VersionIdentity(record_).view()));
}

}  // namespace
}  // namespace bailiwick::coordinator
