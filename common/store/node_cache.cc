#include "common/store/node_cache.h"

#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status.h"

namespace bailiwick::store {
namespace {

constexpr size_t kMaxBytes = 16 << 20;  // an agent holds a hundred datasets

class StoreNodeSource : public NodeSource {
 public:
  StoreNodeSource(DatasetStore* store, size_t capacity) : store_(store), capacity_(capacity) {}

  absl::StatusOr<std::shared_ptr<const Node>> Load(const Digest& digest) override {
    {
      absl::MutexLock lock(&mutex_);
      if (auto it = entries_.find(digest); it != entries_.end()) {
        order_.splice(order_.begin(), order_, it->second.position);
        return it->second.node;
      }
    }
    BW_ASSIGN_OR_RETURN(std::string bytes, store_->ReadRaw(digest));
    BW_ASSIGN_OR_RETURN(Node node, DecodeNode(bytes));
    auto shared = std::make_shared<const Node>(std::move(node));
    // Parsed, a node takes a few times its encoded size.
    const size_t cost = 4 * bytes.size();
    absl::MutexLock lock(&mutex_);
    if (entries_.contains(digest)) return shared;
    order_.push_front(digest);
    entries_[digest] = {shared, order_.begin(), cost};
    bytes_ += cost;
    while (entries_.size() > capacity_ || (bytes_ > kMaxBytes && entries_.size() > 1)) {
      auto oldest = entries_.find(order_.back());
      bytes_ -= oldest->second.cost;
      entries_.erase(oldest);
      order_.pop_back();
    }
    return shared;
  }

 private:
  struct Cached {
    std::shared_ptr<const Node> node;
    std::list<Digest>::iterator position;
    size_t cost = 0;
  };
  DatasetStore* const store_;
  const size_t capacity_;
  absl::Mutex mutex_;
  std::list<Digest> order_ ABSL_GUARDED_BY(mutex_);  // newest first
  absl::flat_hash_map<Digest, Cached> entries_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

std::unique_ptr<NodeSource> NewStoreNodeSource(DatasetStore* store, size_t capacity_nodes) {
  return std::make_unique<StoreNodeSource>(store, capacity_nodes);
}

}  // namespace bailiwick::store
