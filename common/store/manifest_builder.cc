// Builds manifest trees: a prolly tree whose node boundaries depend on the keys, so that shared runs share nodes.
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/store/manifest.h"
#include "common/store/manifest_walker.h"

namespace bailiwick::store {
namespace {

constexpr uint64_t kLeafMask = 127;  // a leaf ends after 128 entries on average
constexpr size_t kMaxLeafEntries = 512;
constexpr size_t kMaxLeafBytes = 64 << 10;
constexpr uint64_t kInnerMask = 63;  // an inner node has 64 children on average
constexpr size_t kMaxInnerChildren = 256;
constexpr size_t kMaxInnerBytes = 256 << 10;
constexpr uint64_t kListMask = 255;  // a chunk list node has 256 references on average
constexpr size_t kMaxListReferences = 1024;

// Upper bound of an entry's encoding, to end a leaf before it grows out of bounds.
size_t RoughSize(const Entry& e) {
  return e.path.size() + e.target.size() + 48 + e.chunks.size() * 37 + e.holes.size() * 20;
}

bool ListBoundary(const Digest& digest, int height) {
  // Bytes of the digest are uniform; another pair for each level, so that levels do not end together.
  const size_t at = static_cast<size_t>(2 * (height - 1)) % (Digest::kSize - 1);
  const uint64_t word = uint64_t{digest.bytes[at]} | uint64_t{digest.bytes[at + 1]} << 8;
  return (word & kListMask) == 0;
}

absl::StatusOr<Digest> EmitNode(const NodeSink& sink, const Node& node) {
  const std::string encoded = EncodeNode(node);
  const Digest digest = crypto::Sha256(encoded);
  BW_RETURN_IF_ERROR(sink(digest, encoded));
  return digest;
}

}  // namespace

absl::Status FoldChunks(const NodeSink& sink, Entry* entry) {
  if (entry->list_height != 0 || entry->chunks.size() <= kMaxInlineChunks) return absl::OkStatus();
  std::vector<Reference> references = std::move(entry->chunks);
  for (uint8_t height = 1; height <= kMaxHeight; ++height) {
    std::vector<Reference> up;
    Node node;
    node.kind = NodeKind::kList;
    node.height = height;
    auto flush = [&]() -> absl::Status {
      Reference r;
      for (const Reference& c : node.references) r.length += c.length;
      BW_ASSIGN_OR_RETURN(r.digest, EmitNode(sink, node));
      up.push_back(r);
      node.references.clear();
      return absl::OkStatus();
    };
    for (const Reference& r : references) {
      node.references.push_back(r);
      if (ListBoundary(r.digest, height) || node.references.size() >= kMaxListReferences) BW_RETURN_IF_ERROR(flush());
    }
    if (!node.references.empty()) BW_RETURN_IF_ERROR(flush());
    references = std::move(up);
    if (references.size() > 1) continue;
    entry->chunks = std::move(references);
    entry->list_height = height;
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError("a file with too many chunks");
}

struct ManifestBuilder::Impl {
  struct Level {
    Node pending;
    size_t bytes = 0;
    bool emitted = false;
  };

  explicit Impl(NodeSink s) : sink(std::move(s)) {}

  absl::StatusOr<Digest> Emit(const Node& node) { return EmitNode(sink, node); }

  Level& At(size_t height) {
    while (levels.size() < height) {
      Level level;
      level.pending.kind = NodeKind::kInner;
      level.pending.height = static_cast<uint8_t>(levels.size() + 1);
      levels.push_back(std::move(level));
    }
    return levels[height - 1];
  }

  absl::Status AddChild(size_t height, Node::Child child) {
    if (height > static_cast<size_t>(kMaxHeight)) return absl::ResourceExhaustedError("the manifest is too large");
    Level& level = At(height);
    const bool boundary =
        (XXH3_64bits_withSeed(child.first_path.data(), child.first_path.size(), height) & kInnerMask) == 0;
    level.bytes += child.first_path.size() + 56;
    level.pending.inner.push_back(std::move(child));
    if (boundary || level.pending.inner.size() >= kMaxInnerChildren || level.bytes >= kMaxInnerBytes)
      return FlushInner(height);
    return absl::OkStatus();
  }

  absl::Status FlushInner(size_t height) {
    Node::Child up;
    {
      Level& level = At(height);
      up.first_path = level.pending.inner.front().first_path;
      for (const Node::Child& c : level.pending.inner) {
        up.entries += c.entries;
        up.bytes += c.bytes;
      }
      BW_ASSIGN_OR_RETURN(up.digest, Emit(level.pending));
      level.pending.inner.clear();
      level.bytes = 0;
      level.emitted = true;
    }
    return AddChild(height + 1, std::move(up));
  }

  absl::Status FlushLeaf() {
    Node::Child up;
    up.first_path = leaf.entries.front().path;
    up.entries = leaf.entries.size();
    for (const Entry& e : leaf.entries) up.bytes += e.size;
    BW_ASSIGN_OR_RETURN(up.digest, Emit(leaf));
    leaf.entries.clear();
    leaf_bytes = 0;
    return AddChild(1, std::move(up));
  }

  NodeSink sink;
  Node leaf;
  size_t leaf_bytes = 0;
  std::vector<Level> levels;
  std::string last_path;
  ManifestSummary summary;
  bool finished = false;
};

ManifestBuilder::ManifestBuilder(NodeSink sink) : impl_(std::make_unique<Impl>(std::move(sink))) {}
ManifestBuilder::~ManifestBuilder() = default;

absl::Status ManifestBuilder::Add(Entry entry) {
  if (impl_->finished) return absl::FailedPreconditionError("the manifest is finished already");
  entry.mode &= 07777;
  if (entry.type != EntryType::kFile) entry.size = 0;  // what a file system says of a directory's size is no content
  BW_RETURN_IF_ERROR(CheckEntry(entry));
  if (!impl_->last_path.empty() && ComparePaths(impl_->last_path, entry.path) >= 0) {
    return absl::InvalidArgumentError("manifest entries must be added in order");
  }
  BW_RETURN_IF_ERROR(FoldChunks(impl_->sink, &entry));
  impl_->last_path = entry.path;
  impl_->summary.entries += 1;
  if (entry.type == EntryType::kFile) {
    impl_->summary.files += 1;
    impl_->summary.logical_bytes += entry.size;
  }
  const bool boundary = (XXH3_64bits(entry.path.data(), entry.path.size()) & kLeafMask) == 0;
  impl_->leaf_bytes += RoughSize(entry);
  impl_->leaf.entries.push_back(std::move(entry));
  if (boundary || impl_->leaf.entries.size() >= kMaxLeafEntries || impl_->leaf_bytes >= kMaxLeafBytes)
    return impl_->FlushLeaf();
  return absl::OkStatus();
}

bool ManifestBuilder::AtNodeStart(int height) const {
  if (!impl_->leaf.entries.empty()) return false;
  for (size_t h = 1; h <= static_cast<size_t>(height) && h <= impl_->levels.size(); ++h) {
    if (!impl_->levels[h - 1].pending.inner.empty()) return false;
  }
  return true;
}

absl::Status ManifestBuilder::AddSubtree(const Node::Child& child, int height) {
  if (impl_->finished || !AtNodeStart(height)) {
    return absl::FailedPreconditionError("a subtree that does not begin where a node does");
  }
  if (!impl_->last_path.empty() && ComparePaths(impl_->last_path, child.first_path) >= 0) {
    return absl::InvalidArgumentError("manifest entries must be added in order");
  }
  impl_->last_path = child.first_path;
  impl_->summary.entries += child.entries;
  impl_->summary.logical_bytes += child.bytes;
  for (int h = 1; h <= height; ++h) impl_->At(static_cast<size_t>(h)).emitted = true;
  return impl_->AddChild(static_cast<size_t>(height) + 1, child);
}

absl::StatusOr<ManifestSummary> ManifestBuilder::Finish() {
  Impl& b = *impl_;
  if (b.finished) return absl::FailedPreconditionError("the manifest is finished already");
  b.finished = true;
  if (b.summary.entries == 0) {
    BW_ASSIGN_OR_RETURN(b.summary.root, b.Emit(b.leaf));
    return b.summary;
  }
  if (!b.leaf.entries.empty()) BW_RETURN_IF_ERROR(b.FlushLeaf());
  for (size_t height = 1;; ++height) {
    Impl::Level& level = b.At(height);
    if (!level.emitted && level.pending.inner.size() == 1) {
      b.summary.root = level.pending.inner[0].digest;
      b.summary.height = static_cast<uint8_t>(height - 1);
      return b.summary;
    }
    if (!level.pending.inner.empty()) BW_RETURN_IF_ERROR(b.FlushInner(height));
  }
}

}  // namespace bailiwick::store
