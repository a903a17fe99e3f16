// Reading manifest trees: in order, by path, file chunks, the whole graph.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/manifest.h"
#include "common/store/manifest_walker.h"

namespace bailiwick::store {
namespace {

absl::StatusOr<std::shared_ptr<const Node>> LoadListNode(NodeSource* source, const Reference& reference, int height) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const Node> node, source->Load(reference.digest));
  if (node->kind != NodeKind::kList || node->height != height)
    return absl::DataLossError("a chunk list has a node of the wrong kind");
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
  Impl(NodeSource* source, const Digest& r, std::string_view path) : walker(source), root(r), from(path) {}
  ManifestWalker walker;
  const Digest root;
  const std::string from;
  bool started = false;
};

ManifestCursor::ManifestCursor(NodeSource* source, const Digest& root, std::string_view from)
    : impl_(std::make_unique<Impl>(source, root, from)) {}
ManifestCursor::~ManifestCursor() = default;

absl::StatusOr<bool> ManifestCursor::Next(Entry* out) {
  ManifestWalker& walker = impl_->walker;
  if (!impl_->started) {
    impl_->started = true;
    BW_RETURN_IF_ERROR(walker.Start(impl_->root));
    while (!walker.end() && ComparePaths(walker.path(), impl_->from) < 0) {
      const std::string* behind = walker.at_entry() ? nullptr : walker.child_end();
      if (walker.at_entry() || (behind != nullptr && ComparePaths(*behind, impl_->from) <= 0)) {
        walker.Skip();
      } else {
        BW_RETURN_IF_ERROR(walker.Expand());
      }
    }
  }
  while (!walker.end() && !walker.at_entry()) BW_RETURN_IF_ERROR(walker.Expand());
  if (walker.end()) return false;
  *out = walker.entry();
  walker.Skip();
  return true;
}

absl::StatusOr<std::optional<Entry>> FindEntry(NodeSource* source, const Digest& root, std::string_view path) {
  if (root.empty()) return std::nullopt;
  BW_ASSIGN_OR_RETURN(auto node, LoadTreeNode(source, root, -1));
  while (node->kind == NodeKind::kInner) {
    auto after =
        std::upper_bound(node->inner.begin(), node->inner.end(), path,
                         [](std::string_view p, const Node::Child& c) { return ComparePaths(p, c.first_path) < 0; });
    if (after == node->inner.begin()) return std::nullopt;
    const Node::Child& child = *std::prev(after);
    BW_ASSIGN_OR_RETURN(auto below, LoadTreeNode(source, child.digest, node->height - 1));
    BW_RETURN_IF_ERROR(CheckChild(child, *below, after == node->inner.end() ? nullptr : &after->first_path));
    node = std::move(below);
  }
  auto it = std::lower_bound(node->entries.begin(), node->entries.end(), path,
                             [](const Entry& e, std::string_view p) { return ComparePaths(e.path, p) < 0; });
  if (it == node->entries.end() || it->path != path) return std::nullopt;
  return *it;
}

absl::Status ForEachChunk(NodeSource* source, const Entry& entry,
                          const std::function<absl::Status(const Reference&)>& visit) {
  for (const Reference& r : entry.chunks) {
    BW_RETURN_IF_ERROR(entry.list_height == 0 ? visit(r) : VisitList(source, r, entry.list_height, visit));
  }
  return absl::OkStatus();
}

absl::Status WalkDag(NodeSource* source, const Digest& root,
                     const std::function<absl::StatusOr<bool>(const Digest& node)>& enter,
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
