// Reading manifest trees: in order, by path, file chunks, the whole graph.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/manifest.h"

namespace bailiwick::store {
namespace {

// Loads a child and checks that it is of the kind and height that its parent says: a crafted tree cannot make a reader loop.
absl::StatusOr<std::shared_ptr<const Node>> LoadManifestNode(NodeSource* source, const Digest& digest, int expected_height) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const Node> node, source->Load(digest));
  const bool right_kind = node->height == 0 ? node->kind == NodeKind::kLeaf : node->kind == NodeKind::kInner;
  if (!right_kind || (expected_height >= 0 && node->height != expected_height)) {
    return absl::DataLossError("the manifest has a node of the wrong kind");
  }
  return node;
}

absl::StatusOr<std::shared_ptr<const Node>> LoadListNode(NodeSource* source, const Reference& reference, int height) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const Node> node, source->Load(reference.digest));
  if (node->kind != NodeKind::kList || node->height != height) return absl::DataLossError("a chunk list has a node of the wrong kind");
  uint64_t sum = 0;
  for (const Reference& r : node->references) sum += r.length;
  if (sum != reference.length) return absl::DataLossError("a chunk list does not add up to its file's size");
  return node;
}

absl::Status VisitList(NodeSource* source, const Reference& reference, int height,
                       const std::function<absl::Status(const Reference&)>& visit) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const Node> node, LoadListNode(source, reference, height));
  for (const Reference& r : node->references) {
    BW_RETURN_IF_ERROR(height == 1 ? visit(r) : VisitList(source, r, height - 1, visit));
  }
  return absl::OkStatus();
}

}  // namespace

struct ManifestCursor::Impl {
  struct Frame {
    std::shared_ptr<const Node> node;
    size_t next = 0;
  };
  NodeSource* source;
  Digest root;
  bool started = false;
  std::vector<Frame> frames;
};

ManifestCursor::ManifestCursor(NodeSource* source, const Digest& root) : impl_(std::make_unique<Impl>()) {
  impl_->source = source;
  impl_->root = root;
}
ManifestCursor::~ManifestCursor() = default;

absl::StatusOr<bool> ManifestCursor::Next(Entry* out) {
  Impl& c = *impl_;
  if (!c.started) {
    c.started = true;
    if (c.root.empty()) return false;
    BW_ASSIGN_OR_RETURN(auto node, LoadManifestNode(c.source, c.root, -1));
    c.frames.push_back({std::move(node)});
  }
  while (!c.frames.empty()) {
    Impl::Frame& top = c.frames.back();
    if (top.node->kind == NodeKind::kLeaf) {
      if (top.next < top.node->entries.size()) {
        *out = top.node->entries[top.next++];
        return true;
      }
      c.frames.pop_back();
    } else if (top.next < top.node->inner.size()) {
      const Digest digest = top.node->inner[top.next++].digest;
      const int height = top.node->height - 1;
      BW_ASSIGN_OR_RETURN(auto node, LoadManifestNode(c.source, digest, height));
      c.frames.push_back({std::move(node)});
    } else {
      c.frames.pop_back();
    }
  }
  return false;
}

absl::StatusOr<std::optional<Entry>> FindEntry(NodeSource* source, const Digest& root, std::string_view path) {
  if (root.empty()) return std::nullopt;
  BW_ASSIGN_OR_RETURN(auto node, LoadManifestNode(source, root, -1));
  while (node->kind == NodeKind::kInner) {
    auto after = std::upper_bound(node->inner.begin(), node->inner.end(), path,
                                  [](std::string_view p, const Node::Child& c) { return ComparePaths(p, c.first_path) < 0; });
    if (after == node->inner.begin()) return std::nullopt;
    const int height = node->height - 1;
    BW_ASSIGN_OR_RETURN(node, LoadManifestNode(source, std::prev(after)->digest, height));
  }
  auto it = std::lower_bound(node->entries.begin(), node->entries.end(), path,
                             [](const Entry& e, std::string_view p) { return ComparePaths(e.path, p) < 0; });
  if (it == node->entries.end() || it->path != path) return std::nullopt;
  return *it;
}

absl::Status ForEachChunk(NodeSource* source, const Entry& entry, const std::function<absl::Status(const Reference&)>& visit) {
  for (const Reference& r : entry.chunks) {
    BW_RETURN_IF_ERROR(entry.list_height == 0 ? visit(r) : VisitList(source, r, entry.list_height, visit));
  }
  return absl::OkStatus();
}

absl::Status WalkDag(NodeSource* source, const Digest& root, const std::function<absl::StatusOr<bool>(const Digest& node)>& enter,
                     const std::function<absl::Status(const NodeChild& chunk)>& chunk) {
  absl::flat_hash_set<Digest> seen;
  std::vector<std::pair<Digest, int>> stack = {{root, 0}};
  while (!stack.empty()) {
    auto [digest, depth] = stack.back();
    stack.pop_back();
    if (depth > 2 * kMaxHeight + 2) return absl::DataLossError("the manifest is deeper than any manifest can be");
    if (!seen.insert(digest).second) continue;
    BW_ASSIGN_OR_RETURN(bool go, enter(digest));
    if (!go) continue;
    BW_ASSIGN_OR_RETURN(std::shared_ptr<const Node> node, source->Load(digest));
    std::vector<NodeChild> children = node->Children();
    for (auto it = children.rbegin(); it != children.rend(); ++it) {
      if (it->is_node) {
        stack.emplace_back(it->digest, depth + 1);
      } else {
        BW_RETURN_IF_ERROR(chunk(*it));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace bailiwick::store
