#include "common/store/manifest_walker.h"

#include <utility>

#include "common/base/status.h"

namespace bailiwick::store {

absl::StatusOr<std::shared_ptr<const Node>> LoadTreeNode(NodeSource* source, const Digest& digest,
                                                         int expected_height) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const Node> node, source->Load(digest));
  const bool right_kind = node->height == 0 ? node->kind == NodeKind::kLeaf : node->kind == NodeKind::kInner;
  if (!right_kind || (expected_height >= 0 && node->height != expected_height)) {
    return absl::DataLossError("the manifest has a node of the wrong kind");
  }
  return node;
}

absl::Status CheckChild(const Node::Child& child, const Node& node, const std::string* end) {
  const absl::Status bad = absl::DataLossError("the manifest has a node that is not what its parent says");
  uint64_t entries = 0;
  uint64_t bytes = 0;
  const std::string* first = nullptr;
  const std::string* last = nullptr;
  if (node.kind == NodeKind::kLeaf) {
    if (node.entries.empty()) return bad;
    first = &node.entries.front().path;
    last = &node.entries.back().path;
    entries = node.entries.size();
    for (const Entry& e : node.entries) bytes += e.size;
  } else {
    first = &node.inner.front().first_path;
    last = &node.inner.back().first_path;
    for (const Node::Child& c : node.inner) {
      entries += c.entries;
      bytes += c.bytes;
    }
  }
  if (*first != child.first_path || entries != child.entries || bytes != child.bytes) return bad;
  if (end != nullptr && ComparePaths(*last, *end) >= 0) return bad;
  return absl::OkStatus();
}

absl::Status ManifestWalker::Start(const Digest& root) {
  if (root.empty()) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(auto node, LoadTreeNode(source_, root, -1));
  frames_.push_back({std::move(node)});
  Settle();
  return absl::OkStatus();
}

void ManifestWalker::Skip() {
  ++frames_.back().next;
  Settle();
}

absl::Status ManifestWalker::Expand() {
  Frame& top = frames_.back();
  const Node::Child& child = top.node->inner[top.next];
  const std::string* end = child_end();
  BW_ASSIGN_OR_RETURN(auto node, LoadTreeNode(source_, child.digest, child_height()));
  BW_RETURN_IF_ERROR(CheckChild(child, *node, end));
  ++top.next;
  frames_.push_back({std::move(node), 0, end});
  Settle();
  return absl::OkStatus();
}

void ManifestWalker::Settle() {
  while (!frames_.empty()) {
    const Frame& top = frames_.back();
    const size_t size = top.node->kind == NodeKind::kLeaf ? top.node->entries.size() : top.node->inner.size();
    if (top.next < size) return;
    frames_.pop_back();
  }
}

}  // namespace bailiwick::store
