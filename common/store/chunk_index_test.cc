#include "common/store/chunk_index.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/store/fake_chunk_index.h"
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
                         [](const auto& info) { return info.param ? "RocksDb" : "Fake"; });

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

class RocksIndexTest : public ::testing::Test {
 protected:
  std::unique_ptr<ChunkIndex> Open(const std::string& name = "index") {
    auto index = ChunkIndex::Open(dir_.path() + "/" + name, 8 << 20);
    EXPECT_TRUE(index.ok()) << index.status();
    return index.ok() ? *std::move(index) : nullptr;
  }
  TempDir dir_;
};

TEST_F(RocksIndexTest, IsThereAfterAReopen) {
  ASSERT_TRUE(Open()->PutPack(Set(1), 7, PackOf(7, 0, 100)).ok());
  EXPECT_EQ(Where(*Open(), Set(1), 42), 7u);
}

TEST_F(RocksIndexTest, AfterACrashAPackThatIsMarkedIsWhole) {
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

TEST_F(RocksIndexTest, ACorruptOneIsSetAsideAndMadeAnew) {
  ASSERT_TRUE(Open()->PutPack(Set(1), 7, PackOf(7, 0, 100)).ok());
  std::ofstream(dir_.path() + "/index/CURRENT") << "nonsense";
  auto index = Open();
  ASSERT_NE(index, nullptr);
  EXPECT_FALSE(*index->HasPack(Set(1), 7));
  EXPECT_TRUE(std::filesystem::exists(dir_.path() + "/index.corrupt-1"));
  ASSERT_TRUE(index->PutPack(Set(1), 7, PackOf(7, 0, 100)).ok());
  EXPECT_EQ(Where(*index, Set(1), 42), 7u);
}

TEST_F(RocksIndexTest, OneFoundCorruptWhileInUseIsMadeAnewByTheNextOpen) {
  ASSERT_TRUE(Open()->PutPack(Set(1), 7, PackOf(7, 0, 10'000)).ok());
  for (const auto& file : std::filesystem::directory_iterator(dir_.path() + "/index")) {
    if (file.path().extension() != ".sst") continue;
    // The entries lie first; what is behind them stays whole, so that opening it shows nothing.
    std::fstream sst(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    sst.seekp(100);
    sst << std::string(100'000, 'x');
  }
  {
    auto index = Open();
    ASSERT_NE(index, nullptr);
    bool damaged = false;
    for (int i = 0; i < 10'000 && !damaged; ++i) damaged = absl::IsDataLoss(index->Get(Set(1), D(i)).status());
    EXPECT_TRUE(damaged);
  }
  auto index = Open();
  ASSERT_NE(index, nullptr);
  EXPECT_FALSE(*index->HasPack(Set(1), 7)) << "so every pack is indexed again";
  EXPECT_TRUE(index->Get(Set(1), D(1)).ok());
}

}  // namespace
}  // namespace bailiwick::store
