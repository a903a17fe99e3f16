// What is redacted is out of reach at once and gone for good after a purge, wherever the power fails; all else stays.
#include "common/store/redaction.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/fault_files.h"
#include "common/store/store_fixture.h"

namespace bailiwick::store {
namespace {

constexpr uint64_t kChunks = 20, kRedacted = 7;

std::shared_ptr<const Redaction> Order(std::vector<Digest> chunks) {
  auto order = std::make_shared<Redaction>();
  order->order_id = std::string(16, 'o');
  order->chunks = std::move(chunks);
  return order;
}

class RedactionTest : public StoreFixture {
 protected:
  RedactionTest() { redactions_ = std::make_shared<RedactionBook>(); }
  void TearDown() override { store_ = nullptr; }

  absl::Status Purge() {
    return store_
        ->Purge([](const std::function<void(const Digest&)>& live) {
          for (uint64_t n = 0; n < kChunks; ++n) live(ChunkDigest(n));  // every version is kept
          return absl::OkStatus();
        })
        .status();
  }
  // Files under the dataset that hold the bytes.
  size_t Copies(uint64_t n) {
    size_t copies = 0;
    for (const std::string& name : Names("pack")) {
      auto bytes = os::ReadFile(os::Files::System(), packs() + "/" + name, 1 << 30);
      copies += bytes.ok() && bytes->find(ChunkBytes(n).substr(100, 64)) != std::string::npos;
    }
    return copies;
  }
  void ExpectRedacted() {
    EXPECT_FALSE(Has(kRedacted));
    absl::Status read = Reads(kRedacted);
    EXPECT_TRUE(absl::IsNotFound(read)) << read;
    EXPECT_NE(read.message().find("redacted by order 6f6f"), std::string::npos) << read;
    auto writer = store_->NewWriter();
    auto put = Put(*writer, kRedacted);
    EXPECT_TRUE(absl::IsFailedPrecondition(put.status())) << put.status();
  }
  void ExpectOthers() {
    ExpectThere(0, kRedacted);
    ExpectThere(kRedacted + 1, kChunks);
  }
};

TEST_F(RedactionTest, OutOfReachAtOnceAndErasedOnlyWhenSaid) {
  Open();
  PutRange(0, kChunks);
  EXPECT_EQ(Copies(kRedacted), 1u);
  redactions_->Add(Order({ChunkDigest(kRedacted)}), /*erase=*/false);
  ExpectRedacted();
  ASSERT_TRUE(Purge().ok());
  EXPECT_EQ(Copies(kRedacted), 1u) << "a hold keeps it";
  EXPECT_EQ(*store_->CountStored(std::vector<Digest>{ChunkDigest(kRedacted), ChunkDigest(1), ChunkDigest(99)}), 2u);
  redactions_->Add(Order({ChunkDigest(kRedacted)}), /*erase=*/true);
  ASSERT_TRUE(Purge().ok());
  EXPECT_EQ(Copies(kRedacted), 0u);
  EXPECT_EQ(*store_->CountStored(std::vector<Digest>{ChunkDigest(kRedacted)}), 0u);
  ExpectRedacted();
  ExpectOthers();
}

TEST_F(RedactionTest, ErasedAlsoWhereNobodyKnowsWhatElseIsLive) {
  Open();
  PutRange(0, kChunks);
  redactions_->Add(Order({ChunkDigest(kRedacted)}), /*erase=*/true);
  ASSERT_TRUE(store_->Purge(nullptr).ok());
  EXPECT_EQ(Copies(kRedacted), 0u);
  ExpectRedacted();
  ExpectOthers();
}

TEST_F(RedactionTest, EveryPackThatHasItIsWrittenAnew) {
  Open();
  auto a = store_->NewWriter(), b = store_->NewWriter();
  for (auto* writer : {a.get(), b.get()}) {
    ASSERT_TRUE(Put(*writer, kRedacted).ok());
    ASSERT_TRUE(Put(*writer, writer == a.get() ? 1 : 2).ok());
  }
  ASSERT_TRUE(a->Flush().ok());
  ASSERT_TRUE(b->Flush().ok());
  a.reset();
  b.reset();
  EXPECT_EQ(Copies(kRedacted), 2u);
  redactions_->Add(Order({ChunkDigest(kRedacted)}), true);
  ASSERT_TRUE(Purge().ok());
  EXPECT_EQ(Copies(kRedacted), 0u);
  ExpectThere(1, 3);
}

TEST_F(RedactionTest, PowerLossAtEveryOperation) {
  std::unique_ptr<os::FaultFiles> faults;
  auto fill = [&] {
    store_ = nullptr;
    faults = nullptr;
    ASSERT_TRUE(hasty_.RemoveTree(dir_.path()).ok());
    ASSERT_TRUE(hasty_.MakeDirs(dir_.path()).ok());
    faults = std::make_unique<os::FaultFiles>(&hasty_, dir_.path());
    LoseIndex();
    redactions_ = std::make_shared<RedactionBook>();
    Open(faults.get());
    PutRange(0, kChunks);
    redactions_->Add(Order({ChunkDigest(kRedacted)}), true);  // durable elsewhere before it is said
    faults->ResetOperations();
  };
  fill();
  ASSERT_TRUE(Purge().ok());
  const uint64_t operations = faults->operations();
  ASSERT_GT(operations, 5u);
  for (uint64_t n = 0; n <= operations; ++n) {
    for (int how = 0; how < 4; ++how) {
      SCOPED_TRACE(absl::StrCat("power loss after operation ", n, ", restart ", how));
      fill();
      faults->StopAfter(n);
      const bool done = Purge().ok();
      store_ = nullptr;
      ASSERT_TRUE((how & 1 ? faults->KeepUnsynced() : faults->DropUnsynced()).ok());
      if (how & 2) LoseIndex();
      Open(faults.get());
      ExpectRedacted();
      ExpectOthers();
      if (done) {
        ASSERT_EQ(Copies(kRedacted), 0u);
      }
      ASSERT_TRUE(Purge().ok());
      ASSERT_EQ(Copies(kRedacted), 0u);
      ExpectRedacted();
      ExpectOthers();
      if (HasFatalFailure()) return;
    }
  }
  store_ = nullptr;
}

TEST(ContentIdTest, NamesContentsNotFiles) {
  Entry a, b;
  a.path = "a";
  b.path = "b/c";
  b.mode = 0600;
  a.chunks = b.chunks = {{ChunkDigest(1), 3000}, {ChunkDigest(2), 3000}};
  EXPECT_EQ(ContentId(a), ContentId(b));
  b.chunks.pop_back();
  EXPECT_NE(ContentId(a), ContentId(b));
  a.list_height = 1;
  EXPECT_NE(ContentId(a), ContentId(b));
  EXPECT_TRUE(ContentId(Entry()).empty());
  RedactionBook book;
  Redaction order;
  order.contents = {ContentId(b)};
  order.chunks = {ChunkDigest(5)};
  book.Add(std::make_shared<const Redaction>(order), true);
  EXPECT_NE(*book.Find(nullptr, b), nullptr) << "its content is named";
  b.chunks = {{ChunkDigest(5), 3000}, {ChunkDigest(6), 3000}};
  EXPECT_NE(*book.Find(nullptr, b), nullptr) << "a part of it is erased";
  b.chunks.erase(b.chunks.begin());
  EXPECT_EQ(*book.Find(nullptr, b), nullptr);
}

}  // namespace
}  // namespace bailiwick::store
