#include "common/audit/merkle.h"

#include <array>
#include <bit>

#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::audit {
namespace {

// The largest power of two below n, n > 1: where RFC 6962 splits a tree.
uint64_t Split(uint64_t n) { return std::bit_floor(n - 1); }

// MTH(D[begin:begin + n]). Of the ranges that proofs need only the last may be no perfect subtree.
absl::StatusOr<Digest> RangeRoot(uint64_t begin, uint64_t n, const SubtreeReader& read) {
  if (std::has_single_bit(n)) return read(std::countr_zero(n), begin / n);
  const uint64_t k = Split(n);
  BW_ASSIGN_OR_RETURN(Digest left, RangeRoot(begin, k, read));
  BW_ASSIGN_OR_RETURN(Digest right, RangeRoot(begin + k, n - k, read));
  return NodeHash(left, right);
}

// SUBPROOF(old, D[begin:begin + n], whole)
absl::Status SubProof(uint64_t old, uint64_t begin, uint64_t n, bool whole, const SubtreeReader& read,
                      std::vector<Digest>& proof) {
  if (old == n) {
    if (whole) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(Digest root, RangeRoot(begin, n, read));
    proof.push_back(root);
    return absl::OkStatus();
  }
  const uint64_t k = Split(n);
  absl::StatusOr<Digest> other;
  if (old <= k) {
    BW_RETURN_IF_ERROR(SubProof(old, begin, k, whole, read, proof));
    other = RangeRoot(begin + k, n - k, read);
  } else {
    BW_RETURN_IF_ERROR(SubProof(old - k, begin + k, n - k, false, read, proof));
    other = RangeRoot(begin, k, read);
  }
  BW_RETURN_IF_ERROR(other.status());
  proof.push_back(*other);
  return absl::OkStatus();
}

absl::Status Wrong(const char* what) { return absl::DataLossError(what); }

}  // namespace

Digest LeafHash(std::string_view entry) {
  const std::array<std::string_view, 2> parts = {std::string_view("\0", 1), entry};
  return crypto::Sha256(parts);
}

Digest NodeHash(const Digest& left, const Digest& right) {
  const std::array<std::string_view, 3> parts = {std::string_view("\1", 1), left.view(), right.view()};
  return crypto::Sha256(parts);
}

Digest EmptyRoot() { return crypto::Sha256(std::string_view()); }

absl::StatusOr<Digest> RootOf(uint64_t size, const SubtreeReader& read) {
  if (size == 0) return EmptyRoot();
  return RangeRoot(0, size, read);
}

absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size, const SubtreeReader& read) {
  if (index >= size || size > kMaxTreeSize) {
    return absl::InvalidArgumentError(absl::StrCat("a log of ", size, " records has no record ", index));
  }
  std::vector<Digest> proof;  // from the root down, turned over at the end
  uint64_t begin = 0, n = size;
  while (n > 1) {
    const uint64_t k = Split(n);
    const bool left = index - begin < k;
    absl::StatusOr<Digest> sibling = left ? RangeRoot(begin + k, n - k, read) : RangeRoot(begin, k, read);
    BW_RETURN_IF_ERROR(sibling.status());
    proof.push_back(*sibling);
    if (!left) begin += k;
    n = left ? k : n - k;
  }
  return std::vector<Digest>(proof.rbegin(), proof.rend());
}

absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t old_size, uint64_t size, const SubtreeReader& read) {
  if (old_size == 0 || old_size > size || size > kMaxTreeSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("a log of ", size, " records does not begin with one of ", old_size));
  }
  std::vector<Digest> proof;
  BW_RETURN_IF_ERROR(SubProof(old_size, 0, size, true, read, proof));
  return proof;
}

// RFC 9162, section 2.1.3.2.
absl::Status VerifyInclusion(uint64_t index, uint64_t size, const Digest& leaf, const std::vector<Digest>& proof,
                             const Digest& root) {
  if (index >= size || size > kMaxTreeSize) return Wrong("the record lies outside of the log");
  uint64_t node = index, last = size - 1;
  Digest hash = leaf;
  for (const Digest& sibling : proof) {
    if (last == 0) return Wrong("the proof is too long");
    if ((node & 1) != 0 || node == last) {
      hash = NodeHash(sibling, hash);
      while ((node & 1) == 0 && node != 0) {
        node >>= 1;
        last >>= 1;
      }
    } else {
      hash = NodeHash(hash, sibling);
    }
    node >>= 1;
    last >>= 1;
  }
  if (last != 0) return Wrong("the proof is too short");
  return hash == root ? absl::OkStatus() : Wrong("the record does not belong to the signed log");
}

// RFC 9162, section 2.1.4.2.
absl::Status VerifyConsistency(uint64_t old_size, const Digest& old_root, uint64_t size, const Digest& root,
                               const std::vector<Digest>& proof) {
  if (old_size > size || size > kMaxTreeSize) return Wrong("a log does not shrink");
  if (old_size == 0 || old_size == size) {
    if (!proof.empty()) return Wrong("the proof is too long");
    if (old_size == 0) return old_root == EmptyRoot() ? absl::OkStatus() : Wrong("the empty log has another root");
    return old_root == root ? absl::OkStatus() : Wrong("two logs of one size differ");
  }
  std::vector<Digest> path = proof;
  if (std::has_single_bit(old_size)) path.insert(path.begin(), old_root);
  if (path.empty()) return Wrong("the proof is too short");
  uint64_t node = old_size - 1, last = size - 1;
  while ((node & 1) != 0) {
    node >>= 1;
    last >>= 1;
  }
  Digest older = path[0], newer = path[0];
  for (size_t i = 1; i < path.size(); ++i) {
    if (last == 0) return Wrong("the proof is too long");
    if ((node & 1) != 0 || node == last) {
      older = NodeHash(path[i], older);
      newer = NodeHash(path[i], newer);
      while ((node & 1) == 0 && node != 0) {
        node >>= 1;
        last >>= 1;
      }
    } else {
      newer = NodeHash(newer, path[i]);
    }
    node >>= 1;
    last >>= 1;
  }
  if (last != 0) return Wrong("the proof is too short");
  if (older != old_root) return Wrong("the smaller log is not the one that was signed");
  return newer == root ? absl::OkStatus() : Wrong("the log does not begin with the smaller one");
}

void Peaks::Add(const Digest& leaf) {
  Digest hash = leaf;
  for (uint64_t n = size_; (n & 1) != 0; n >>= 1) {
    hash = NodeHash(peaks_.back(), hash);
    peaks_.pop_back();
  }
  peaks_.push_back(hash);
  ++size_;
}

Digest Peaks::Root() const {
  if (peaks_.empty()) return EmptyRoot();
  Digest root = peaks_.back();
  for (size_t i = peaks_.size() - 1; i > 0; --i) root = NodeHash(peaks_[i - 1], root);
  return root;
}

}  // namespace bailiwick::audit
