// NodeSource over a dataset store: parsed nodes in an LRU that is bounded by what they take in memory.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "common/store/dataset_store.h"
#include "common/store/manifest.h"

namespace bailiwick::store {

// One for all datasets of an agent: whatever their number, it takes no more. Thread-safe.
class NodeCache {
 public:
  explicit NodeCache(size_t max_bytes) : max_bytes_(max_bytes) {}

 private:
  friend class StoreNodeSource;
  using Key = std::pair<uint64_t, Digest>;  // of a source: the same digest is another node's where keys differ
  struct Cached {
    std::shared_ptr<const Node> node;
    std::list<Key>::iterator position;
    size_t cost = 0;
  };
  uint64_t NewSource();
  std::shared_ptr<const Node> Get(const Key& key);  // null: it is not here
  void Put(const Key& key, std::shared_ptr<const Node> node);

  const size_t max_bytes_;
  absl::Mutex mutex_;
  uint64_t sources_ ABSL_GUARDED_BY(mutex_) = 0;
  std::list<Key> order_ ABSL_GUARDED_BY(mutex_);  // newest first
  absl::flat_hash_map<Key, Cached> entries_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Thread-safe. Both outlive it.
std::unique_ptr<NodeSource> NewStoreNodeSource(DatasetStore* store, NodeCache* cache);

}  // namespace bailiwick::store
