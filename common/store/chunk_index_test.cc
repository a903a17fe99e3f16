#include "common/store/chunk_index.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/store/fake_chunk_index.h"
#include "common/store/index_run.h"
#include "common/store/store_fixture.h"

namespace bailiwick::store {
namespace {

using Entries = std::vector<std::pair<Digest, ChunkLocation>>;

Entries PackOf(PackId pack, int from, int to) {
  Entries entries;
  for (int i = from; i < to; ++i) {
    ChunkLocation at;
    at.pack = pack;
    at.offset = (uint64_t{1} << 33) + static_cast<uint64_t>(i);
    at.stored_length = static_cast<uint32_t>(i);
    at.raw_length = static_cast<uint32_t>(2 * i);
    at.codec = 1;
    at.checksum = ~uint64_t{0} - static_cast<uint64_t>(i);
    entries.emplace_back(crypto::Sha256(std::to_string(i)), at);
  }
  return entries;
}
Digest D(int i) { return crypto::Sha256(std::to_string(i)); }
DatasetId Set(uint8_t n) {
  DatasetId id;
  id.bytes[15] = n;
  return id;
}
std::vector<std::string> RunsIn(const std::string& index) {
  std::vector<std::string> paths;
  for (const auto& file : std::filesystem::directory_iterator(index)) {
    if (absl::StartsWith(file.path().filename().string(), "run-")) paths.push_back(file.path().string());
  }
  return paths;
}
PackId Where(ChunkIndex& index, DatasetId dataset, int i) {
  auto at = index.Get(dataset, D(i));
  EXPECT_TRUE(at.ok()) << at.status();
  return at.ok() && at->has_value() ? (*at)->pack : 0;
}

// What every ChunkIndex does.
class ChunkIndexSuite : public ::testing::TestWithParam<bool> {
 protected:
  ChunkIndexSuite() {
    if (!GetParam()) {
      index_ = std::make_unique<FakeChunkIndex>();
      return;
    }
    auto index = ChunkIndex::Open(dir_.path() + "/index", 8 << 20);
    EXPECT_TRUE(index.ok()) << index.status();
    index_ = *std::move(index);
  }
  TempDir dir_;
  std::unique_ptr<ChunkIndex> index_;
};
INSTANTIATE_TEST_SUITE_P(All, ChunkIndexSuite, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Sorted" : "Fake"; });

TEST_P(ChunkIndexSuite, GivesBackWhatWasPut) {
  ASSERT_TRUE(index_->PutPack(Set(1), 7, PackOf(7, 0, 10'000)).ok());
  EXPECT_TRUE(*index_->HasPack(Set(1), 7));
  EXPECT_FALSE(*index_->HasPack(Set(1), 8));
  for (int i : {0, 1, 4095, 4096, 9999}) {
    auto at = index_->Get(Set(1), D(i));
    ASSERT_TRUE(at.ok() && at->has_value()) << i;
    const ChunkLocation expected = PackOf(7, i, i + 1)[0].second;
    EXPECT_EQ((*at)->pack, expected.pack);
    EXPECT_EQ((*at)->offset, expected.offset);
    EXPECT_EQ((*at)->stored_length, expected.stored_length);
    EXPECT_EQ((*at)->raw_length, expected.raw_length);
    EXPECT_EQ((*at)->codec, expected.codec);
    EXPECT_EQ((*at)->checksum, expected.checksum);
  }
  EXPECT_EQ(Where(*index_, Set(1), 10'000), 0u);
  auto many = index_->GetMany(Set(1), std::vector<Digest>{D(5), D(-1), D(6), D(5)});
  ASSERT_TRUE(many.ok());
  EXPECT_TRUE((*many)[0].has_value());
  EXPECT_FALSE((*many)[1].has_value());
  EXPECT_EQ((*many)[2]->stored_length, 6u);
  EXPECT_EQ((*many)[3]->stored_length, 5u);
  EXPECT_TRUE(index_->GetMany(Set(1), {})->empty());
}

TEST_P(ChunkIndexSuite, DatasetsDoNotSeeEachOther) {
  ASSERT_TRUE(index_->PutPack(Set(1), 7, PackOf(7, 0, 10)).ok());
  ASSERT_TRUE(index_->PutPack(Set(2), 8, PackOf(8, 5, 15)).ok());
  EXPECT_EQ(Where(*index_, Set(1), 5), 7u);
  EXPECT_EQ(Where(*index_, Set(2), 5), 8u);
  EXPECT_EQ(Where(*index_, Set(1), 12), 0u);
  EXPECT_FALSE(*index_->HasPack(Set(2), 7));
  ASSERT_TRUE(index_->DropDataset(Set(1)).ok());
  EXPECT_EQ(Where(*index_, Set(1), 5), 0u);
  EXPECT_FALSE(*index_->HasPack(Set(1), 7));
  EXPECT_EQ(Where(*index_, Set(2), 5), 8u);
  EXPECT_TRUE(*index_->HasPack(Set(2), 8));
}

TEST_P(ChunkIndexSuite, DroppingAPackLeavesWhatMovedToAnother) {
  ASSERT_TRUE(index_->PutPack(Set(1), 7, PackOf(7, 0, 10)).ok());
  ASSERT_TRUE(index_->PutPack(Set(1), 8, PackOf(8, 5, 10)).ok());
  std::vector<Digest> all;
  for (int i = 0; i < 10; ++i) all.push_back(D(i));
  ASSERT_TRUE(index_->DropPack(Set(1), 7, all).ok());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Where(*index_, Set(1), i), i < 5 ? 0u : 8u) << i;
  EXPECT_FALSE(*index_->HasPack(Set(1), 7));
  EXPECT_TRUE(*index_->HasPack(Set(1), 8));
}

TEST_P(ChunkIndexSuite, ForgetsAChunkOnlyInThePackNamed) {
  ASSERT_TRUE(index_->PutPack(Set(1), 7, PackOf(7, 0, 3)).ok());
  ASSERT_TRUE(index_->Forget(Set(1), D(1), 7).ok());
  ASSERT_TRUE(index_->Forget(Set(1), D(2), 8).ok());
  ASSERT_TRUE(index_->Forget(Set(1), D(99), 7).ok());
  EXPECT_EQ(Where(*index_, Set(1), 0), 7u);
  EXPECT_EQ(Where(*index_, Set(1), 1), 0u);
  EXPECT_EQ(Where(*index_, Set(1), 2), 7u);
  EXPECT_TRUE(*index_->HasPack(Set(1), 7));
}

class SortedIndexTest : public ::testing::Test {
 protected:
  std::unique_ptr<ChunkIndex> Open(const std::string& name = "index") {
    auto index = ChunkIndex::Open(dir_.path() + "/" + name, 8 << 20);
    EXPECT_TRUE(index.ok()) << index.status();
    return index.ok() ? *std::move(index) : nullptr;
  }
  TempDir dir_;
};

TEST_F(SortedIndexTest, IsThereAfterAReopen) {
  ASSERT_TRUE(Open()->PutPack(Set(1), 7, PackOf(7, 0, 100)).ok());
  EXPECT_EQ(Where(*Open(), Set(1), 42), 7u);
}

TEST_F(SortedIndexTest, AfterACrashAPackThatIsMarkedIsWhole) {
  auto index = Open();
  ASSERT_TRUE(index->PutPack(Set(1), 7, PackOf(7, 0, 10'000)).ok());
  ASSERT_TRUE(index->Flush().ok());
  ASSERT_TRUE(index->PutPack(Set(1), 8, PackOf(8, 10'000, 20'000)).ok());
  // The files as a crash leaves them.
  std::filesystem::copy(dir_.path() + "/index", dir_.path() + "/crashed");
  auto crashed = Open("crashed");
  EXPECT_TRUE(*crashed->HasPack(Set(1), 7));
  EXPECT_EQ(Where(*crashed, Set(1), 9'999), 7u);
  if (*crashed->HasPack(Set(1), 8)) {
    EXPECT_EQ(Where(*crashed, Set(1), 10'000), 8u);
    EXPECT_EQ(Where(*crashed, Set(1), 19'999), 8u);
  }
}

TEST_F(SortedIndexTest, ADamagedOneIsSetAsideAndMadeAnew) {
  // The list cut off, another in its place, a run that is gone, one without its end.
  const std::vector<std::function<void(const std::string&)>> damages = {
      [](const std::string& at) { std::filesystem::resize_file(at + "/RUNS", 40); },
      [](const std::string& at) { std::ofstream(at + "/RUNS") << "nonsense"; },
      [](const std::string& at) { std::filesystem::remove(RunsIn(at).front()); },
      [](const std::string& at) {
        std::filesystem::resize_file(RunsIn(at).front(), std::filesystem::file_size(RunsIn(at).front()) - 1);
      }};
  for (size_t i = 0; i < damages.size(); ++i) {
    const std::string name = absl::StrCat("index", i), path = dir_.path() + "/" + name;
    ASSERT_TRUE(Open(name)->PutPack(Set(1), 7, PackOf(7, 0, 100)).ok());
    damages[i](path);
    auto index = Open(name);
    ASSERT_NE(index, nullptr) << i;
    EXPECT_FALSE(*index->HasPack(Set(1), 7)) << i;
    EXPECT_TRUE(std::filesystem::exists(path + ".corrupt")) << i;
    ASSERT_TRUE(index->PutPack(Set(1), 7, PackOf(7, 0, 100)).ok());
    EXPECT_EQ(Where(*index, Set(1), 42), 7u);
    index.reset();
    std::ofstream(path + "/RUNS") << "nonsense again";
    EXPECT_NE(Open(name), nullptr);
  }
}

TEST_F(SortedIndexTest, EveryFlippedByteIsFoundOrDoesNotCount) {
  ASSERT_TRUE(Open()->PutPack(Set(1), 7, PackOf(7, 0, 150)).ok());
  const std::string path = RunsIn(dir_.path() + "/index").front();
  std::string good = *os::ReadFile(os::Files::System(), path);
  for (size_t at = 0; at < good.size(); at += 7) {
    std::string bad = good;
    bad[at] ^= 0x10;
    std::ofstream(path, std::ios::binary) << bad;
    auto run = IndexRun::Open(os::Files::System(), path);
    if (!run.ok() || !(*run)->LoadFilter().ok()) continue;
    for (int i = 0; i < 150; ++i) {
      auto found = (*run)->Find({D(i), Set(1)});
      if (!found.ok()) continue;
      ASSERT_TRUE(found->has_value()) << "byte " << at << ", entry " << i;
      EXPECT_EQ((*found)->at.stored_length, static_cast<uint32_t>(i));
    }
  }
}

TEST_F(SortedIndexTest, OneFoundDamagedWhileInUseIsMadeAnewByTheNextOpen) {
  ASSERT_TRUE(Open()->PutPack(Set(1), 7, PackOf(7, 0, 10'000)).ok());
  for (const std::string& path : RunsIn(dir_.path() + "/index")) {
    // The entries lie first; what is behind them stays whole, so that opening it shows nothing.
    std::fstream run(path, std::ios::in | std::ios::out | std::ios::binary);
    run.seekp(100);
    run << std::string(100'000, 'x');
  }
  {
    auto index = Open();
    ASSERT_NE(index, nullptr);
    bool damaged = false;
    for (int i = 0; i < 10'000 && !damaged; ++i) damaged = absl::IsInternal(index->Get(Set(1), D(i)).status());
    EXPECT_TRUE(damaged);
  }
  auto index = Open();
  ASSERT_NE(index, nullptr);
  EXPECT_FALSE(*index->HasPack(Set(1), 7)) << "so every pack is indexed again";
  EXPECT_TRUE(index->Get(Set(1), D(1)).ok());
}

TEST_F(SortedIndexTest, OneOfAnEarlierBuildIsMadeAnew) {
  ASSERT_TRUE(Open()->PutPack(Set(1), 7, PackOf(7, 0, 100)).ok());
  std::ofstream(dir_.path() + "/index/CURRENT") << "MANIFEST-000004\n";
  EXPECT_FALSE(*Open()->HasPack(Set(1), 7)) << "that build may have removed packs which this one's runs name";
}

TEST_F(SortedIndexTest, WhatADroppedDatasetGetsAnewCountsAcrossMergesAndReopens) {
  auto index = Open();
  ASSERT_TRUE(index->PutPack(Set(1), 7, PackOf(7, 0, 1'000)).ok());
  ASSERT_TRUE(index->PutPack(Set(2), 3, PackOf(3, 0, 1'000)).ok());
  ASSERT_TRUE(index->DropDataset(Set(1)).ok());
  ASSERT_TRUE(index->PutPack(Set(1), 8, PackOf(8, 500, 1'500)).ok());
  for (int reopen = 0; reopen < 2; ++reopen) {
    for (PackId pack = 100; pack < 110; ++pack) {  // runs enough for some merges
      ASSERT_TRUE(index->PutPack(Set(3), pack, PackOf(pack, 0, 1'000)).ok());
      ASSERT_TRUE(index->Flush().ok());
    }
    EXPECT_FALSE(*index->HasPack(Set(1), 7));
    EXPECT_TRUE(*index->HasPack(Set(1), 8));
    EXPECT_EQ(Where(*index, Set(1), 499), 0u);
    EXPECT_EQ(Where(*index, Set(1), 500), 8u);
    EXPECT_EQ(Where(*index, Set(2), 499), 3u);
    EXPECT_EQ(Where(*index, Set(3), 0), 109u);
    index.reset();
    index = Open();
  }
}

// Against a map in memory, with tables that turn, runs that are merged, packs that move and go, and reopens.
TEST_F(SortedIndexTest, AgreesWithTheFakeOverManyPacks) {
  std::mt19937 random(20261126);
  FakeChunkIndex fake;
  auto index = Open();
  std::map<PackId, std::pair<int, int>> packs;
  PackId next = 1;
  for (int round = 0; round < 60; ++round) {
    const DatasetId set = Set(1);
    const int from = static_cast<int>(random() % 200'000), to = from + static_cast<int>(random() % 20'000);
    ASSERT_TRUE(index->PutPack(set, next, PackOf(next, from, to)).ok());
    ASSERT_TRUE(fake.PutPack(set, next, PackOf(next, from, to)).ok());
    packs[next++] = {from, to};
    if (round % 4 == 3) {
      auto victim = std::next(packs.begin(), static_cast<std::ptrdiff_t>(random() % packs.size()));
      std::vector<Digest> digests;
      for (int i = victim->second.first; i < victim->second.second; ++i) digests.push_back(D(i));
      ASSERT_TRUE(index->DropPack(set, victim->first, digests).ok());
      ASSERT_TRUE(fake.DropPack(set, victim->first, digests).ok());
      packs.erase(victim);
    }
    if (round % 10 == 9) {
      ASSERT_TRUE(index->Flush().ok());
    }
    if (round % 20 == 19) {
      index.reset();
      index = Open();
    }
    std::vector<Digest> asked;
    for (int i = 0; i < 500; ++i) asked.push_back(D(static_cast<int>(random() % 230'000)));
    auto is = index->GetMany(set, asked), expected = fake.GetMany(set, asked);
    ASSERT_TRUE(is.ok()) << is.status();
    for (size_t i = 0; i < asked.size(); ++i) {
      ASSERT_EQ((*is)[i].has_value(), (*expected)[i].has_value());
      if ((*is)[i].has_value()) {
        ASSERT_EQ((*is)[i]->pack, (*expected)[i]->pack);
      }
    }
  }
  for (PackId pack = 1; pack < next; ++pack) EXPECT_EQ(*index->HasPack(Set(1), pack), packs.contains(pack)) << pack;
}

TEST_F(SortedIndexTest, IsReadWhileItIsWrittenAndMerged) {
  auto index = Open();
  ASSERT_TRUE(index->PutPack(Set(1), 1, PackOf(1, 0, 50'000)).ok());
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937 random(static_cast<unsigned>(r));
      while (!done) {
        const int i = static_cast<int>(random() % 50'000);
        ASSERT_GE(Where(*index, Set(1), i), 1u);
      }
    });
  }
  for (PackId pack = 2; pack < 12; ++pack) {
    ASSERT_TRUE(index->PutPack(Set(1), pack, PackOf(pack, 0, 50'000)).ok());
    ASSERT_TRUE(index->Flush().ok());
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(Where(*index, Set(1), 49'999), 11u);
}

}  // namespace
}  // namespace bailiwick::store
