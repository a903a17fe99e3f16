// The manifest: a content-addressed tree of path entries, sorted so that a depth-first walk with sorted names produces
// it in order ('/' sorts before every other byte). Node boundaries depend on the keys alone, so versions that share a
// run of entries share its nodes. Nodes are chunks of the dataset store. The binary format is in ARCHITECTURE.md;
// parsing is strict (every length checked, keys ascending, paths canonical) because nodes come from peers.
//
// Children of a node, in the order that `Want.spans` counts them:
//   inner node: its child nodes; leaf: for each entry in order, its references; chunk-list node: likewise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"

namespace bailiwick::store {

enum class EntryType : uint8_t { kFile = 1, kDirectory = 2, kSymlink = 3 };

// A piece of a file: a chunk, or a chunk-list node above chunks (file large enough).
struct Reference {
  Digest digest;
  uint64_t length = 0;  // of file content below it
};

struct Hole {  // a run of zeros the source did not store; restored as a hole
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct Entry {
  std::string
      path;  // relative, no leading or trailing '/', no empty, "." or ".." component, no NUL, at most 4096 bytes
  EntryType type = EntryType::kFile;
  uint32_t mode = 0;  // 07777
  int64_t mtime_ns = 0;
  uint64_t size = 0;                                   // files: bytes, holes included
  std::string target;                                  // symlinks
  std::optional<std::pair<uint32_t, uint32_t>> owner;  // uid, gid; only where the Dataset asks
  std::vector<Hole> holes;                             // ascending, not touching; chunks cover the rest, in order
  std::vector<Reference> chunks;                       // when list_height == 0
  uint8_t list_height = 0;  // > 0: chunks has one reference, the root of a chunk-list tree of that height
};

inline constexpr size_t kMaxNodeBytes = 1 << 20;
inline constexpr size_t kMaxHoles = 16'384;  // of an entry
inline constexpr size_t kMaxInlineChunks = 64;
inline constexpr int kMaxHeight = 12;

// <0, 0, >0 in manifest order.
int ComparePaths(std::string_view a, std::string_view b);
// `path` lies below `directory`, which is not below itself.
bool IsBelow(std::string_view path, std::string_view directory);
// INVALID_ARGUMENT with the reason.
absl::Status CheckPath(std::string_view path);

struct NodeChild {
  Digest digest;
  uint64_t length = 0;
  bool is_node = false;  // else a chunk of file content
};

enum class NodeKind : uint8_t { kInner = 1, kLeaf = 2, kList = 3 };

struct Node {
  NodeKind kind = NodeKind::kLeaf;
  uint8_t height = 0;  // leaf 0; inner: 1 + children's; list: 1 = children are chunks
  // Inner: one per child.
  struct Child {
    std::string first_path;
    Digest digest;
    uint64_t entries = 0;
    uint64_t bytes = 0;  // logical
  };
  std::vector<Child> inner;
  std::vector<Entry> entries;         // leaf
  std::vector<Reference> references;  // list

  std::vector<NodeChild> Children() const;
};

std::string EncodeNode(const Node& node);
// INVALID_ARGUMENT names what is wrong. Never crashes, never allocates more than a small multiple of the input.
absl::StatusOr<Node> DecodeNode(std::string_view bytes);

// Where nodes come from and go to.
class NodeSource {
 public:
  virtual ~NodeSource() = default;
  virtual absl::StatusOr<std::shared_ptr<const Node>> Load(const Digest& digest) = 0;  // thread-safe; may cache
};
using NodeSink = std::function<absl::Status(const Digest& digest, std::string_view encoded)>;

struct ManifestSummary {
  Digest root;
  uint8_t height = 0;
  uint64_t entries = 0;
  uint64_t files = 0;
  uint64_t logical_bytes = 0;
};

// A flat list of chunks that is longer than kMaxInlineChunks becomes a tree of chunk-list nodes: what an entry then
// takes in memory does not grow with its file. Others stay as they are.
absl::Status FoldChunks(const NodeSink& sink, Entry* entry);

// Streaming: Add in manifest order (INVALID_ARGUMENT otherwise), then Finish. Memory bounded by a few nodes a level.
class ManifestBuilder {
 public:
  explicit ManifestBuilder(NodeSink sink);
  ~ManifestBuilder();
  absl::Status Add(Entry entry);  // its chunks are folded
  // Takes a subtree of another manifest over as it is: a whole node of that height (0: a leaf) whose paths follow all
  // that was added. Only where the same node would have been built from its entries: AtNodeStart(height), and the node
  // is not the last of its height in its own manifest, or is the last thing that is added here. Its files are not in
  // the summary's count.
  bool AtNodeStart(int height) const;
  absl::Status AddSubtree(const Node::Child& child, int height);
  absl::StatusOr<ManifestSummary> Finish();  // an empty manifest has a root too (an empty leaf)

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Entries of a version in order. One thread.
class ManifestCursor {
 public:
  ManifestCursor(NodeSource* source, const Digest& root, std::string_view from = "");  // begins at or behind that path
  ~ManifestCursor();
  absl::StatusOr<bool> Next(Entry* out);  // false: end

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One entry by path; nullopt when absent. Reads one node a level.
absl::StatusOr<std::optional<Entry>> FindEntry(NodeSource* source, const Digest& root, std::string_view path);

// All chunk references of a file, walking its chunk list. `visit` in file order.
absl::Status ForEachChunk(NodeSource* source, const Entry& entry,
                          const std::function<absl::Status(const Reference&)>& visit);

// Two files of the same bytes, in the same chunks.
bool SameContent(const Entry& a, const Entry& b);
// In all that a version says of it but its path.
bool SameEntry(const Entry& a, const Entry& b);

// Entries that differ between two manifests (empty digest: nothing), in order; skips shared subtrees, so it reads what
// changed. Exactly one of before/after may be null.
using DiffVisitor = std::function<absl::Status(const Entry* before, const Entry* after)>;
absl::Status DiffManifests(NodeSource* source, const Digest& before, const Digest& after, const DiffVisitor& visit);

struct ManifestEdit {
  std::string path;
  std::optional<Entry> entry;  // what is there from now on (entry->path == path); nothing: it goes, with all below it
  // With a directory: all below it goes first (what is there now follows as edits of its own). Implied by the others.
  bool clear_below = false;
};

// The manifest that a builder would make of the entries of `root` after the edits (paths ascending strictly), reading
// and writing only the nodes on the way to what they touch. `files`: how many `root` has.
absl::StatusOr<ManifestSummary> EditManifest(NodeSource* source, const Digest& root, uint64_t files,
                                             const std::vector<ManifestEdit>& edits, NodeSink sink);

// Every node and chunk digest below a root, nodes first visited once. `enter` returns false to skip a node's subtree.
absl::Status WalkDag(NodeSource* source, const Digest& root,
                     const std::function<absl::StatusOr<bool>(const Digest& node)>& enter,
                     const std::function<absl::Status(const NodeChild& chunk)>& chunk);

}  // namespace bailiwick::store
