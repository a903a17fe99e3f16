// For the store's tests: a temporary directory with a dataset store over an index in memory, and chunks to put into it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/crypto/digest.h"
#include "common/os/files.h"
#include "common/store/dataset_store.h"
#include "common/store/fake_chunk_index.h"

namespace bailiwick::store {

// A chunk of bytes that do not compress. The same n gives the same; made once, since tests put the same ones again and
// again.
struct TestChunk {
  std::string bytes;
  Digest digest;
  StoredChunk stored;
};
inline const TestChunk& ChunkOf(uint64_t n, size_t size) {
  static absl::Mutex mutex(absl::kConstInit);
  static auto* chunks = new std::map<std::pair<uint64_t, size_t>, TestChunk>;
  absl::MutexLock lock(&mutex);
  TestChunk& chunk = (*chunks)[{n, size}];
  if (!chunk.digest.empty()) return chunk;
  chunk.bytes.resize(size);
  uint64_t state = n * 0x9e3779b97f4a7c15 + 1;
  for (char& c : chunk.bytes) {
    state = state * 6364136223846793005 + 1442695040888963407;
    c = static_cast<char>(state >> 56);
  }
  chunk.digest = crypto::Sha256(chunk.bytes);
  chunk.stored = EncodeChunk(chunk.bytes);
  return chunk;
}
inline const std::string& ChunkBytes(uint64_t n, size_t size = 3000) { return ChunkOf(n, size).bytes; }
inline Digest ChunkDigest(uint64_t n, size_t size = 3000) { return ChunkOf(n, size).digest; }

class TempDir {
 public:
  TempDir() {
    static int count = 0;
    path_ = ::testing::TempDir() + "/bw-store-" + std::to_string(getpid()) + "-" + std::to_string(count++);
    EXPECT_TRUE(os::Files::System()->RemoveTree(path_).ok());
    EXPECT_TRUE(os::Files::System()->MakeDirs(path_).ok());
  }
  ~TempDir() { os::Files::System()->RemoveTree(path_).IgnoreError(); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The real files without waiting for the disk: power is lost in FaultFiles' mind only.
class HastyFiles : public os::Files {
 public:
  absl::StatusOr<std::unique_ptr<os::File>> OpenRead(const std::string& path) override {
    return Hasty(base_->OpenRead(path));
  }
  absl::StatusOr<std::unique_ptr<os::File>> OpenReadWrite(const std::string& path, bool create) override {
    return Hasty(base_->OpenReadWrite(path, create));
  }
  absl::StatusOr<std::unique_ptr<os::File>> CreateNew(const std::string& path) override {
    return Hasty(base_->CreateNew(path));
  }
  absl::Status Rename(const std::string& from, const std::string& to) override { return base_->Rename(from, to); }
  absl::Status Remove(const std::string& path) override { return base_->Remove(path); }
  absl::Status RemoveTree(const std::string& path) override { return base_->RemoveTree(path); }
  absl::Status SyncDir(const std::string&) override { return absl::OkStatus(); }
  absl::Status MakeDirs(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    return error ? absl::InternalError(error.message()) : absl::OkStatus();
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return base_->List(path); }
  absl::StatusOr<bool> Exists(const std::string& path) override { return base_->Exists(path); }
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override { return base_->FreeBytes(path); }
  absl::StatusOr<std::unique_ptr<os::FileLock>> Lock(const std::string& path) override { return base_->Lock(path); }

 private:
  class HastyFile : public os::File {
   public:
    explicit HastyFile(std::unique_ptr<os::File> base) : base_(std::move(base)) {}
    absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) override {
      return base_->ReadAt(offset, out, n);
    }
    absl::Status WriteAt(uint64_t offset, std::string_view data) override { return base_->WriteAt(offset, data); }
    absl::Status Sync() override { return absl::OkStatus(); }
    absl::Status Truncate(uint64_t size) override { return base_->Truncate(size); }
    absl::StatusOr<uint64_t> Size() override { return base_->Size(); }

   private:
    std::unique_ptr<os::File> base_;
  };
  static absl::StatusOr<std::unique_ptr<os::File>> Hasty(absl::StatusOr<std::unique_ptr<os::File>> file) {
    if (!file.ok()) return file.status();
    return std::unique_ptr<os::File>(new HastyFile(*std::move(file)));
  }
  os::Files* const base_ = os::Files::System();
};

class StoreFixture : public ::testing::Test {
 protected:
  StoreFixture() { dataset_.bytes[3] = 9; }

  absl::Status TryOpen(os::Files* files) {
    store_ = nullptr;
    auto store = DatasetStore::Open({files, index_.get(), dir_.path() + "/set", dataset_, keys_, os::Random::System(), disk_reserve_, redactions_});
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    return absl::OkStatus();
  }
  void Open(os::Files* files = nullptr) {
    absl::Status status = TryOpen(files != nullptr ? files : &hasty_);
    ASSERT_TRUE(status.ok()) << status;
  }
  void LoseIndex() { index_ = std::make_unique<FakeChunkIndex>(); }

  absl::StatusOr<bool> Put(DatasetStore::Writer& writer, uint64_t n, size_t size = 3000) {
    const TestChunk& chunk = ChunkOf(n, size);
    return writer.Put(chunk.digest, chunk.stored);
  }
  // Puts and flushes chunks [from, to) with one writer.
  void PutRange(uint64_t from, uint64_t to, size_t size = 3000) {
    std::unique_ptr<DatasetStore::Writer> writer = store_->NewWriter();
    for (uint64_t n = from; n < to; ++n) ASSERT_TRUE(Put(*writer, n, size).ok());
    absl::Status flushed = writer->Flush();
    ASSERT_TRUE(flushed.ok()) << flushed;
  }
  bool Has(uint64_t n, size_t size = 3000) {
    auto has = store_->Has(ChunkDigest(n, size));
    EXPECT_TRUE(has.ok()) << has.status();
    return has.ok() && *has;
  }
  // OK only if it reads back as it was.
  absl::Status Reads(uint64_t n, size_t size = 3000) {
    auto raw = store_->ReadRaw(ChunkDigest(n, size));
    if (!raw.ok()) return raw.status();
    EXPECT_EQ(*raw, ChunkBytes(n, size)) << "chunk " << n << " reads back as something else";
    return *raw == ChunkBytes(n, size) ? absl::OkStatus() : absl::DataLossError("other bytes");
  }
  void ExpectThere(uint64_t from, uint64_t to, size_t size = 3000) {
    for (uint64_t n = from; n < to; ++n) {
      EXPECT_TRUE(Has(n, size)) << n;
      absl::Status read = Reads(n, size);
      EXPECT_TRUE(read.ok()) << n << ": " << read;
    }
  }
  std::vector<std::string> Names(const std::string& suffix) {
    std::vector<std::string> names;
    auto listed = os::Files::System()->List(packs());
    EXPECT_TRUE(listed.ok());
    for (const std::string& name : *listed) {
      if (name.size() > suffix.size() && name.substr(name.size() - suffix.size()) == suffix) names.push_back(name);
    }
    return names;
  }
  std::string packs() const { return dir_.path() + "/set/packs"; }
  // A pack that cannot be opened until it is shown again.
  void HidePack(const std::string& name) {
    const std::string path = packs() + "/" + name;
    std::filesystem::rename(path, path + "-aside");
    std::filesystem::create_symlink(path, path);
  }
  void ShowPack(const std::string& name) {
    const std::string path = packs() + "/" + name;
    std::filesystem::remove(path);
    std::filesystem::rename(path + "-aside", path);
  }
  void Overwrite(const std::string& name, uint64_t offset, std::string_view bytes) {
    auto file = os::Files::System()->OpenReadWrite(packs() + "/" + name, false);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->WriteAt(offset, bytes).ok());
  }

  HastyFiles hasty_;
  TempDir dir_;
  DatasetId dataset_;
  KeyProvider* keys_ = nullptr;
  uint64_t disk_reserve_ = 0;
  std::shared_ptr<RedactionBook> redactions_;
  std::unique_ptr<ChunkIndex> index_ = std::make_unique<FakeChunkIndex>();
  std::unique_ptr<DatasetStore> store_;
};

}  // namespace bailiwick::store
