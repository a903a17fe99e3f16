// Encrypted datasets: what is on the disk, what is refused, and what happens to keys.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/os/clock.h"
#include "common/os/fault_files.h"
#include "common/store/data_key.h"
#include "common/store/key_files.h"
#include "common/store/pack_seal.h"
#include "common/store/store_fixture.h"

namespace bailiwick::store {
namespace {

class AtRestTest : public StoreFixture {
 protected:
  void SetUp() override {
    keys_ = &key_files_;
    key_ = NewKey();
    Open();
  }
  std::string NewKey() {
    clock_.Advance(absl::Seconds(1));
    auto key = key_files_.Generate(clock_.Now());
    EXPECT_TRUE(key.ok()) << key.status();
    return key->id;
  }
  void Encrypt() {
    absl::Status status = store_->Encrypt(key_);
    ASSERT_TRUE(status.ok()) << status;
  }
  absl::StatusOr<DatasetStore::GcResult> Collect(uint64_t from, uint64_t to) {
    return store_->CollectGarbage([=](const std::function<void(const Digest&)>& live) {
      for (uint64_t n = from; n < to; ++n) live(ChunkDigest(n));
      return absl::OkStatus();
    });
  }
  // All bytes below the dataset's directory.
  std::string OnDisk() {
    std::string all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path() + "/set")) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      std::ostringstream bytes;
      bytes << in.rdbuf();
      all += bytes.str();
    }
    return all;
  }
  bool OnDiskAreTracesOf(uint64_t n) {
    const std::string disk = OnDisk();
    return disk.find(ChunkBytes(n).substr(100, 64)) != std::string::npos ||
           disk.find(ChunkDigest(n).view()) != std::string::npos;
  }
  void CopyFile(const std::string& from, const std::string& to) {
    std::filesystem::copy_file(packs() + "/" + from, packs() + "/" + to,
                               std::filesystem::copy_options::overwrite_existing);
  }

  TempDir key_dir_;
  os::FakeClock clock_;
  KeyFiles key_files_{os::Files::System(), os::Random::System(), key_dir_.path() + "/keys"};
  std::string key_;
};

TEST_F(AtRestTest, NothingOfTheContentIsOnTheDiskAndAllOfItReadsBack) {
  PutRange(0, 3);
  EXPECT_TRUE(OnDiskAreTracesOf(1)) << "a plain dataset shows what the search would find";
  ASSERT_TRUE(hasty_.RemoveTree(dir_.path() + "/set").ok());
  LoseIndex();
  Open();
  Encrypt();
  PutRange(0, 100);
  ExpectThere(0, 100);
  for (uint64_t n = 0; n < 100; ++n) EXPECT_FALSE(OnDiskAreTracesOf(n)) << n;
  for (const bool lose_index : {false, true}) {
    if (lose_index) LoseIndex();
    Open();
    ExpectThere(0, 100);
    EXPECT_FALSE(Has(100));
    EXPECT_EQ(store_->Stats()->chunks, 100u);
  }
  EXPECT_TRUE(store_->at_rest().encrypted());
  EXPECT_EQ(store_->at_rest().wrapping_key, key_);
  EXPECT_TRUE(Names(".pack").empty());
}

TEST_F(AtRestTest, TheIndexKnowsNoDigests) {
  Encrypt();
  PutRange(0, 20);
  for (uint64_t n = 0; n < 20; ++n) EXPECT_FALSE(index_->Get(dataset_, ChunkDigest(n))->has_value()) << n;
}

TEST_F(AtRestTest, WhatIsBeingWrittenReadsBack) {
  Encrypt();
  std::unique_ptr<DatasetStore::Writer> writer = store_->NewWriter();
  for (uint64_t n = 0; n < 8; ++n) ASSERT_TRUE(Put(*writer, n, 300'000).ok());
  for (uint64_t n = 0; n < 8; ++n) EXPECT_TRUE(Reads(n, 300'000).ok()) << n;
  ASSERT_TRUE(writer->Flush().ok());
  ExpectThere(0, 8, 300'000);
}

TEST_F(AtRestTest, AnUnfinishedPackIsKeptUpToItsLastWholeRecord) {
  Encrypt();
  std::string name;
  {
    std::unique_ptr<DatasetStore::Writer> writer = store_->NewWriter();
    for (uint64_t n = 0; n < 8; ++n) ASSERT_TRUE(Put(*writer, n, 300'000).ok());
    ASSERT_EQ(Names(".spack").size(), 1u);
    name = Names(".spack")[0];
    CopyFile(name, "saved");  // the writer drops its pack when it goes
  }
  const std::string renamed = "00000000000000ff.spack";
  CopyFile("saved", renamed);
  Open();
  EXPECT_FALSE(Has(0, 300'000)) << "under another name it is another pack: not ours";
  EXPECT_EQ(Names(".spack"), std::vector<std::string>{renamed}) << "and it is left alone";
  CopyFile("saved", name);
  std::filesystem::resize_file(packs() + "/" + name, std::filesystem::file_size(packs() + "/" + name) - 1000);
  Open();
  ExpectThere(0, 3, 300'000);
  EXPECT_FALSE(Has(7, 300'000));
  PutRange(0, 8, 300'000);
  ExpectThere(0, 8, 300'000);
}

TEST_F(AtRestTest, ConvertsWhatWasPlain) {
  PutRange(0, 50);
  Encrypt();
  PutRange(40, 60);
  ExpectThere(0, 60);
  EXPECT_FALSE(store_->at_rest().encrypted());
  EXPECT_EQ(store_->at_rest().plain_packs, 1u);
  ASSERT_TRUE(Collect(0, 60).ok());
  EXPECT_TRUE(store_->at_rest().encrypted());
  ExpectThere(0, 60);
  EXPECT_TRUE(Names(".pack").empty());
  EXPECT_TRUE(Names(".idx").empty());
  for (uint64_t n = 0; n < 60; ++n) EXPECT_FALSE(OnDiskAreTracesOf(n)) << n;
  LoseIndex();
  Open();
  ExpectThere(0, 60);
}

TEST_F(AtRestTest, ConvertsPastDamageAndALostSidecar) {
  PutRange(0, 50);
  Overwrite(Names(".pack")[0], kPackHeaderBytes + kRecordHeaderBytes + 100, "damage");
  Overwrite(Names(".idx")[0], 40, "damage");
  Encrypt();
  ASSERT_TRUE(Collect(0, 50).ok());
  EXPECT_TRUE(store_->at_rest().encrypted());
  ExpectThere(1, 50);
  EXPECT_FALSE(Has(0)) << "what is damaged is fetched anew";
  PutRange(0, 1);
  ExpectThere(0, 1);
}

TEST_F(AtRestTest, CollectsGarbage) {
  Encrypt();
  PutRange(0, 50);
  PutRange(50, 60);
  ASSERT_TRUE(Collect(0, 5).ok());
  ExpectThere(0, 5);
  EXPECT_FALSE(Has(7));
  LoseIndex();
  Open();
  ExpectThere(0, 5);
}

TEST_F(AtRestTest, DamageIsFoundAndFetchedAnew) {
  Encrypt();
  PutRange(0, 10);
  const uint64_t record = kRecordHeaderBytes + 3000 + kSealedTrailerBytes;
  Overwrite(Names(".spack")[0], kSealedHeaderBytes + 3 * record + kRecordHeaderBytes + 50, "damage");
  EXPECT_TRUE(absl::IsDataLoss(Reads(3)));
  EXPECT_FALSE(Has(3));
  ExpectThere(0, 3);
  ExpectThere(4, 10);
  PutRange(3, 4);
  ExpectThere(0, 10);
}

TEST_F(AtRestTest, ALostSidecarIsMadeAnewOverDamage) {
  Encrypt();
  PutRange(0, 10);
  const uint64_t record = kRecordHeaderBytes + 3000 + kSealedTrailerBytes;
  Overwrite(Names(".spack")[0], kSealedHeaderBytes + 3 * record, "damage");
  Overwrite(Names(".sidx")[0], 40, "damage");
  LoseIndex();
  Open();
  ExpectThere(0, 3);
  ExpectThere(4, 10);
  EXPECT_FALSE(Has(3));
}

TEST_F(AtRestTest, SwappedRecordsAndSwappedPacksAreDamage) {
  Encrypt();
  PutRange(0, 10);
  PutRange(10, 20);
  const std::string pack = Names(".spack")[0];
  const uint64_t record = kRecordHeaderBytes + 3000 + kSealedTrailerBytes;
  std::ifstream in(packs() + "/" + pack, std::ios::binary);
  std::ostringstream read;
  read << in.rdbuf();
  const std::string bytes = read.str();
  Overwrite(pack, kSealedHeaderBytes, bytes.substr(kSealedHeaderBytes + record, record));
  EXPECT_TRUE(absl::IsDataLoss(Reads(0))) << "a record of the same pack, elsewhere";
  ExpectThere(1, 10);
  Overwrite(Names(".spack")[1], kSealedHeaderBytes, bytes.substr(kSealedHeaderBytes, record));
  EXPECT_TRUE(absl::IsDataLoss(Reads(10))) << "a record of another pack, at the same place";
  ExpectThere(11, 20);
  CopyFile(Names(".spack")[1], pack);
  Open();
  EXPECT_TRUE(absl::IsDataLoss(Reads(1))) << "a whole pack under another's name";
}

TEST_F(AtRestTest, APackOfAnotherDatasetDoesNotOpen) {
  Encrypt();
  PutRange(0, 10);
  store_ = nullptr;
  dataset_.bytes[3] = 10;  // the same directory under another id: its data key is not for it
  Open();
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Has(ChunkDigest(0)).status()));
}

TEST_F(AtRestTest, RotationWrapsAnewAndWritesNoData) {
  Encrypt();
  PutRange(0, 10);
  std::ifstream before(packs() + "/" + Names(".spack")[0], std::ios::binary);
  std::ostringstream old_pack;
  old_pack << before.rdbuf();
  const std::string old_key = key_;
  key_ = NewKey();
  Encrypt();
  EXPECT_EQ(store_->at_rest().wrapping_key, key_);
  std::filesystem::remove(key_files_.directory() + "/" + old_key + ".key");
  Open();
  ExpectThere(0, 10);
  ASSERT_EQ(Names(".spack").size(), 1u);
  std::ifstream after(packs() + "/" + Names(".spack")[0], std::ios::binary);
  std::ostringstream new_pack;
  new_pack << after.rdbuf();
  EXPECT_EQ(old_pack.str(), new_pack.str());
}

TEST_F(AtRestTest, WithoutItsWrappingKeyItIsLockedAndNothingIsTouched) {
  Encrypt();
  PutRange(0, 10);
  store_ = nullptr;
  const std::string text = *key_files_.Export(key_);
  std::filesystem::remove(key_files_.directory() + "/" + key_ + ".key");
  const std::string before = OnDisk();
  Open();
  const absl::Status locked = store_->at_rest().locked;
  EXPECT_TRUE(absl::IsFailedPrecondition(locked)) << locked;
  EXPECT_NE(locked.message().find("key import"), absl::string_view::npos) << locked;
  EXPECT_EQ(store_->Has(ChunkDigest(1)).status(), locked);
  EXPECT_EQ(store_->Read(ChunkDigest(1)).status(), locked);
  EXPECT_EQ(store_->Encrypt(NewKey()), locked);
  EXPECT_FALSE(Collect(0, 0).ok());
  std::unique_ptr<DatasetStore::Writer> writer = store_->NewWriter();
  EXPECT_FALSE(Put(*writer, 50).ok());
  writer = nullptr;
  EXPECT_EQ(OnDisk(), before);
  EXPECT_FALSE(store_->Unlock().ok());
  ASSERT_TRUE(key_files_.Import(text).ok());
  absl::Status unlocked = store_->Unlock();
  EXPECT_TRUE(unlocked.ok()) << unlocked;
  ExpectThere(0, 10);
  PutRange(10, 12);
  ExpectThere(0, 12);
}

TEST_F(AtRestTest, WithoutItsDataKeyItIsLocked) {
  Encrypt();
  PutRange(0, 10);
  store_ = nullptr;
  std::filesystem::rename(dir_.path() + "/set/key", dir_.path() + "/saved");
  Open();
  EXPECT_NE(store_->at_rest().locked.message().find("is missing"), absl::string_view::npos) << store_->at_rest().locked;
  EXPECT_EQ(Names(".spack").size(), 1u);
  std::filesystem::rename(dir_.path() + "/saved", dir_.path() + "/set/key");
  ASSERT_TRUE(store_->Unlock().ok());
  ExpectThere(0, 10);
}

TEST_F(AtRestTest, ADamagedOrNewerKeyFileLocks) {
  Encrypt();
  PutRange(0, 10);
  for (const uint64_t at : {6, 20, 60}) {
    auto file = hasty_.OpenReadWrite(dir_.path() + "/set/key", false);
    char byte;
    ASSERT_TRUE((*file)->ReadAt(at, &byte, 1).ok());
    ASSERT_TRUE((*file)->WriteAt(at, std::string(1, static_cast<char>(byte + 1))).ok());
    Open();
    EXPECT_TRUE(absl::IsFailedPrecondition(store_->at_rest().locked)) << at;
    ASSERT_TRUE((*file)->WriteAt(at, std::string(1, byte)).ok());
  }
  Open();
  ExpectThere(0, 10);
}

TEST_F(AtRestTest, AKeyFileOfAnyOtherFormatIsRefused) {
  Encrypt();
  for (const int format : {0, 2, 127, 128, 255}) {
    auto file = hasty_.OpenReadWrite(dir_.path() + "/set/key", false);
    std::string bytes = *os::ReadFile(&hasty_, dir_.path() + "/set/key");
    bytes[6] = static_cast<char>(format);
    bytes.resize(bytes.size() - 8);
    const uint64_t checksum = PackChecksum(bytes);
    bytes.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
    ASSERT_TRUE((*file)->WriteAt(0, bytes).ok());
    EXPECT_EQ(ReadDataKeyFile(&hasty_, dir_.path() + "/set").status().code(),
              format == 0 ? absl::StatusCode::kDataLoss : absl::StatusCode::kFailedPrecondition)
        << format;
  }
}

TEST_F(AtRestTest, CryptoErasureIsForGood) {
  PutRange(0, 2);
  EXPECT_FALSE(*store_->CryptoErase()) << "a plain dataset has no key to destroy";
  Encrypt();
  PutRange(0, 10);
  auto key_file = *os::ReadFile(&hasty_, dir_.path() + "/set/key");
  EXPECT_TRUE(*store_->CryptoErase());
  EXPECT_TRUE(*store_->CryptoErase()) << "again is fine";
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Read(ChunkDigest(1)).status()));
  EXPECT_EQ(OnDisk().find(key_file.substr(40, 60)), std::string::npos);
  Open();
  EXPECT_NE(store_->at_rest().locked.message().find("on purpose"), absl::string_view::npos);
  EXPECT_FALSE(store_->Unlock().ok());
  EXPECT_FALSE(store_->Encrypt(key_).ok());
  // Its files removed, the dataset may come anew.
  ASSERT_TRUE(hasty_.RemoveTree(dir_.path() + "/set").ok());
  ASSERT_TRUE(index_->DropDataset(dataset_).ok());
  ASSERT_TRUE(store_->Unlock().ok());
  EXPECT_FALSE(Has(1));
  Encrypt();
  PutRange(0, 3);
  ExpectThere(0, 3);
}

TEST_F(AtRestTest, KeyFilesAreForTheirOwnerOnly) {
  const std::string path = key_files_.directory() + "/" + key_ + ".key";
  struct stat st;
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  absl::Status refused = store_->Encrypt(key_);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_NE(refused.message().find("chmod 600"), absl::string_view::npos) << refused;
  EXPECT_FALSE((*key_files_.List())[0].problem.empty());
  EXPECT_TRUE(store_->at_rest().wrapping_key.empty());
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  Encrypt();
}

TEST_F(AtRestTest, KeysAreListedNewestFirstAndProveThemselves) {
  const std::string newer = NewKey();
  auto keys = key_files_.List();
  ASSERT_TRUE(keys.ok());
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_EQ((*keys)[0].id, newer);
  EXPECT_EQ((*keys)[1].id, key_);
  crypto::Envelope envelope{.payload_type = "t", .payload = "p"};
  ASSERT_TRUE(key_files_.Prove(newer, &envelope).ok());
  EXPECT_TRUE(crypto::VerifyEnvelope(envelope, "t", {(*keys)[0].public_key}).ok());
  EXPECT_FALSE(crypto::VerifyEnvelope(envelope, "t", {(*keys)[1].public_key}).ok());
  EXPECT_FALSE(key_files_.Import("bailiwick storage key 1\nid 00\n").ok());
  const std::string text = *key_files_.Export(newer);
  EXPECT_EQ(text.find((*keys)[0].public_key), std::string::npos);
  std::string changed = text;
  changed[changed.find("secret ") + 8] ^= 1;
  EXPECT_FALSE(key_files_.Import(changed).ok());
  EXPECT_EQ(key_files_.Import(text)->id, newer);
  EXPECT_TRUE(absl::IsNotFound(key_files_.Export("../../etc/passwd").status()));
}

}  // namespace
}  // namespace bailiwick::store
