// What a home gives up: the content goes and the manifests stay; what later versions have of their own stays, what a
// hold keeps stays whole; power loss at every file operation ends in the same receipt.
#include "services/agent/evict/dropper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/os/fault_files.h"
#include "common/store/node_cache.h"
#include "common/store/store_fixture.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;

constexpr size_t kChunk = 3000;

class DropperTest : public ::testing::Test {
 protected:
  DropperTest() {
    id_.bytes.fill(5);
    policy::Site site;
    site.name = "robot";
    site.enrolment_keys["robot"] = key_.public_key();
    world_.sites["robot"] = site;
  }

  void Fresh() {
    Close();
    faults_ = nullptr;
    ASSERT_TRUE(hasty_.RemoveTree(dir_.path()).ok());
    ASSERT_TRUE(hasty_.MakeDirs(dir_.path()).ok());
    faults_ = std::make_unique<os::FaultFiles>(&hasty_, dir_.path());
    index_ = std::make_unique<store::FakeChunkIndex>();
    identities_.clear();
  }
  void Close() {
    dropper_ = nullptr;
    evictor_ = nullptr;
    dataset_ = DatasetHandle();
    catalog_ = nullptr;
    audit_ = nullptr;
    db_ = nullptr;
  }
  absl::Status Open() {
    Close();
    std::vector<std::string> migrations = store::VersionCatalog::AllMigrations();
    for (auto& m : Evictor::Migrations()) migrations.push_back(m);
    migrations.push_back(Dropper::Migration());
    BW_ASSIGN_OR_RETURN(
        db_,
        sql::Database::Open({.files = faults_.get(), .path = dir_.path() + "/agent.db", .migrations = migrations}));
    BW_ASSIGN_OR_RETURN(audit_, audit::Log::Open(faults_.get(), &clock_, os::Random::System(), dir_.path() + "/audit"));
    catalog_ = std::make_unique<store::VersionCatalog>(db_.get());
    dataset_.id = id_;
    dataset_.name = "drive";
    dataset_.directory = dir_.path() + "/set";
    dataset_.files = faults_.get();
    dataset_.catalog = catalog_.get();
    BW_ASSIGN_OR_RETURN(
        dataset_.store,
        store::DatasetStore::Open(
            {.files = faults_.get(), .index = index_.get(), .directory = dataset_.directory, .dataset = id_}));
    dataset_.nodes = store::NewStoreNodeSource(dataset_.store.get());
    const Evictor::Parts parts{.db = db_.get(),
                               .audit = audit_.get(),
                               .clock = &clock_,
                               .random = os::Random::System(),
                               .site = "robot",
                               .agent = "spiffe://acme/region/eu/site/robot/agent/robot",
                               .key = &key_};
    evictor_ = std::make_unique<Evictor>(parts);
    dropper_ = std::make_unique<Dropper>(parts);
    BW_RETURN_IF_ERROR(evictor_->Load());
    return dropper_->Load(dataset_);
  }

  // The next version: file n of `files` has chunk files[n], stored unless it is here or comes as it was in the version
  // before, as a commit does it.
  absl::Status Commit(const std::vector<int>& files) {
    const VersionNumber number = identities_.size() + 1;
    std::unique_ptr<store::DatasetStore::Writer> writer = dataset_.store->NewWriter();
    store::ManifestBuilder builder([&](const Digest& digest, std::string_view bytes) {
      return writer->Put(digest, store::EncodeChunk(bytes)).status();
    });
    for (size_t i = 0; i < files.size(); ++i) {
      const store::TestChunk& chunk = store::ChunkOf(files[i], kChunk);
      if (i >= last_.size() || last_[i] != files[i]) {
        BW_RETURN_IF_ERROR(writer->Put(chunk.digest, chunk.stored).status());
      }
      store::Entry entry;
      entry.path = absl::StrCat("file-", i);
      entry.type = store::EntryType::kFile;
      entry.mode = 0644;
      entry.size = kChunk;
      entry.chunks = {{.digest = chunk.digest, .length = kChunk}};
      BW_RETURN_IF_ERROR(builder.Add(entry));
    }
    last_ = files;
    BW_ASSIGN_OR_RETURN(auto built, builder.Finish());
    BW_RETURN_IF_ERROR(writer->Flush());
    store::VersionRecord record;
    record.dataset_id = id_;
    record.dataset = "drive";
    record.home_site = "robot";
    record.home_incarnation.bytes.fill(1);
    record.home_epoch = 1;
    record.number = number;
    record.manifest_root = built.root;
    record.files = record.entries = files.size();
    record.logical_bytes = kChunk * files.size();
    record.committed_at = clock_.Now();
    const crypto::Envelope envelope =
        crypto::SignEnvelope(crypto::kVersionType, store::EncodeVersionRecord(record), key_);
    identities_.push_back(store::VersionIdentity(envelope));
    return catalog_->Add(envelope, dataset_.nodes.get());
  }

  absl::Status Drop(const std::vector<VersionNumber>& numbers, std::set<VersionNumber> kept = {}) {
    std::vector<HeldElsewhere> versions;
    for (VersionNumber n : numbers) versions.push_back({{n, identities_[n - 1]}, {"core", "hub"}});
    if (!dropper_->UnderWay(id_) && dataset_.dropped->BaseOf(numbers.back()) != numbers.back()) {
      BW_RETURN_IF_ERROR(dropper_->Begin(dataset_, versions));
    }
    return dropper_->CarryOut(dataset_, [kept](VersionNumber n) { return kept.count(n) != 0; });
  }
  std::vector<int> Chunks() {
    std::vector<int> here;
    for (int i = 1; i <= 6; ++i) {
      auto has = dataset_.store->Has(store::ChunkOf(i, kChunk).digest);
      if (has.ok() && *has) here.push_back(i);
    }
    return here;
  }
  std::vector<rpc::ErasureReceipt> Receipts() {
    std::vector<rpc::ErasureReceipt> out;
    auto envelopes = evictor_->Receipts();
    EXPECT_TRUE(envelopes.ok()) << envelopes.status();
    for (const auto& envelope : *envelopes) {
      auto opened = rpc::OpenReceipt(envelope, world_);
      EXPECT_TRUE(opened.ok()) << opened.status();
      if (opened.ok()) out.push_back(*opened);
    }
    return out;
  }
  absl::Status Manifests() {  // whether all are still here
    BW_ASSIGN_OR_RETURN(auto versions, catalog_->List(id_));
    for (const auto& version : versions) {
      BW_RETURN_IF_ERROR(store::WalkDag(
          dataset_.nodes.get(), version.record.manifest_root, [](const Digest&) { return true; },
          [](const store::NodeChild&) { return absl::OkStatus(); }));
    }
    return absl::OkStatus();
  }

  store::TempDir dir_;
  store::HastyFiles hasty_;
  std::unique_ptr<os::FaultFiles> faults_;
  std::unique_ptr<store::FakeChunkIndex> index_;
  os::FakeClock clock_;
  const crypto::SigningKey key_ = *crypto::SigningKey::Generate();
  policy::World world_;
  DatasetId id_;
  std::vector<Digest> identities_;
  std::vector<int> last_;
  std::unique_ptr<sql::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<store::VersionCatalog> catalog_;
  DatasetHandle dataset_;
  std::unique_ptr<Evictor> evictor_;
  std::unique_ptr<Dropper> dropper_;
};

TEST_F(DropperTest, TheContentGoesTheManifestsStayAndTheNextVersionKeepsItsOwn) {
  Fresh();
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Commit({1}).ok());
  ASSERT_TRUE(Commit({1, 2}).ok());
  ASSERT_TRUE(Commit({1, 2, 3}).ok());
  ASSERT_TRUE(Drop({1, 2}).ok());
  EXPECT_THAT(Chunks(), ElementsAre(3)) << "what version 3 has more than version 2";
  EXPECT_TRUE(Manifests().ok());
  EXPECT_EQ(dataset_.dropped->BaseOf(1), 1u);
  EXPECT_EQ(dataset_.dropped->BaseOf(3), 2u);
  EXPECT_EQ(
      dataset_.dropped->Why("drive", 3),
      "the home has of version 3 of drive only what differs from version 2 (dropAfterCopies); core, hub held that "
      "then; ask there: --site core");
  ASSERT_TRUE(Commit({1, 2, 3, 4}).ok());
  ASSERT_TRUE(Drop({3}).ok());
  EXPECT_THAT(Chunks(), ElementsAre(4));
  ASSERT_TRUE(Drop({4}).ok());
  EXPECT_TRUE(Chunks().empty());
  EXPECT_TRUE(Manifests().ok());
  ASSERT_EQ(Receipts().size(), 3u);
  for (const rpc::ErasureReceipt& receipt : Receipts()) {
    EXPECT_EQ(receipt.cause, "held-elsewhere");
    EXPECT_THAT(receipt.held_at, ElementsAre("core", "hub"));
    EXPECT_GE(receipt.bytes, kChunk / 2);
    EXPECT_FALSE(receipt.everything);
  }
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(dataset_.dropped->BaseOf(4), 4u) << "also after a restart";
}

TEST_F(DropperTest, WhatComesBackAfterItWasGoneIsOfTheVersionThatBringsIt) {
  Fresh();
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Commit({1, 2}).ok());
  ASSERT_TRUE(Commit({1, 3}).ok());
  ASSERT_TRUE(Commit({1, 2}).ok());  // file-1 as in version 1
  ASSERT_TRUE(Drop({1}).ok());
  EXPECT_THAT(Chunks(), ElementsAre(2, 3)) << "version 2 has none of it, so who has that needs it from here";
  ASSERT_TRUE(Drop({2}).ok());
  EXPECT_THAT(Chunks(), ElementsAre(2));
  ASSERT_TRUE(Drop({3}).ok());
  ASSERT_TRUE(Commit({1, 2, 2}).ok());
  EXPECT_THAT(Chunks(), ElementsAre(2)) << "stored anew";
  EXPECT_EQ(dataset_.dropped->BaseOf(4), 3u);
}

TEST_F(DropperTest, WhatAHoldKeepsStaysWhole) {
  Fresh();
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Commit({1}).ok());
  ASSERT_TRUE(Commit({1, 2}).ok());
  ASSERT_TRUE(Commit({1, 2, 3}).ok());
  ASSERT_TRUE(Drop({1, 3}, {2}).ok());
  EXPECT_THAT(Chunks(), ElementsAre(1, 2));
  auto mark = MarkKept(dataset_, [](VersionNumber) { return false; });
  ASSERT_TRUE(dataset_.store->Purge(mark).ok());
  EXPECT_THAT(Chunks(), ElementsAre(2)) << "released: what version 2 has more than version 1";
}

TEST_F(DropperTest, TheNewestGivenUpBeforeOneThatIsHereStaysKnown) {
  Fresh();
  ASSERT_TRUE(Open().ok());
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(Commit(i == 0 ? std::vector{1} : i == 1 ? std::vector{1, 2} : std::vector{1, 2, 3}).ok());
  ASSERT_TRUE(Drop({1, 2}).ok());
  EXPECT_FALSE(*Dropper::IsBase(dataset_, 1));
  EXPECT_TRUE(*Dropper::IsBase(dataset_, 2));
  EXPECT_FALSE(*Dropper::IsBase(dataset_, 3));
  ASSERT_TRUE(Drop({3}).ok());
  EXPECT_TRUE(*Dropper::IsBase(dataset_, 3)) << "the next commit builds on it";
  EXPECT_FALSE(*Dropper::IsBase(dataset_, 2));
}

TEST_F(DropperTest, PowerLossAtEveryOperation) {
  auto fill = [this]() -> absl::Status {
    last_.clear();
    BW_RETURN_IF_ERROR(Open());
    BW_RETURN_IF_ERROR(Commit({1, 2}));
    return Commit({1, 2, 3});
  };
  Fresh();
  ASSERT_TRUE(fill().ok());
  const uint64_t begin = faults_->operations();
  ASSERT_TRUE(Drop({1}).ok());
  const uint64_t end = faults_->operations();
  ASSERT_GT(end, begin + 8);
  for (uint64_t n = begin; n <= end; ++n) {
    for (const bool kind : {false, true}) {
      SCOPED_TRACE(absl::StrCat("power loss after operation ", n, kind ? ", kind" : ", harsh"));
      Fresh();
      ASSERT_TRUE(fill().ok());
      faults_->StopAfter(n);
      const bool done = Drop({1}).ok();
      Close();
      ASSERT_TRUE((kind ? faults_->KeepUnsynced() : faults_->DropUnsynced()).ok());
      absl::Status opened = Open();
      ASSERT_TRUE(opened.ok()) << opened;
      const bool given_up = dataset_.dropped->BaseOf(1) == 1;
      if (done) {
        ASSERT_TRUE(given_up);
      }
      if (!given_up) {
        ASSERT_THAT(Chunks(), ElementsAre(1, 2, 3)) << "nothing goes before it is written down";
      }
      ASSERT_TRUE(Manifests().ok());
      ASSERT_TRUE(Drop({1}).ok());
      ASSERT_THAT(Chunks(), ElementsAre(3));
      ASSERT_TRUE(Manifests().ok());
      ASSERT_EQ(Receipts().size(), 1u);
      ASSERT_EQ(Receipts()[0].versions, (std::vector<rpc::VersionRef>{{1, identities_[0]}}));
    }
  }
}

}  // namespace
}  // namespace bailiwick::agent
