// Fences, orders, receipts and holds as the core sees them.
#include "common/rpc/receipt.h"
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
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
  static std::string IdOf(int n) { return absl::StrCat("receipt-", absl::Dec(n, absl::kZeroPad8)); }  // 16 bytes
  crypto::Envelope Receipt(const crypto::SigningKey& key, const std::string& site = "cloud",
                           const std::string& id = std::string(16, 'r'), const std::string& name = "planner",
                           VersionNumber versions = 1) {
    rpc::ErasureReceipt receipt;
    receipt.receipt_id = id;
    receipt.dataset_id = dataset();
    receipt.dataset = name;
    receipt.site = site;
    receipt.agent = PeerOf(site, site == "cloud" ? "us" : "eu").uri;
    for (VersionNumber n = 1; n <= versions; ++n) receipt.versions.push_back({n, store::VersionIdentity(record_)});
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
  // Receipts by id, newest first, "running" for what is no receipt.
  std::vector<std::string> Listed(const std::string& name, const std::string& site) {
    control::v1::ListEvictionsRequest request;
    request.set_dataset(name);
    request.set_site(site);
    auto response = core_->Evictions(request);
    EXPECT_TRUE(response.ok()) << response.status();
    std::vector<std::string> ids;
    if (!response.ok()) return ids;
    for (const auto& e : response->evictions()) {
      ids.push_back(e.receipt_id().empty() ? "running" : absl::HexStringToBytes(e.receipt_id()));
    }
    return ids;
  }
  absl::StatusOr<control::v1::ListEvictionsResponse> ByReceipt(const std::string& hex, const std::string& site = "") {
    control::v1::ListEvictionsRequest request;
    request.set_receipt_id(hex);
    request.set_site(site);
    return core_->Evictions(request);
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
  Connect("cloud");
  SayReceipt("cloud", Receipt(enrolment_.at("cloud")));  // it did not hear that it was stored
  EXPECT_NE(sessions_.at("cloud")->Last(Message::kReceiptAck), nullptr);
  EXPECT_EQ(Evictions().size(), 1u);
  const std::vector<std::string> kinds = EventKinds();
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), "replica-erased"), 1);
}

TEST_F(EvictTest, WhatWasErasedIsListedPageByPage) {
  HeldAbroad();
  constexpr int kMany = 60;
  std::vector<std::string> expected;
  for (int n = 0; n < kMany; ++n) {
    SayReceipt("cloud", Receipt(enrolment_.at("cloud"), "cloud", IdOf(n), "planner", /*versions=*/2000));
    expected.insert(expected.begin(), absl::BytesToHexString(IdOf(n)));
  }
  Restart();
  core_->Reconcile();
  std::vector<std::string> listed;
  size_t bytes = 0;
  control::v1::ListEvictionsRequest request;
  do {
    auto page = core_->Evictions(request);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LT(page->ByteSizeLong(), size_t{2 << 20});
    bytes += page->ByteSizeLong();
    for (const auto& e : page->evictions()) listed.push_back(e.receipt_id());
    ASSERT_TRUE(request.before() == 0 || page->next() < request.before());
    request.set_before(page->next());
  } while (request.before() != 0);
  EXPECT_GT(bytes, size_t{4 << 20});  // more than gRPC lets an answer have
  expected.insert(expected.begin(), "");
  EXPECT_EQ(listed, expected) << "what goes on is on the first page alone";

  request.set_limit(3);
  auto page = core_->Evictions(request);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->evictions_size(), 4);
  EXPECT_EQ(page->evictions(0).state(), "unconfirmed");
  EXPECT_EQ(page->evictions(3).receipt_id(), expected[3]);
  EXPECT_EQ(page->evictions(3).versions_size(), 2000);
  request.set_before(page->next());
  page = core_->Evictions(request);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->evictions_size(), 3);
  EXPECT_EQ(page->evictions(0).receipt_id(), expected[4]);
  EXPECT_NE(page->next(), 0u);
}

TEST_F(EvictTest, WhatWasErasedIsFoundByDatasetSiteAndReceipt) {
  HeldAbroad();
  SayReceipt("cloud", Receipt(enrolment_.at("cloud"), "cloud", IdOf(1)));
  SayReceipt("core", Receipt(enrolment_.at("core"), "core", IdOf(2)));
  SayReceipt("core", Receipt(enrolment_.at("core"), "core", IdOf(3), "as it was called"));
  for (const bool again : {false, true}) {
    if (again) Restart();
    core_->Reconcile();
    EXPECT_THAT(Listed("", ""), ElementsAre("running", IdOf(3), IdOf(2), IdOf(1)));
    EXPECT_THAT(Listed("planner", ""), ElementsAre("running", IdOf(2), IdOf(1)));
    EXPECT_THAT(Listed("", "core"), ElementsAre(IdOf(3), IdOf(2)));
    EXPECT_THAT(Listed("planner", "core"), ElementsAre(IdOf(2)));
    EXPECT_THAT(Listed("as it was called", ""), ElementsAre(IdOf(3)));
    EXPECT_THAT(Listed("planner", "factory"), ElementsAre());
    control::v1::ListEvictionsRequest mistyped;
    mistyped.set_dataset("planer");
    EXPECT_TRUE(absl::IsNotFound(core_->Evictions(mistyped).status()));
    auto found = ByReceipt(absl::BytesToHexString(IdOf(3)));
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->evictions_size(), 1);
    EXPECT_EQ(found->evictions(0).dataset(), "as it was called");
    EXPECT_TRUE(found->evictions(0).has_receipt());
    EXPECT_TRUE(absl::IsNotFound(ByReceipt(absl::BytesToHexString(IdOf(3)), "cloud").status()));
    EXPECT_TRUE(absl::IsNotFound(ByReceipt(absl::BytesToHexString(IdOf(4))).status()));
    EXPECT_TRUE(absl::IsNotFound(ByReceipt("no receipt").status()));
  }
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
