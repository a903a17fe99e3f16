#include "common/store/dataset_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "common/os/fault_files.h"
#include "common/store/node_cache.h"
#include "common/store/pack.h"
#include "common/store/store_fixture.h"

namespace bailiwick::store {
namespace {

TEST(Codec, KeepsTheSmallerFormAndGivesItBack) {
  const std::string text(100'000, 'a');
  StoredChunk packed = EncodeChunk(text);
  EXPECT_EQ(packed.codec, Codec::kZstd);
  EXPECT_LT(packed.bytes.size(), 1000u);
  EXPECT_EQ(*DecodeChunk(packed, crypto::Sha256(text)), text);
  const std::string noise = ChunkBytes(1, 100'000);
  StoredChunk raw = EncodeChunk(noise);
  EXPECT_EQ(raw.codec, Codec::kRaw);
  EXPECT_EQ(*DecodeChunk(raw, crypto::Sha256(noise)), noise);
  EXPECT_EQ(*DecodeChunk(EncodeChunk(""), crypto::Sha256("")), "");
}

TEST(Codec, SeesWhatPaysAmongWhatDoesNot) {
  auto codec = [](const std::string& raw) { return EncodeChunk(raw).codec; };
  std::string digits(8192, '0');  // ten values, in the order of chance: no text, and half its size
  const std::string noise = ChunkBytes(2, digits.size());
  for (size_t i = 0; i < digits.size(); ++i) digits[i] = static_cast<char>('0' + static_cast<uint8_t>(noise[i]) % 10);
  EXPECT_EQ(codec(digits), Codec::kZstd);
  EXPECT_EQ(codec(noise), Codec::kRaw);
  EXPECT_EQ(codec(noise.substr(0, 6000) + std::string(2192, ' ')), Codec::kZstd) << "a quarter of it";
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (size_t size : {600u, 1024u, 5000u, 70'000u}) EXPECT_EQ(codec(ChunkBytes(seed, size)), Codec::kRaw) << size;
  }
}

TEST(Codec, RefusesWhatDoesNotDecodeToItsDigest) {
  const std::string text(100'000, 'a');
  const Digest digest = crypto::Sha256(text);
  StoredChunk good = EncodeChunk(text);
  auto refused = [&](StoredChunk chunk) { return absl::IsDataLoss(DecodeChunk(chunk, digest).status()); };
  EXPECT_TRUE(absl::IsDataLoss(DecodeChunk(good, crypto::Sha256("other")).status()));
  StoredChunk bad = good;
  bad.raw_length = UINT32_MAX;  // must not be allocated
  EXPECT_TRUE(refused(bad));
  bad.raw_length = 99'999;
  EXPECT_TRUE(refused(bad));
  bad.raw_length = 100'001;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.bytes.resize(bad.bytes.size() / 2);
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.codec = Codec::kRaw;
  EXPECT_TRUE(refused(bad));
  bad.codec = static_cast<Codec>(9);
  EXPECT_TRUE(refused(bad));
}

class DatasetStoreTest : public StoreFixture {
 protected:
  void SetUp() override { Open(); }
};

TEST_F(DatasetStoreTest, WhatWasFlushedIsThereAlsoAfterAReopen) {
  PutRange(0, 100);
  ExpectThere(0, 100);
  EXPECT_FALSE(Has(100));
  EXPECT_TRUE(absl::IsNotFound(Reads(100)));
  Open();
  ExpectThere(0, 100);
  EXPECT_EQ(Names(".pack").size(), 1u) << "a hundred chunks cost one pack";
  EXPECT_EQ(store_->Stats()->packs, 1u);
  EXPECT_EQ(store_->Stats()->chunks, 100u) << "known without reading the sidecar";
  PutRange(50, 150);
  EXPECT_EQ(store_->Stats()->chunks, 150u);
}

TEST_F(DatasetStoreTest, AChunkIsStoredOnce) {
  PutRange(0, 10);
  auto writer = store_->NewWriter();
  EXPECT_FALSE(*Put(*writer, 5));
  EXPECT_TRUE(*Put(*writer, 10));
  EXPECT_FALSE(*Put(*writer, 10));
  EXPECT_EQ(writer->stored_bytes(), 3000u);
  ASSERT_TRUE(writer->Flush().ok());
  EXPECT_EQ(Names(".pack").size(), 2u);
}

TEST_F(DatasetStoreTest, AWritersChunksAreReadAtOnceButCountOnlyWhenDurable) {
  auto writer = store_->NewWriter();
  for (uint64_t n = 0; n < 1000; ++n) ASSERT_TRUE(*Put(*writer, n));  // more than its buffer holds
  EXPECT_FALSE(Has(0));
  EXPECT_FALSE(Has(999));
  for (uint64_t n = 0; n < 1000; n += 37) EXPECT_TRUE(Reads(n).ok()) << n;
  EXPECT_TRUE(Reads(999).ok());
  // Another writer must not lean on what the first has not made durable.
  auto other = store_->NewWriter();
  EXPECT_TRUE(*Put(*other, 0));
  writer = nullptr;  // given up: its chunks are gone, the other's is not
  EXPECT_TRUE(Reads(0).ok());
  EXPECT_TRUE(absl::IsNotFound(Reads(1)));
  ASSERT_TRUE(other->Flush().ok());
  EXPECT_TRUE(Has(0));
  other = nullptr;
  EXPECT_EQ(Names(".pack").size(), 1u);
}

TEST_F(DatasetStoreTest, AWriterGoesOnAfterAFlushAndSealsLargePacksByItself) {
  auto writer = store_->NewWriter();
  const size_t size = 1 << 20;
  for (uint64_t n = 0; n < 70; ++n) ASSERT_TRUE(*Put(*writer, n, size));
  EXPECT_TRUE(Has(0, size)) << "the first 64 MiB were sealed";
  EXPECT_FALSE(Has(69, size));
  ASSERT_TRUE(writer->Flush().ok());
  EXPECT_TRUE(Has(69, size));
  ASSERT_TRUE(*Put(*writer, 1000));
  ASSERT_TRUE(writer->Flush().ok());
  ASSERT_TRUE(writer->Flush().ok()) << "nothing to do is fine";
  EXPECT_TRUE(Has(1000));
  EXPECT_EQ(Names(".pack").size(), 3u);
}

TEST_F(DatasetStoreTest, APackHoldsNoMoreChunksThanAnyoneCanKeepInMemory) {
  auto writer = store_->NewWriter();
  for (uint64_t n = 0; n < kPackChunks + 10; ++n) ASSERT_TRUE(*Put(*writer, n, 20));
  EXPECT_TRUE(Has(kPackChunks - 1, 20)) << "the first pack was sealed";
  EXPECT_FALSE(Has(kPackChunks, 20));
  ASSERT_TRUE(writer->Flush().ok());
  EXPECT_EQ(Names(".pack").size(), 2u);
  writer.reset();
  Open();
  for (uint64_t n = 0; n < kPackChunks + 10; ++n) ASSERT_TRUE(Has(n, 20)) << n;
}

TEST_F(DatasetStoreTest, ManyAreReadAsEachAloneWhateverItsState) {
  PutRange(0, 40);
  PutRange(100, 110, 200'000);
  PutRange(200, 201, 1 << 20);
  auto writer = store_->NewWriter();
  ASSERT_TRUE(*Put(*writer, 300));  // not sealed yet
  Overwrite(Names(".pack")[0], kPackHeaderBytes + 20 * (kRecordHeaderBytes + 3000) + kRecordHeaderBytes + 7, "damage");
  struct Wanted {
    uint64_t n;
    size_t size;
  };
  std::vector<Wanted> wanted;
  for (uint64_t n = 0; n < 40; ++n) wanted.push_back({n, 3000});
  for (uint64_t n : {105, 100, 101, 109}) wanted.push_back({n, 200'000});  // out of order, with gaps
  wanted.push_back({200, 1 << 20});
  wanted.push_back({300, 3000});
  wanted.push_back({400, 3000});  // nowhere
  wanted.push_back({3, 3000});    // again
  std::vector<Digest> digests;
  for (const Wanted& w : wanted) digests.push_back(ChunkDigest(w.n, w.size));
  std::vector<absl::StatusOr<ChunkView>> read = store_->ReadMany(digests);
  ASSERT_EQ(read.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Wanted& w = wanted[i];
    if (w.n == 20 || w.n == 400) {
      EXPECT_EQ(read[i].status().code(), w.n == 20 ? absl::StatusCode::kDataLoss : absl::StatusCode::kNotFound);
      continue;
    }
    ASSERT_TRUE(read[i].ok()) << w.n << ": " << read[i].status();
    EXPECT_EQ(*Decompress(read[i]->codec, read[i]->raw_length, read[i]->bytes), ChunkBytes(w.n, w.size)) << w.n;
  }
  EXPECT_FALSE(Has(20)) << "what was found damaged is fetched anew";
  EXPECT_TRUE(Has(21));
}

TEST_F(DatasetStoreTest, WhatIsKnownToBeMissingIsStoredWithoutALook) {
  auto writer = store_->NewWriter();
  const std::string& bytes = ChunkBytes(1);
  const std::string_view parts[] = {std::string_view(bytes).substr(0, 10), std::string_view(bytes).substr(10)};
  const ChunkParts chunk{.codec = Codec::kRaw, .raw_length = 3000, .parts = parts};
  EXPECT_TRUE(VerifyChunk(chunk, ChunkDigest(1)).ok());
  EXPECT_TRUE(absl::IsDataLoss(VerifyChunk(chunk, ChunkDigest(2))));
  ASSERT_TRUE(writer->PutMissing(ChunkDigest(1), chunk).ok());
  ASSERT_TRUE(writer->PutMissing(ChunkDigest(1), chunk).ok());
  EXPECT_EQ(writer->stored_bytes(), 3000u) << "not twice into one pack";
  EXPECT_TRUE(absl::IsInvalidArgument(
      writer->PutMissing(ChunkDigest(2), {.codec = Codec::kRaw, .raw_length = 2999, .parts = parts})));
  ASSERT_TRUE(writer->Flush().ok());
  ExpectThere(1, 2);
}

TEST_F(DatasetStoreTest, AnEmptyWriterLeavesNothing) {
  ASSERT_TRUE(store_->NewWriter()->Flush().ok());
  EXPECT_TRUE(Names("").empty());
}

TEST_F(DatasetStoreTest, ALostIndexIsMadeAnewFromTheSidecars) {
  PutRange(0, 50);
  PutRange(50, 80);
  LoseIndex();
  Open();
  ExpectThere(0, 80);
}

TEST_F(DatasetStoreTest, ADamagedSidecarIsMadeAnewFromThePack) {
  PutRange(0, 50);
  const std::string sidecar = Names(".idx")[0];
  Overwrite(sidecar, 100, "damage");
  LoseIndex();
  Open();
  ExpectThere(0, 50);
  LoseIndex();
  Open();  // now from the new sidecar
  ExpectThere(0, 50);
}

TEST_F(DatasetStoreTest, DamageInsideAPackLosesOnlyWhatItHit) {
  PutRange(0, 50);
  const uint64_t record = kRecordHeaderBytes + 3000;
  Overwrite(Names(".pack")[0], kPackHeaderBytes + 10 * record + 500, "damage");  // the bytes of one
  Overwrite(Names(".pack")[0], kPackHeaderBytes + 20 * record + 2, "damage");    // the header of another
  Overwrite(Names(".idx")[0], 100, "damage");
  LoseIndex();
  Open();
  int there = 0;
  for (uint64_t n = 0; n < 50; ++n) there += Has(n) && Reads(n).ok();
  EXPECT_EQ(there, 48);
}

// A file may hold what looks like a record, under the digest of another file's content.
TEST_F(DatasetStoreTest, WhatContentSaysIsNoRecord) {
  const TestChunk& claimed = ChunkOf(7, 3000);
  std::string other = ChunkBytes(8);
  ChunkLocation at;
  at.stored_length = at.raw_length = 3000;
  at.checksum = PackChecksum(other);
  std::string content = ChunkBytes(9) + EncodeRecordHeader(claimed.digest, at) + other;
  const Digest digest = crypto::Sha256(content);
  auto writer = store_->NewWriter();
  ASSERT_TRUE(writer->Put(digest, StoredChunk{Codec::kRaw, static_cast<uint32_t>(content.size()), content}).ok());
  ASSERT_TRUE(Put(*writer, 1).ok());
  ASSERT_TRUE(writer->Flush().ok());
  writer.reset();
  Overwrite(Names(".pack")[0], kPackHeaderBytes + kRecordHeaderBytes + 10, "damage");
  Overwrite(Names(".idx")[0], 100, "damage");
  LoseIndex();
  Open();
  EXPECT_FALSE(Has(7));
  EXPECT_TRUE(Reads(1).ok());
}

TEST_F(DatasetStoreTest, APackThatCannotBeOpenedIsMissedAndTheOthersGoOn) {
  PutRange(0, 10);
  const std::string pack = Names(".pack")[0];
  PutRange(10, 20);
  HidePack(pack);
  Open();
  EXPECT_NE(store_->losses(), 0u);
  EXPECT_FALSE(Has(5));
  ExpectThere(10, 20);
  PutRange(0, 10);
  ExpectThere(0, 20);
  ShowPack(pack);
  Open();
  EXPECT_EQ(store_->losses(), 0u);
  ExpectThere(0, 20);
}

TEST_F(DatasetStoreTest, ADamagedChunkIsRefusedAndReplacedByACopyFetchedAnew) {
  PutRange(0, 10);
  Overwrite(Names(".pack")[0], kPackHeaderBytes + kRecordHeaderBytes + 100, "damage");  // chunk 0
  EXPECT_TRUE(Has(0));
  EXPECT_TRUE(absl::IsDataLoss(Reads(0)));
  EXPECT_FALSE(Has(0)) << "so that it is fetched anew";
  EXPECT_TRUE(absl::IsDataLoss(Reads(0)));
  Open();
  EXPECT_FALSE(Has(0)) << "also after a restart";
  PutRange(0, 1);
  ExpectThere(0, 10);
  Open();
  ExpectThere(0, 10);
  LoseIndex();
  Open();
  ExpectThere(0, 10);  // the newer copy wins
}

TEST_F(DatasetStoreTest, APackThatSomebodyRemovedIsFetchedAnew) {
  PutRange(0, 10);
  ASSERT_TRUE(os::Files::System()->Remove(packs() + "/" + Names(".pack")[0]).ok());
  EXPECT_TRUE(absl::IsDataLoss(Reads(3)));
  EXPECT_FALSE(Has(3));
  PutRange(3, 4);
  EXPECT_TRUE(Reads(3).ok());
  Open();
  ExpectThere(3, 4);
  EXPECT_FALSE(Has(4));
}

TEST_F(DatasetStoreTest, WhatIsNotItsOwnIsLeftAlone) {
  PutRange(0, 1);
  for (const char* name : {"README", "0123456789abcdef.pack2", "notes.tmp"}) std::ofstream(packs() + "/" + name) << "x";
  std::ofstream(packs() + "/00000000000000ff.idx.tmp-abc") << "half a sidecar";
  const std::string newer = std::string("BWPACK\x02", 7) + std::string(100, 'n');
  std::ofstream(packs() + "/00000000000000fe.pack") << newer;
  Open();
  ExpectThere(0, 1);
  for (const char* name : {"README", "0123456789abcdef.pack2", "notes.tmp", "00000000000000fe.pack"}) {
    EXPECT_TRUE(std::filesystem::exists(packs() + "/" + name)) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(packs() + "/00000000000000ff.idx.tmp-abc"));
}

TEST_F(DatasetStoreTest, RefusesChunksOfImpossibleLength) {
  auto writer = store_->NewWriter();
  EXPECT_FALSE(writer->Put(ChunkDigest(1), {Codec::kRaw, 5, "four"}).ok());
  EXPECT_FALSE(writer->Put(ChunkDigest(1), {Codec::kZstd, kMaxChunkBytes + 1, "x"}).ok());
  EXPECT_TRUE(*Put(*writer, 1)) << "the writer is not broken by it";
}

// Whoever reads plans by the raw length: what lies in a pack must not be longer, however it decompresses.
TEST_F(DatasetStoreTest, RefusesAPaddedFrame) {
  const std::string text(3000, 'a');
  StoredChunk padded = EncodeChunk(text);
  ASSERT_EQ(padded.codec, Codec::kZstd);
  const uint32_t skippable[] = {0x184D2A50, 4000};  // RFC 8878, 3.1.2
  padded.bytes.append(reinterpret_cast<const char*>(skippable), sizeof skippable);
  padded.bytes.append(4000, '\0');
  ASSERT_TRUE(Decompress(padded.codec, padded.raw_length, padded.bytes).ok()) << "it verifies";
  EXPECT_TRUE(absl::IsInvalidArgument(store_->NewWriter()->Put(crypto::Sha256(text), padded).status()));
}

TEST_F(DatasetStoreTest, AHundredPacksNeedFewDescriptors) {
  for (uint64_t n = 0; n < 40; ++n) PutRange(n, n + 1);
  auto open = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = open();
  ExpectThere(0, 40);
  EXPECT_LE(open() - before, 8);
}

TEST_F(DatasetStoreTest, ManyThreadsReadWhileTwoWrite) {
  PutRange(0, 50);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([this, t] { PutRange(100 + t * 100, 300 + t * 100); });  // half of it the same
    threads.emplace_back([this] {
      for (int i = 0; i < 10; ++i) ExpectThere(0, 50);
      for (uint64_t n = 100; n < 400; ++n) {
        absl::Status read = Reads(n);
        EXPECT_TRUE(read.ok() || absl::IsNotFound(read)) << read;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ExpectThere(100, 400);
  Open();
  ExpectThere(0, 50);
  ExpectThere(100, 400);
}

class FullDiskTest : public StoreFixture {
 protected:
  FullDiskTest() : faults_(&hasty_, dir_.path()) { Open(&faults_); }
  ~FullDiskTest() override { store_ = nullptr; }
  os::FaultFiles faults_;
};

TEST_F(FullDiskTest, APutThatFindsNoRoomSaysSoAndWhatReachedTheDiskStays) {
  auto writer = store_->NewWriter();
  uint64_t n = 0;
  for (; n < 400; ++n) ASSERT_TRUE(Put(*writer, n).ok());  // the first buffer is on disk
  faults_.FailNext("write ", absl::ResourceExhaustedError("no space"));
  absl::Status failed;
  for (; n < 2000 && failed.ok(); ++n) failed = Put(*writer, n).status();
  EXPECT_TRUE(absl::IsResourceExhausted(failed)) << failed;
  EXPECT_EQ(Put(*writer, 5000).status(), failed) << "the writer takes no more";
  EXPECT_TRUE(absl::IsResourceExhausted(writer->Flush()));
  writer = nullptr;
  ExpectThere(0, 300);
  EXPECT_FALSE(Has(n - 1));
  PutRange(300, n);  // room again
  ExpectThere(0, n);
}

TEST_F(FullDiskTest, NoRoomForTheSidecarCostsTheLastRecordsOnly) {
  auto writer = store_->NewWriter();
  for (uint64_t n = 0; n < 1000; ++n) ASSERT_TRUE(Put(*writer, n).ok());
  faults_.FailNext("create ", absl::ResourceExhaustedError("no space"));
  EXPECT_TRUE(absl::IsResourceExhausted(writer->Flush()));
  writer = nullptr;
  ExpectThere(0, 300);
  ASSERT_EQ(Names(".pack").size(), 1u);
  Open(&faults_);
  ExpectThere(0, 300);
}

TEST_F(FullDiskTest, AFailedSyncIsNeverTrusted) {
  auto writer = store_->NewWriter();
  for (uint64_t n = 0; n < 10; ++n) ASSERT_TRUE(Put(*writer, n).ok());
  faults_.FailNext("sync ", absl::DataLossError("i/o error"));
  EXPECT_FALSE(writer->Flush().ok());
  for (uint64_t n = 0; n < 10; ++n) EXPECT_FALSE(Has(n));
  writer = nullptr;
  PutRange(0, 10);
  ExpectThere(0, 10);
}

TEST_F(FullDiskTest, AnIndexThatFailsDoesNotLoseAPack) {
  auto writer = store_->NewWriter();
  for (uint64_t n = 0; n < 10; ++n) ASSERT_TRUE(Put(*writer, n).ok());
  static_cast<FakeChunkIndex*>(index_.get())->FailPuts(absl::ResourceExhaustedError("no space"));
  EXPECT_FALSE(writer->Flush().ok());
  writer = nullptr;
  EXPECT_FALSE(Has(0));
  static_cast<FakeChunkIndex*>(index_.get())->FailPuts(absl::OkStatus());
  Open(&faults_);
  ExpectThere(0, 10);
}

TEST_F(FullDiskTest, AFullDiskDoesNotKeepADatasetFromOpening) {
  PutRange(0, 10);
  auto writer = store_->NewWriter();
  for (uint64_t n = 10; n < 1000; ++n) ASSERT_TRUE(Put(*writer, n).ok());
  faults_.StopAfter(0);  // the machine goes down
  writer = nullptr;
  ASSERT_TRUE(faults_.KeepUnsynced().ok());
  faults_.FailAt(1, absl::ResourceExhaustedError("no space"), /*from_then_on=*/true);
  Open(&faults_);
  ExpectThere(0, 10);
  faults_.ClearFaults();
  Open(&faults_);
  ExpectThere(0, 300);
}

TEST_F(DatasetStoreTest, NodesAreReadThroughABoundedCache) {
  auto writer = store_->NewWriter();
  ManifestBuilder builder([&](const Digest& digest, std::string_view encoded) {
    return writer->Put(digest, EncodeChunk(encoded)).status();
  });
  for (int i = 0; i < 20'000; ++i) {
    Entry e;
    e.path = "f" + std::to_string(1'000'000 + i);
    ASSERT_TRUE(builder.Add(e).ok());
  }
  auto summary = builder.Finish();
  ASSERT_TRUE(summary.ok());
  for (size_t bytes : {1, 1 << 20, 64 << 20}) {
    NodeCache cache(bytes);
    auto nodes = NewStoreNodeSource(store_.get(), &cache);
    for (int round = 0; round < 2; ++round) {  // before it is flushed, too
      ManifestCursor cursor(nodes.get(), summary->root);
      Entry e;
      int n = 0;
      while (*cursor.Next(&e)) ++n;
      EXPECT_EQ(n, 20'000);
    }
  }
  ASSERT_TRUE(writer->Flush().ok());
  NodeCache cache(1 << 20);
  EXPECT_TRUE(absl::IsNotFound(NewStoreNodeSource(store_.get(), &cache)->Load(ChunkDigest(1)).status()));
}

}  // namespace
}  // namespace bailiwick::store
