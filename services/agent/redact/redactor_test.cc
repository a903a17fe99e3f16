// Orders that must not be followed; power loss at every file operation of one that is: it ends in one receipt, nothing
// of what it names is left in any pack, and all else reads as before.
#include "services/agent/redact/redactor.h"

#include "common/rpc/codec.h"
#include "services/agent/evict/erasing_fixture.h"

namespace bailiwick::agent {
namespace {

constexpr VersionNumber kVersions = 3, kRedacted = 2;

class RedactorTest : public ErasingFixture {
 protected:
  RedactorTest() {
    world_.trust_domain = "acme";
    world_.root_keys = {root_.public_key()};
  }
  void Close() override {
    redactor_ = nullptr;
    ErasingFixture::Close();
  }
  absl::Status Open() {
    std::vector<std::string> migrations = store::VersionCatalog::Migrations();
    for (auto& m : Evictor::Migrations()) migrations.push_back(m);
    migrations.push_back(store::VersionCatalog::ProvenanceMigration());
    migrations.push_back(Redactor::Migration());
    BW_RETURN_IF_ERROR(OpenRecords(std::move(migrations)));
    const auto book_of = [book = dataset_.redactions](DatasetId) { return book; };
    BW_RETURN_IF_ERROR(Redactor::LoadBooks(db_.get(), book_of));
    BW_RETURN_IF_ERROR(OpenStore());
    redactor_ = std::make_unique<Redactor>(Parts(), book_of);
    return redactor_->Load();
  }
  absl::Status Fill() {
    BW_RETURN_IF_ERROR(Open());
    return AddVersions(kVersions);
  }

  rpc::RedactionOrder Order() const {
    rpc::RedactionOrder order;
    order.order_id = std::string(16, 'o');
    order.trust_domain = "acme";
    order.dataset_id = id_;
    order.dataset = "planner";
    order.chunks = {store::ChunkDigest(kRedacted)};
    order.reason = "request 12";
    order.issued_at = clock_.Now();
    return order;
  }
  crypto::Envelope Signed(const rpc::RedactionOrder& order, const crypto::SigningKey& key) const {
    return crypto::SignEnvelope(crypto::kRedactionType, rpc::EncodeRedaction(order), key);
  }
  absl::Status CarryOut(const std::string& locked = "") {
    return redactor_->CarryOut(
        dataset_, world_,
        [this] {
          ++trees_;
          return absl::OkStatus();
        },
        [&](const store::Redaction&, bool) -> absl::StatusOr<std::string> { return locked; }, [this] { ++begun_; });
  }
  absl::Status Redact() {
    BW_RETURN_IF_ERROR(redactor_->Take(Signed(Order(), root_), world_).status());
    return CarryOut();
  }

  size_t Copies(VersionNumber n) {
    size_t copies = 0;
    auto names = hasty_.List(dataset_.directory + "/packs");
    if (!names.ok()) return 0;
    for (const std::string& name : *names) {
      auto bytes = os::ReadFile(&hasty_, dataset_.directory + "/packs/" + name, 1 << 30);
      copies += bytes.ok() && bytes->find(store::ChunkBytes(n).substr(200, 64)) != std::string::npos;
    }
    return copies;
  }
  void ExpectOthers() {
    for (VersionNumber n : {1, 3}) EXPECT_EQ(*dataset_.store->ReadRaw(store::ChunkDigest(n)), store::ChunkBytes(n));
    EXPECT_EQ(catalog_->List(id_)->size(), kVersions) << "versions are what they were";
  }

  const crypto::SigningKey root_ = *crypto::SigningKey::Generate();
  std::unique_ptr<Redactor> redactor_;
  int trees_ = 0;
  int begun_ = 0;  // to erase
};

TEST_F(RedactorTest, WhatIsNotSignedByTheRootChangesNothing) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  rpc::RedactionOrder other = Order();
  other.trust_domain = "elsewhere";
  for (const auto& envelope : {Signed(Order(), key_), Signed(other, root_)}) {
    EXPECT_TRUE(absl::IsPermissionDenied(redactor_->Take(envelope, world_).status()));
  }
  EXPECT_FALSE(redactor_->Pending(id_));
  EXPECT_TRUE(dataset_.redactions->empty());
  ASSERT_TRUE(CarryOut().ok());
  EXPECT_EQ(trees_, 0);
  EXPECT_EQ(Copies(kRedacted), 1u);
  EXPECT_TRUE(dataset_.store->Read(store::ChunkDigest(kRedacted)).ok());
  EXPECT_TRUE(Receipts().empty());
}

TEST_F(RedactorTest, ErasedOnceWithAReceiptThatVerifies) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  EXPECT_EQ(Copies(kRedacted), 1u);
  EXPECT_TRUE(*redactor_->Take(Signed(Order(), root_), world_));
  EXPECT_TRUE(absl::IsNotFound(dataset_.store->Read(store::ChunkDigest(kRedacted)).status())) << "out of reach at once";
  ASSERT_TRUE(CarryOut().ok());
  EXPECT_EQ(trees_, 1);
  EXPECT_EQ(Copies(kRedacted), 0u);
  ASSERT_EQ(Receipts().size(), 1u);
  const rpc::ErasureReceipt receipt = Receipts()[0];
  EXPECT_EQ(receipt.order_id, Order().order_id);
  EXPECT_EQ(receipt.cause, "redaction");
  EXPECT_EQ(receipt.chunks, 1u);
  EXPECT_GT(receipt.bytes, 2900u);
  EXPECT_FALSE(receipt.everything);
  ExpectOthers();
  EXPECT_FALSE(*redactor_->Take(Signed(Order(), root_), world_)) << "told again";
  ASSERT_TRUE(Open().ok());
  EXPECT_FALSE(redactor_->Pending(id_));
  EXPECT_FALSE(*dataset_.store->Has(store::ChunkDigest(kRedacted)));
  auto writer = dataset_.store->NewWriter();
  const store::TestChunk& chunk = store::ChunkOf(kRedacted, 3000);
  EXPECT_FALSE(writer->Put(chunk.digest, chunk.stored).ok()) << "it does not come back";
}

TEST_F(RedactorTest, ALockKeepsTheBytesOutOfReach) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  ASSERT_TRUE(redactor_->Take(Signed(Order(), root_), world_).ok());
  ASSERT_TRUE(CarryOut("a hold keeps version 2").ok());
  EXPECT_EQ(begun_, 0) << "what only waits disturbs nobody";
  EXPECT_EQ(Copies(kRedacted), 1u);
  ASSERT_EQ(redactor_->States(id_).size(), 1u);
  EXPECT_EQ(redactor_->States(id_)[0].stage(), agent::v1::REDACTION_STAGE_FENCED);
  EXPECT_EQ(redactor_->States(id_)[0].hindrance(), "a hold keeps version 2");
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(absl::IsNotFound(dataset_.store->Read(store::ChunkDigest(kRedacted)).status()));
  ASSERT_TRUE(dataset_.store->CollectGarbage(MarkLive(dataset_)).ok());
  EXPECT_EQ(Copies(kRedacted), 1u) << "no collection takes it either";
  EXPECT_TRUE(Receipts().empty());
  ASSERT_TRUE(CarryOut().ok());
  EXPECT_EQ(Copies(kRedacted), 0u);
  EXPECT_EQ(Receipts().size(), 1u);
}

TEST_F(RedactorTest, PowerLossAtEveryOperation) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  const uint64_t begin = faults_->operations();
  ASSERT_TRUE(Redact().ok());
  const uint64_t end = faults_->operations();
  ASSERT_GT(end, begin + 8);
  for (uint64_t n = begin; n <= end; ++n) {
    for (const bool kind : {false, true}) {
      SCOPED_TRACE(absl::StrCat("power loss after operation ", n, kind ? ", kind" : ", harsh"));
      Fresh();
      ASSERT_TRUE(Fill().ok());
      ASSERT_EQ(faults_->operations(), begin);
      faults_->StopAfter(n);
      const bool done = Redact().ok();
      Close();
      ASSERT_TRUE((kind ? faults_->KeepUnsynced() : faults_->DropUnsynced()).ok());
      absl::Status opened = Open();
      ASSERT_TRUE(opened.ok()) << opened;
      if (!Receipts().empty() || done) {
        ASSERT_EQ(Copies(kRedacted), 0u);
        ASSERT_FALSE(redactor_->Pending(id_));
      }
      if (Copies(kRedacted) == 0) {
        ASSERT_FALSE(dataset_.redactions->empty()) << "gone without an order";
      }
      ASSERT_TRUE(Redact().ok());
      ASSERT_EQ(Receipts().size(), 1u);
      ASSERT_EQ(Copies(kRedacted), 0u);
      ExpectOthers();
    }
  }
}

}  // namespace
}  // namespace bailiwick::agent
