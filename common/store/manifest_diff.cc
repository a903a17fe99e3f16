// What differs between two manifests, reading only the nodes that differ.
#include <utility>

#include "common/base/status.h"
#include "common/store/manifest.h"

namespace bailiwick::store {
namespace {

bool SameReferences(const std::vector<Reference>& a, const std::vector<Reference>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].digest != b[i].digest || a[i].length != b[i].length) return false;
  }
  return true;
}

bool SameHoles(const std::vector<Hole>& a, const std::vector<Hole>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].offset != b[i].offset || a[i].length != b[i].length) return false;
  }
  return true;
}

bool SameEntry(const Entry& a, const Entry& b) {
  return a.type == b.type && a.mode == b.mode && a.mtime_ns == b.mtime_ns && a.size == b.size && a.target == b.target &&
         a.owner == b.owner && a.list_height == b.list_height && SameReferences(a.chunks, b.chunks) && SameHoles(a.holes, b.holes);
}

// A position in a tree: before an entry, or before a whole subtree that was not looked into.
class Walker {
 public:
  explicit Walker(NodeSource* source) : source_(source) {}

  absl::Status Start(const Digest& root) {
    if (root.empty()) return absl::OkStatus();
    root_ = root;
    BW_ASSIGN_OR_RETURN(auto node, source_->Load(root));
    frames_.push_back({std::move(node), 0});
    Settle();
    return absl::OkStatus();
  }
  bool end() const { return frames_.empty(); }
  bool at_entry() const { return frames_.back().node->kind == NodeKind::kLeaf; }
  const Entry& entry() const { return frames_.back().node->entries[frames_.back().next]; }
  const Node::Child& child() const { return frames_.back().node->inner[frames_.back().next]; }
  int child_height() const { return frames_.back().node->height - 1; }
  std::string_view path() const { return at_entry() ? std::string_view(entry().path) : std::string_view(child().first_path); }
  void Skip() {
    ++frames_.back().next;
    Settle();
  }
  absl::Status Expand() {
    const Digest digest = child().digest;
    const int height = child_height();
    ++frames_.back().next;
    BW_ASSIGN_OR_RETURN(auto node, source_->Load(digest));
    const bool right = node->height == height && (height == 0 ? node->kind == NodeKind::kLeaf : node->kind == NodeKind::kInner);
    if (!right) return absl::DataLossError("the manifest has a node of the wrong kind");
    frames_.push_back({std::move(node), 0});
    Settle();
    return absl::OkStatus();
  }

 private:
  struct Frame {
    std::shared_ptr<const Node> node;
    size_t next = 0;
  };
  void Settle() {
    while (!frames_.empty()) {
      const Frame& top = frames_.back();
      const size_t size = top.node->kind == NodeKind::kLeaf ? top.node->entries.size() : top.node->inner.size();
      if (top.next < size) return;
      frames_.pop_back();
    }
  }
  NodeSource* const source_;
  Digest root_;
  std::vector<Frame> frames_;
};

}  // namespace

absl::Status DiffManifests(NodeSource* source, const Digest& before, const Digest& after, const DiffVisitor& visit) {
  if (before == after) return absl::OkStatus();
  Walker a(source);
  Walker b(source);
  BW_RETURN_IF_ERROR(a.Start(before));
  BW_RETURN_IF_ERROR(b.Start(after));
  while (!a.end() || !b.end()) {
    if (a.end() || b.end()) {
      Walker& w = a.end() ? b : a;
      if (!w.at_entry()) {
        BW_RETURN_IF_ERROR(w.Expand());
        continue;
      }
      BW_RETURN_IF_ERROR(a.end() ? visit(nullptr, &w.entry()) : visit(&w.entry(), nullptr));
      w.Skip();
      continue;
    }
    const int order = ComparePaths(a.path(), b.path());
    if (!a.at_entry() && !b.at_entry()) {
      if (a.child().digest == b.child().digest) {
        a.Skip();
        b.Skip();
      } else if (a.child_height() != b.child_height()) {
        BW_RETURN_IF_ERROR(a.child_height() > b.child_height() ? a.Expand() : b.Expand());
      } else if (order == 0) {
        BW_RETURN_IF_ERROR(a.Expand());
        BW_RETURN_IF_ERROR(b.Expand());
      } else {
        BW_RETURN_IF_ERROR(order < 0 ? a.Expand() : b.Expand());
      }
    } else if (!a.at_entry()) {
      if (order <= 0) {
        BW_RETURN_IF_ERROR(a.Expand());
      } else {
        BW_RETURN_IF_ERROR(visit(nullptr, &b.entry()));
        b.Skip();
      }
    } else if (!b.at_entry()) {
      if (order >= 0) {
        BW_RETURN_IF_ERROR(b.Expand());
      } else {
        BW_RETURN_IF_ERROR(visit(&a.entry(), nullptr));
        a.Skip();
      }
    } else if (order == 0) {
      if (!SameEntry(a.entry(), b.entry())) BW_RETURN_IF_ERROR(visit(&a.entry(), &b.entry()));
      a.Skip();
      b.Skip();
    } else if (order < 0) {
      BW_RETURN_IF_ERROR(visit(&a.entry(), nullptr));
      a.Skip();
    } else {
      BW_RETURN_IF_ERROR(visit(nullptr, &b.entry()));
      b.Skip();
    }
  }
  return absl::OkStatus();
}

}  // namespace bailiwick::store
