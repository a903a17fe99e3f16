// Merkle tree hashing and proofs of RFC 6962, section 2.1, with SHA-256: the tree of a log of n entries, the way of an
// entry to its root (inclusion), and that a tree begins with a smaller one (consistency). Pure functions; thread-safe.
// Sizes up to 2^62.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"

namespace bailiwick::audit {

inline constexpr uint64_t kMaxTreeSize = uint64_t{1} << 62;

Digest LeafHash(std::string_view entry);                   // SHA-256(0x00, entry)
Digest NodeHash(const Digest& left, const Digest& right);  // SHA-256(0x01, left, right)
Digest EmptyRoot();                                        // SHA-256()

// Hash of the perfect subtree of 2^level leaves whose first leaf is index * 2^level.
using SubtreeReader = std::function<absl::StatusOr<Digest>(int level, uint64_t index)>;

// Root of the tree of `size` entries.
absl::StatusOr<Digest> RootOf(uint64_t size, const SubtreeReader& read);

// INVALID_ARGUMENT unless index < size, or 0 < old_size <= size.
absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size, const SubtreeReader& read);
absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t old_size, uint64_t size, const SubtreeReader& read);

// DATA_LOSS: the proof does not show it.
absl::Status VerifyInclusion(uint64_t index, uint64_t size, const Digest& leaf, const std::vector<Digest>& proof,
                             const Digest& root);
// Everything is consistent with the empty tree, by an empty proof.
absl::Status VerifyConsistency(uint64_t old_size, const Digest& old_root, uint64_t size, const Digest& root,
                               const std::vector<Digest>& proof);

// The tree of a log that only grows: the perfect subtrees of which it is made, largest first.
class Peaks {
 public:
  void Add(const Digest& leaf);
  uint64_t size() const { return size_; }
  Digest Root() const;

 private:
  uint64_t size_ = 0;
  std::vector<Digest> peaks_;
};

}  // namespace bailiwick::audit
