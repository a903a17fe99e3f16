// A position in a manifest tree that only moves forward, and the checks that make a tree from a peer safe to walk.
// Private to the store.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/store/manifest.h"

namespace bailiwick::store {

// INVALID_ARGUMENT: the entry cannot be in a manifest (a decoder would refuse it).
absl::Status CheckEntry(const Entry& entry);

// Loads a node that is no chunk list. expected_height < 0: any (a root). DATA_LOSS when it is of another kind.
absl::StatusOr<std::shared_ptr<const Node>> LoadTreeNode(NodeSource* source, const Digest& digest, int expected_height);

// DATA_LOSS unless `node` is what its parent says of it: first path, counts, bytes; `end` (may be null) is the first
// path that is not below it any more.
absl::Status CheckChild(const Node::Child& child, const Node& node, const std::string* end);

// Before an entry, or before a whole subtree that was not looked into. Paths ascend strictly over the whole walk, so a
// crafted tree can neither loop nor name a path twice.
class ManifestWalker {
 public:
  explicit ManifestWalker(NodeSource* source) : source_(source) {}

  absl::Status Start(const Digest& root);  // an empty digest: nothing
  bool end() const { return frames_.empty(); }
  // The rest only when not at the end.
  bool at_entry() const { return frames_.back().node->kind == NodeKind::kLeaf; }
  const Entry& entry() const { return frames_.back().node->entries[frames_.back().next]; }
  const Node::Child& child() const { return frames_.back().node->inner[frames_.back().next]; }
  // First path behind child(); null: nothing follows it.
  const std::string* child_end() const {
    const Frame& top = frames_.back();
    return top.next + 1 < top.node->inner.size() ? &top.node->inner[top.next + 1].first_path : top.end;
  }
  int child_height() const { return frames_.back().node->height - 1; }
  std::string_view path() const { return at_entry() ? entry().path : child().first_path; }
  void Skip();
  absl::Status Expand();  // into child()

 private:
  struct Frame {
    std::shared_ptr<const Node> node;
    size_t next = 0;
    const std::string* end = nullptr;  // in a frame further down
  };
  void Settle();  // out of what is finished

  NodeSource* const source_;
  std::vector<Frame> frames_;
};

}  // namespace bailiwick::store
