// For tests: a ChunkIndex in memory. It passes the same suite as the real one (chunk_index_test.cc). Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/store/chunk_index.h"

namespace bailiwick::store {

class FakeChunkIndex : public ChunkIndex {
 public:
  absl::StatusOr<std::optional<ChunkLocation>> Get(DatasetId dataset, const Digest& digest) override {
    absl::MutexLock lock(&mutex_);
    auto it = chunks_.find({dataset, digest});
    if (it == chunks_.end()) return std::nullopt;
    return it->second;
  }
  absl::StatusOr<std::vector<std::optional<ChunkLocation>>> GetMany(DatasetId dataset,
                                                                    std::span<const Digest> digests) override {
    std::vector<std::optional<ChunkLocation>> out;
    for (const Digest& digest : digests) out.push_back(*Get(dataset, digest));
    return out;
  }
  absl::Status PutPack(DatasetId dataset, PackId pack,
                       std::span<const std::pair<Digest, ChunkLocation>> chunks) override {
    absl::MutexLock lock(&mutex_);
    if (!fail_puts_.ok()) return fail_puts_;
    for (const auto& [digest, at] : chunks) chunks_[{dataset, digest}] = at;
    packs_.insert({dataset, pack});
    return absl::OkStatus();
  }
  absl::StatusOr<bool> HasPack(DatasetId dataset, PackId pack) override {
    absl::MutexLock lock(&mutex_);
    return packs_.count({dataset, pack}) != 0;
  }
  absl::Status DropPack(DatasetId dataset, PackId pack, std::span<const Digest> digests) override {
    for (const Digest& digest : digests) Forget(dataset, digest, pack).IgnoreError();
    absl::MutexLock lock(&mutex_);
    packs_.erase({dataset, pack});
    return absl::OkStatus();
  }
  absl::Status Forget(DatasetId dataset, const Digest& digest, PackId pack) override {
    absl::MutexLock lock(&mutex_);
    auto it = chunks_.find({dataset, digest});
    if (it != chunks_.end() && it->second.pack == pack) chunks_.erase(it);
    return absl::OkStatus();
  }
  absl::Status DropDataset(DatasetId dataset) override {
    absl::MutexLock lock(&mutex_);
    std::erase_if(chunks_, [&](const auto& e) { return e.first.first == dataset; });
    std::erase_if(packs_, [&](const auto& e) { return e.first == dataset; });
    return absl::OkStatus();
  }
  absl::Status Flush() override { return absl::OkStatus(); }
  bool damaged() const override { return false; }

  void FailPuts(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    fail_puts_ = std::move(status);
  }

 private:
  absl::Mutex mutex_;
  std::map<std::pair<DatasetId, Digest>, ChunkLocation> chunks_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<DatasetId, PackId>> packs_ ABSL_GUARDED_BY(mutex_);
  absl::Status fail_puts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::store
