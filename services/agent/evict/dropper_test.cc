// What a home gives up: the content goes and the manifests stay; what later versions have of their own stays, what a
// hold keeps stays whole; power loss at every file operation ends in the same receipt.
#include "services/agent/evict/dropper.h"

#include <gmock/gmock.h>

#include "services/agent/evict/erasing_fixture.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;

class DropperTest : public ErasingFixture {
 protected:
  void Close() override {
    dropper_ = nullptr;
    ErasingFixture::Close();
  }
  absl::Status Open() {
    std::vector<std::string> migrations = store::VersionCatalog::AllMigrations();
    for (auto& m : Evictor::Migrations()) migrations.push_back(m);
    migrations.push_back(Dropper::Migration());
    BW_RETURN_IF_ERROR(OpenRecords(std::move(migrations)));
    BW_RETURN_IF_ERROR(OpenStore());
    dropper_ = std::make_unique<Dropper>(Parts());
    return dropper_->Load(dataset_);
  }

  // The next version: file n of `files` has chunk files[n], stored unless it is here or comes as it was in the version
  // before, as a commit does it.
  absl::Status Commit(const std::vector<int>& files) {
    std::vector<TestFile> all;
    for (size_t i = 0; i < files.size(); ++i) {
      all.push_back({absl::StrCat("file-", i), files[i], i >= last_.size() || last_[i] != files[i]});
    }
    last_ = files;
    return AddVersion(identities_.size() + 1, all);
  }

  absl::Status Drop(const std::vector<VersionNumber>& numbers, std::set<VersionNumber> kept = {}) {
    std::vector<HeldElsewhere> versions;
    for (VersionNumber n : numbers) versions.push_back({{n, identities_[n]}, {"core", "hub"}});
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
  absl::Status Manifests() {  // whether all are still here
    BW_ASSIGN_OR_RETURN(auto versions, catalog_->List(id_));
    for (const auto& version : versions) {
      BW_RETURN_IF_ERROR(store::WalkDag(
          dataset_.nodes.get(), version.record.manifest_root, [](const Digest&) { return true; },
          [](const store::NodeChild&) { return absl::OkStatus(); }));
    }
    return absl::OkStatus();
  }

  std::vector<int> last_;
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
      dataset_.dropped->Why("planner", 3),
      "the home has of version 3 of planner only what differs from version 2 (dropAfterCopies); core, hub held that "
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
  EXPECT_FALSE(Dropper::Bases(dataset_)->count(1) != 0);
  EXPECT_TRUE(Dropper::Bases(dataset_)->count(2) != 0);
  EXPECT_FALSE(Dropper::Bases(dataset_)->count(3) != 0);
  ASSERT_TRUE(Drop({3}).ok());
  EXPECT_TRUE(Dropper::Bases(dataset_)->count(3) != 0) << "the next commit builds on it";
  EXPECT_FALSE(Dropper::Bases(dataset_)->count(2) != 0);
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
      ASSERT_EQ(Receipts()[0].versions, (std::vector<rpc::VersionRef>{{1, identities_[1]}}));
    }
  }
}

}  // namespace
}  // namespace bailiwick::agent
