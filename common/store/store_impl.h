// The dataset store's insides, shared by its files. Private to the store.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "common/store/dataset_store.h"
#include "common/store/pack.h"

namespace bailiwick::store {

class PackWriter;

class StoreImpl : public DatasetStore {
 public:
  static constexpr size_t kOpenFiles = 8;  // 100 datasets in a process stay under 1,000 descriptors

  explicit StoreImpl(Options options) : options_(std::move(options)) {}
  absl::Status Recover();

  std::unique_ptr<Writer> NewWriter() override;
  absl::StatusOr<bool> Has(const Digest& digest) override;
  absl::StatusOr<std::vector<bool>> HasMany(std::span<const Digest> digests) override;
  absl::StatusOr<StoredChunk> Read(const Digest& digest) override;
  absl::StatusOr<std::string> ReadRaw(const Digest& digest) override;
  absl::StatusOr<GcResult> CollectGarbage(const Mark& mark) override;
  absl::StatusOr<StoreStats> Stats() override;

 private:
  friend class PackWriter;
  std::string PackPath(PackId pack) const;
  std::string SidecarPath(PackId pack) const;
  std::string packs_directory() const;
  PackId NewPackId();

  absl::Status RecoverSealed(PackId pack);
  absl::Status RecoverUnfinished(PackId pack);
  absl::Status WriteSidecar(PackId pack, uint64_t bytes, const PackEntries& entries);
  absl::StatusOr<PackEntries> ReadSidecar(PackId pack);

  // Whether a sealed pack that may be built on holds it.
  bool Usable(const Digest& digest, const std::optional<ChunkLocation>& at);
  absl::StatusOr<std::shared_ptr<os::File>> OpenPack(PackId pack);
  absl::StatusOr<StoredChunk> ReadAt(const Digest& digest, const ChunkLocation& at);
  void ForgetFile(PackId pack) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Garbage collection, see gc.cc.
  struct Candidate {
    PackId pack = 0;
    PackEntries entries;
  };
  absl::StatusOr<std::vector<Candidate>> ChooseCandidates(const absl::flat_hash_set<uint64_t>& live);
  absl::StatusOr<PackEntries> LiveEntries(PackId pack, const PackEntries& entries, const absl::flat_hash_set<uint64_t>& live);
  absl::Status RemovePack(const Candidate& candidate);
  bool WaitForWriters(uint64_t before);

  const Options options_;
  absl::Mutex gc_mutex_;  // one collection at a time
  absl::Mutex mutex_;
  absl::flat_hash_map<PackId, uint64_t> packs_ ABSL_GUARDED_BY(mutex_);  // sealed: size in bytes
  absl::flat_hash_set<PackId> condemned_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<Digest> quarantined_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Digest, std::pair<PackWriter*, ChunkLocation>> unsealed_ ABSL_GUARDED_BY(mutex_);
  std::set<uint64_t> writers_ ABSL_GUARDED_BY(mutex_);  // tickets of open ones
  uint64_t next_ticket_ ABSL_GUARDED_BY(mutex_) = 1;
  std::list<std::pair<PackId, std::shared_ptr<os::File>>> files_ ABSL_GUARDED_BY(mutex_);  // newest first
};

// Writes packs. Its own mutex lets readers of other threads see what is not written out yet.
class PackWriter : public DatasetStore::Writer {
 public:
  static constexpr size_t kBufferBytes = 1 << 20;

  PackWriter(StoreImpl* store, uint64_t ticket) : store_(store), ticket_(ticket) {}
  ~PackWriter() override;
  absl::StatusOr<bool> Put(const Digest& digest, const StoredChunk& chunk) override;
  absl::Status Flush() override;
  uint64_t stored_bytes() const override { return stored_bytes_; }
  absl::StatusOr<std::string> ReadLocal(const ChunkLocation& at);

 private:
  absl::Status Begin();
  absl::Status WriteOut();
  absl::Status Seal();
  void Abandon();

  StoreImpl* const store_;
  const uint64_t ticket_;
  absl::Status failed_;
  PackId pack_ = 0;
  PackEntries entries_;
  uint64_t stored_bytes_ = 0;
  absl::Mutex mutex_;
  std::unique_ptr<os::File> file_ ABSL_GUARDED_BY(mutex_);
  std::string buffer_ ABSL_GUARDED_BY(mutex_);
  uint64_t written_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes of the file
};

}  // namespace bailiwick::store
