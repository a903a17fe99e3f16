// What of a dataset is redacted: contents of files that nobody may read any more, and chunks that only those files
// used, which are erased. Versions stay what they are: their manifests keep names and digests.
//
// Files are named by their content (ContentId), so a redaction that passes through other hands carries no name.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/store/manifest.h"

namespace bailiwick::store {

// SHA-256 over how the manifest lists a file's chunks: equal for equal contents of one dataset. Empty for what has no
// chunks.
Digest ContentId(const Entry& entry);

struct Redaction {
  std::string order_id;  // 16 bytes
  absl::Time ordered_at;
  std::vector<Digest> contents;
  std::vector<Digest> chunks;
};

// "redacted by order 5f2b... of 2026-11-25"
std::string RedactedBy(const Redaction& redaction);

class RedactionBook {
 public:
  // From here on nothing of it is read, asked for or stored. `erase`: collections leave its chunks out too; else they
  // stay on the disk, out of reach, until a later Add says so. Never undone.
  void Add(std::shared_ptr<const Redaction> redaction, bool erase);

  bool empty() const { return !any_.load(std::memory_order_acquire); }  // one load: for hot paths
  uint64_t additions() const { return additions_.load(std::memory_order_acquire); }  // so far
  bool HasChunk(const Digest& digest) const { return !empty() && FindChunk(digest) != nullptr; }
  bool Erases(const Digest& digest) const;
  std::shared_ptr<const Redaction> FindChunk(const Digest& digest) const;
  // Of a file: its content is named, or one of its chunks is. Reads chunk lists of large files. Null: not redacted.
  absl::StatusOr<std::shared_ptr<const Redaction>> Find(NodeSource* nodes, const Entry& entry) const;

 private:
  struct Place {
    std::shared_ptr<const Redaction> by;
    bool erase = false;
  };
  std::atomic<bool> any_{false};
  std::atomic<uint64_t> additions_{0};
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<Digest, std::shared_ptr<const Redaction>> contents_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Digest, Place> chunks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::store
