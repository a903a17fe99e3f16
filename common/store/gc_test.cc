#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/os/fault_files.h"
#include "common/store/live_set.h"
#include "common/store/pack.h"
#include "common/store/store_fixture.h"

namespace bailiwick::store {
namespace {

class GarbageTest : public StoreFixture {
 protected:
  void SetUp() override { Open(); }
  // Live are chunks [from, to) of each range.
  using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;
  static DatasetStore::Mark Live(Ranges ranges, size_t size = 3000) {
    return [ranges, size](const std::function<void(const Digest&)>& live) {
      for (auto [from, to] : ranges) {
        for (uint64_t n = from; n < to; ++n) live(ChunkDigest(n, size));
      }
      return absl::OkStatus();
    };
  }
  DatasetStore::GcResult Collect(const DatasetStore::Mark& mark) {
    auto result = store_->CollectGarbage(mark);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : DatasetStore::GcResult{};
  }
};

TEST(LiveSetTest, KeepsAllThatIsLiveAndFewOfTheDeadHoweverManyThereAre) {
  constexpr uint64_t kMany = LiveSet::kExactChunks + 1;
  auto digest = [](uint64_t n) { return crypto::Sha256({reinterpret_cast<const char*>(&n), sizeof n}); };
  LiveSet few(kMany - 1, false), many(kMany, false), exact(kMany, true);
  for (uint64_t n = 0; n < kMany; ++n) {
    for (LiveSet* set : {&many, &exact}) set->Add(digest(n));
    if (n < 1000) few.Add(digest(n));
  }
  uint64_t mistaken = 0;
  for (uint64_t n = 0; n < 100'000; ++n) {
    ASSERT_TRUE(many.Contains(digest(n)) && exact.Contains(digest(n)));
    ASSERT_FALSE(exact.Contains(digest(kMany + n)));
    ASSERT_EQ(few.Contains(digest(n)), n < 1000);
    mistaken += many.Contains(digest(kMany + n));
  }
  EXPECT_LT(mistaken, 3000u);
}

TEST_F(GarbageTest, FreesWhatIsDeadAndKeepsWhatIsLive) {
  PutRange(0, 100);
  PutRange(100, 200);
  PutRange(200, 300);
  // All of the first is dead, most of the second, little of the third.
  auto result = Collect(Live({{150, 160}, {210, 300}}));
  EXPECT_EQ(result.packs_removed, 2u);
  EXPECT_GT(result.freed_bytes, 180u * 3000);
  ExpectThere(150, 160);
  ExpectThere(210, 300);
  EXPECT_FALSE(Has(0));
  EXPECT_TRUE(absl::IsNotFound(Reads(0)));
  EXPECT_FALSE(Has(149));
  EXPECT_EQ(Names(".pack").size(), 2u);
  EXPECT_EQ(Names(".idx").size(), 2u);
  EXPECT_EQ(store_->Stats()->chunks, 10u + 100u) << "what was mostly alive keeps its dead ones";
  LoseIndex();
  Open();
  ExpectThere(150, 160);
  ExpectThere(210, 300);
  EXPECT_FALSE(Has(149));
}

// A disk down to its reserve takes nothing new, and can still be made roomy.
TEST_F(GarbageTest, MakesRoomOutOfTheReserve) {
  PutRange(0, 100);
  PutRange(100, 200);
  disk_reserve_ = uint64_t{1} << 62;
  Open();
  std::unique_ptr<DatasetStore::Writer> writer = store_->NewWriter();
  absl::Status refused = Put(*writer, 300).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(refused.message().find("disk reserve"), std::string::npos) << refused;
  EXPECT_EQ(writer->Flush().code(), absl::StatusCode::kResourceExhausted);
  writer.reset();
  EXPECT_TRUE(absl::IsResourceExhausted(store_->CheckRoom()));
  EXPECT_GT(Collect(Live({{50, 60}, {110, 120}})).freed_bytes, 150u * 3000);
  ExpectThere(50, 60);
  ExpectThere(110, 120);
  disk_reserve_ = 1;
  Open();
  EXPECT_TRUE(store_->CheckRoom().ok());
  PutRange(300, 301);
  ExpectThere(300, 301);
}

TEST_F(GarbageTest, AMarkThatFailsDeletesNothing) {
  PutRange(0, 100);
  EXPECT_FALSE(store_->CollectGarbage([](const auto&) { return absl::DataLossError("unreadable"); }).ok());
  int calls = 0;
  auto second = [&](const auto&) { return ++calls == 2 ? absl::DataLossError("unreadable") : absl::OkStatus(); };
  EXPECT_FALSE(store_->CollectGarbage(second).ok());
  ExpectThere(0, 100);
}

TEST_F(GarbageTest, PacksOfTinyLiveChunksAreNotWrittenOverAndOver) {
  for (int pack = 0; pack < 3; ++pack) PutRange(pack * 100, pack * 100 + 100, 20);
  EXPECT_EQ(Collect(Live({{0, 300}}, 20)).packs_removed, 0u);
}

TEST_F(GarbageTest, PacksOfMoreThanAFewChunksAreNotMergedOverAndOver) {
  for (uint64_t pack = 0; pack < 66; ++pack) PutRange(pack * 4096, pack * 4096 + 4096, 20);
  EXPECT_EQ(Collect(Live({{0, 66 * 4096}}, 20)).packs_removed, 0u);
}

TEST_F(GarbageTest, ManySmallPacksBecomeFew) {
  for (uint64_t n = 0; n < 70; ++n) PutRange(n, n + 1);
  EXPECT_EQ(Names(".pack").size(), 70u);
  Collect(Live({{0, 70}}));
  EXPECT_EQ(Names(".pack").size(), 1u);
  ExpectThere(0, 70);
  Open();
  ExpectThere(0, 70);
}

TEST_F(GarbageTest, ACommitThatComesInBetweenKeepsWhatItFound) {
  PutRange(0, 100);
  std::unique_ptr<DatasetStore::Writer> writer;
  int calls = 0;
  // Between the second mark and the removal a commit finds chunks 0 to 9 and leans on them.
  Collect([&](const auto&) {
    if (++calls == 2) {
      writer = store_->NewWriter();
      for (uint64_t n = 0; n < 10; ++n) EXPECT_FALSE(*Put(*writer, n)) << "it is there";
    }
    return absl::OkStatus();
  });
  ExpectThere(0, 10);
  EXPECT_FALSE(Has(10));
  ASSERT_TRUE(writer->Flush().ok());
  writer = nullptr;
  Collect(Live({{0, 10}}));
  ExpectThere(0, 10);
  Collect(Live({}));
  EXPECT_FALSE(Has(0)) << "rescued once, not for ever";
}

TEST_F(GarbageTest, ALongCommitPutsItOffBeforeAnythingIsLookedAt) {
  PutRange(0, 100);
  auto writer = store_->NewWriter();
  EXPECT_FALSE(*Put(*writer, 7));
  auto put_off = store_->CollectGarbage([](const auto&) {
    ADD_FAILURE() << "in vain";
    return absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsUnavailable(put_off.status())) << put_off.status();
  ExpectThere(0, 100);
  writer = nullptr;
  EXPECT_EQ(Collect(Live({})).packs_removed, 1u);
}

TEST_F(GarbageTest, WaitsForACommitThatBeganBeforeAnythingWasCondemned) {
  PutRange(0, 100);
  std::unique_ptr<DatasetStore::Writer> writer;
  std::set<uint64_t> committed;
  absl::Mutex mutex;
  bool marked = false;
  std::thread collector([&] {
    Collect([&](const std::function<void(const Digest&)>& live) {
      absl::MutexLock lock(&mutex);
      for (uint64_t n : committed) live(ChunkDigest(n));
      if (marked) return absl::OkStatus();
      writer = store_->NewWriter();
      EXPECT_FALSE(*Put(*writer, 7));
      marked = true;
      return absl::OkStatus();
    });
  });
  {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&marked));
    committed.insert(7);  // the catalog row
  }
  ASSERT_TRUE(writer->Flush().ok());
  writer = nullptr;
  collector.join();
  ExpectThere(7, 8);
  EXPECT_FALSE(Has(8));
}

TEST_F(GarbageTest, ADamagedLiveChunkKeepsItsPackUntilItWasFetchedAnew) {
  PutRange(0, 100);
  Overwrite(Names(".pack")[0], kPackHeaderBytes + kRecordHeaderBytes + 100, "damage");  // chunk 0
  EXPECT_EQ(Collect(Live({{0, 5}})).packs_removed, 0u);
  ExpectThere(1, 5);
  EXPECT_FALSE(Has(0));
  PutRange(0, 1);
  EXPECT_EQ(Collect(Live({{0, 5}})).packs_removed, 1u);
  ExpectThere(0, 5);
}

TEST_F(GarbageTest, ALiveChunkThatTheIndexLostComesBack) {
  PutRange(0, 100);
  auto at = index_->Get(dataset_, ChunkDigest(3));
  ASSERT_TRUE(at.ok() && at->has_value());
  ASSERT_TRUE(index_->Forget(dataset_, ChunkDigest(3), (*at)->pack).ok());
  EXPECT_FALSE(Has(3));
  Collect(Live({{0, 5}}));
  ExpectThere(0, 5);
}

TEST_F(GarbageTest, OnAFullDiskWhatIsAllDeadStillGoes) {
  os::FaultFiles faults(&hasty_, dir_.path());
  Open(&faults);
  PutRange(0, 100);
  PutRange(100, 200);
  faults.FailNext("create ", absl::ResourceExhaustedError("no space"));
  auto result = Collect(Live({{100, 110}}));
  EXPECT_EQ(result.packs_removed, 1u);
  EXPECT_FALSE(Has(0));
  ExpectThere(100, 110);
  EXPECT_EQ(Collect(Live({{100, 110}})).packs_removed, 1u);
  ExpectThere(100, 110);
  store_ = nullptr;
}

// Versions are sets of chunks; a catalog row is a row in `versions_`. Whatever order commits, drops and collections
// come in, every chunk of every version reads back.
class GarbagePropertyTest : public GarbageTest {
 protected:
  using Version = std::set<uint64_t>;

  DatasetStore::Mark Mark() {
    return [this](const std::function<void(const Digest&)>& live) {
      absl::MutexLock lock(&mutex_);
      for (const auto& [id, version] : versions_) {
        for (uint64_t n : version) live(digests_[n]);
      }
      return absl::OkStatus();
    };
  }
  void CheckAll() {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, version] : versions_) {
      for (uint64_t n : version) {
        auto raw = store_->ReadRaw(digests_[n]);
        ASSERT_TRUE(raw.ok()) << "seed " << seed_ << " version " << id << " chunk " << n << ": " << raw.status();
        ASSERT_EQ(crypto::Sha256(*raw), digests_[n]);
      }
    }
  }
  void MakeDigests() {
    for (uint64_t n = 0; n < kUniverse; ++n) digests_.push_back(ChunkDigest(n, kSize));
  }
  // Puts what it lacks, as commits and transfers do: some ask Has first, some just put.
  Version Write(DatasetStore::Writer& writer, std::mt19937& rng) {
    Version version;
    const uint64_t start = rng() % kUniverse;
    for (int i = 0; i < 40; ++i) {
      const uint64_t n = (start + rng() % 120) % kUniverse;
      version.insert(n);
      if (rng() % 2 == 0 && *store_->Has(digests_[n])) continue;
      EXPECT_TRUE(Put(writer, n, kSize).ok());
    }
    EXPECT_TRUE(writer.Flush().ok());
    return version;
  }

  static constexpr uint64_t kUniverse = 400;
  static constexpr size_t kSize = 200;
  uint32_t seed_ = 0;
  std::vector<Digest> digests_;
  absl::Mutex mutex_;
  std::map<int, Version> versions_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(GarbagePropertyTest, InterleavedInOneThread) {
  MakeDigests();
  for (seed_ = 1; seed_ <= 4; ++seed_) {
    std::mt19937 rng(seed_);
    std::vector<std::pair<std::unique_ptr<DatasetStore::Writer>, Version>> pending;
    int next = 0;
    auto commit_pending = [&] {
      for (auto& [writer, version] : pending) {
        absl::MutexLock lock(&mutex_);
        versions_[next++] = version;
      }
      pending.clear();
    };
    for (int step = 0; step < 60; ++step) {
      const uint32_t what = rng() % 6;
      if (what <= 2) {
        auto writer = store_->NewWriter();
        Version version = Write(*writer, rng);
        absl::MutexLock lock(&mutex_);
        versions_[next++] = std::move(version);
      } else if (what == 3) {
        absl::MutexLock lock(&mutex_);
        if (!versions_.empty())
          versions_.erase(std::next(versions_.begin(), static_cast<long>(rng() % versions_.size())));
      } else if (what == 4) {
        int calls = 0;
        Collect([&](const std::function<void(const Digest&)>& live) {
          BW_RETURN_IF_ERROR(Mark()(live));
          // A commit begins after the last look at what is live, and ends after the collection.
          if (++calls == 2) {
            auto writer = store_->NewWriter();
            Version version = Write(*writer, rng);
            pending.emplace_back(std::move(writer), std::move(version));
          }
          return absl::OkStatus();
        });
        commit_pending();
      } else {
        if (rng() % 3 == 0) LoseIndex();
        Open();
      }
      CheckAll();
      if (HasFatalFailure()) return;
    }
    absl::MutexLock lock(&mutex_);
    versions_.clear();
  }
}

TEST_F(GarbagePropertyTest, CollectingBesideCommitsOfTwoThreads) {
  MakeDigests();
  std::atomic<bool> stop{false};
  std::vector<std::thread> committers;
  for (int t = 0; t < 2; ++t) {
    committers.emplace_back([&, t] {
      std::mt19937 rng(static_cast<uint32_t>(100 + t));
      for (int i = 0; i < 60; ++i) {
        auto writer = store_->NewWriter();
        Version version = Write(*writer, rng);
        absl::MutexLock lock(&mutex_);
        versions_[i * 2 + t] = std::move(version);
      }
    });
  }
  std::thread collector([&] {
    std::mt19937 rng(5);
    while (!stop) {
      {
        absl::MutexLock lock(&mutex_);
        while (versions_.size() > 5)
          versions_.erase(std::next(versions_.begin(), static_cast<long>(rng() % versions_.size())));
      }
      Collect(Mark());
      CheckAll();
    }
  });
  for (std::thread& thread : committers) thread.join();
  stop = true;
  collector.join();
  CheckAll();
  LoseIndex();
  Open();
  CheckAll();
}

TEST_F(GarbageTest, APurgeTakesTheLastDeadChunk) {
  PutRange(0, 100);
  EXPECT_EQ(Collect(Live({{0, 99}})).packs_removed, 0u) << "a collection leaves what is mostly alive";
  EXPECT_TRUE(Has(99));
  auto purged = store_->Purge(Live({{0, 99}}));
  ASSERT_TRUE(purged.ok()) << purged.status();
  EXPECT_EQ(purged->packs_removed, 1u);
  EXPECT_FALSE(Has(99));
  EXPECT_TRUE(absl::IsNotFound(Reads(99)));
  ExpectThere(0, 99);
  EXPECT_EQ(store_->Purge(Live({{0, 99}}))->packs_removed, 0u);
}

TEST_F(GarbageTest, APurgeThatCouldNotRemoveAFileIsNotDoneUntilItIsGone) {
  os::FaultFiles faults(&hasty_, dir_.path());
  Open(&faults);
  PutRange(0, 100);
  const std::string pack = Names(".pack")[0];
  auto there = [&] {
    const std::vector<std::string> names = Names(".pack");
    return std::count(names.begin(), names.end(), pack) == 1;
  };
  for (int attempt = 0; attempt < 2; ++attempt) {
    faults.FailNext("remove ", absl::InternalError("not now"));
    EXPECT_EQ(store_->Purge(Live({{0, 99}})).status().code(), absl::StatusCode::kInternal);
    EXPECT_TRUE(there());
  }
  ASSERT_TRUE(store_->Purge(Live({{0, 99}})).ok());
  EXPECT_FALSE(there());
  ExpectThere(0, 99);
}

TEST_F(GarbageTest, WhatIsDamagedKeepsNothingThatAPurgeHasToTake) {
  PutRange(0, 100);
  const uint64_t record = kRecordHeaderBytes + 3000;
  Overwrite(Names(".pack")[0], kPackHeaderBytes + 50 * record + 500, "damage");
  Overwrite(Names(".idx")[0], 100, "damage");  // is made anew from the pack
  auto purged = store_->Purge(Live({{0, 99}}));
  ASSERT_TRUE(purged.ok()) << purged.status();
  EXPECT_EQ(*store_->CountStored(std::vector<Digest>{ChunkDigest(99), ChunkDigest(50)}), 0u);
  EXPECT_FALSE(Has(50));
  ExpectThere(0, 50);
  ExpectThere(51, 99);
}

// What is in it may be what has to go, and it comes back once it can be opened.
TEST_F(GarbageTest, APurgeIsNotDoneWhileAPackCannotBeOpened) {
  PutRange(0, 10);
  const std::string pack = Names(".pack")[0];
  PutRange(10, 20);
  HidePack(pack);
  Open();
  auto purged = store_->Purge(Live({{0, 5}, {10, 20}}));
  EXPECT_TRUE(absl::IsUnavailable(purged.status())) << purged.status();
  EXPECT_NE(purged.status().message().find(pack), std::string::npos) << purged.status();
  ShowPack(pack);
  purged = store_->Purge(Live({{0, 5}, {10, 20}}));
  ASSERT_TRUE(purged.ok()) << purged.status();
  ExpectThere(0, 5);
  ExpectThere(10, 20);
  EXPECT_EQ(*store_->CountStored(std::vector<Digest>{ChunkDigest(7)}), 0u);
}

// A disk that does not answer for a moment has lost nothing.
TEST_F(GarbageTest, APurgeLeavesBehindWhatIsDamagedButNothingThatCannotBeReadNow) {
  class FailingFiles : public HastyFiles {
   public:
    bool fails = false;
    absl::StatusOr<std::unique_ptr<os::File>> OpenRead(const std::string& path) override {
      BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, HastyFiles::OpenRead(path));
      if (!path.ends_with(".pack")) return file;
      return std::unique_ptr<os::File>(new Failing(std::move(file), &fails));
    }

   private:
    class Failing : public os::File {
     public:
      Failing(std::unique_ptr<os::File> base, const bool* fails) : base_(std::move(base)), fails_(fails) {}
      absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) override {
        if (*fails_) return ErrnoStatus(EIO, "reading");
        return base_->ReadAt(offset, out, n);
      }
      absl::Status WriteAt(uint64_t offset, std::string_view data) override { return base_->WriteAt(offset, data); }
      absl::Status Sync() override { return base_->Sync(); }
      absl::Status Truncate(uint64_t size) override { return base_->Truncate(size); }
      absl::StatusOr<uint64_t> Size() override { return base_->Size(); }

     private:
      std::unique_ptr<os::File> base_;
      const bool* fails_;
    };
  } files;
  Open(&files);
  PutRange(0, 50);
  files.fails = true;
  EXPECT_TRUE(absl::IsUnavailable(store_->Purge(Live({{0, 40}})).status()));
  files.fails = false;
  Open(&files);
  ExpectThere(0, 50);
}

TEST_F(GarbageTest, ErasingLeavesNothingAndGoesOn) {
  PutRange(0, 50);
  PutRange(50, 100);
  const std::string directory = dir_.path() + "/set";
  ASSERT_TRUE(os::WriteFileAtomically(&hasty_, directory + "/packs/0000000000000001.idx", "unreadable").ok());
  ASSERT_TRUE(os::WriteFileAtomically(&hasty_, directory + "/scan", "of a former home").ok());
  ASSERT_TRUE(store_->EraseAll().ok());
  EXPECT_EQ(hasty_.List(directory)->size(), 1u);
  EXPECT_TRUE(hasty_.List(directory + "/packs")->empty());
  EXPECT_EQ(store_->Stats()->pack_bytes, 0u);
  EXPECT_FALSE(Has(7));
  ASSERT_TRUE(store_->EraseAll().ok()) << "again";
  PutRange(0, 10);
  ExpectThere(0, 10);
  Open();
  ExpectThere(0, 10);
  EXPECT_FALSE(Has(60));
}

}  // namespace
}  // namespace bailiwick::store
