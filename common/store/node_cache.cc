#include "common/store/node_cache.h"

#include <string>

#include "common/base/status.h"

namespace bailiwick::store {
namespace {

// What it takes in memory, with what the allocator adds, some: several times what it is encoded.
size_t BytesOf(const std::string& text) { return text.capacity() < sizeof(std::string) / 2 ? 0 : text.capacity() + 16; }

size_t BytesOf(const Node& node) {
  constexpr size_t kBeside = 256;  // the entry of the map and the list
  size_t bytes = kBeside + node.inner.capacity() * sizeof(Node::Child) + node.entries.capacity() * sizeof(Entry) +
                 node.references.capacity() * sizeof(Reference);
  for (const Node::Child& child : node.inner) bytes += BytesOf(child.first_path);
  for (const Entry& entry : node.entries) {
    bytes += BytesOf(entry.path) + BytesOf(entry.target);
    if (!entry.chunks.empty()) bytes += entry.chunks.capacity() * sizeof(Reference) + 16;
    if (!entry.holes.empty()) bytes += entry.holes.capacity() * sizeof(entry.holes[0]) + 16;
  }
  return bytes;
}

}  // namespace

uint64_t NodeCache::NewSource() {
  absl::MutexLock lock(&mutex_);
  return sources_++;
}

std::shared_ptr<const Node> NodeCache::Get(const Key& key) {
  absl::MutexLock lock(&mutex_);
  auto it = entries_.find(key);
  if (it == entries_.end()) return nullptr;
  order_.splice(order_.begin(), order_, it->second.position);
  return it->second.node;
}

void NodeCache::Put(const Key& key, std::shared_ptr<const Node> node) {
  const size_t cost = BytesOf(*node);
  absl::MutexLock lock(&mutex_);
  if (entries_.contains(key)) return;
  order_.push_front(key);
  entries_[key] = {std::move(node), order_.begin(), cost};
  bytes_ += cost;
  while (bytes_ > max_bytes_ && entries_.size() > 1) {
    auto oldest = entries_.find(order_.back());
    bytes_ -= oldest->second.cost;
    entries_.erase(oldest);
    order_.pop_back();
  }
}

class StoreNodeSource : public NodeSource {
 public:
  StoreNodeSource(DatasetStore* store, NodeCache* cache) : store_(store), cache_(cache), source_(cache->NewSource()) {}

  absl::StatusOr<std::shared_ptr<const Node>> Load(const Digest& digest) override {
    if (auto node = cache_->Get({source_, digest}); node != nullptr) return node;
    BW_ASSIGN_OR_RETURN(const std::string bytes, store_->ReadRaw(digest));
    BW_ASSIGN_OR_RETURN(Node node, DecodeNode(bytes));
    auto shared = std::make_shared<const Node>(std::move(node));
    cache_->Put({source_, digest}, shared);
    return std::shared_ptr<const Node>(shared);
  }

 private:
  DatasetStore* const store_;
  NodeCache* const cache_;
  const uint64_t source_;
};

std::unique_ptr<NodeSource> NewStoreNodeSource(DatasetStore* store, NodeCache* cache) {
  return std::make_unique<StoreNodeSource>(store, cache);
}

}  // namespace bailiwick::store
