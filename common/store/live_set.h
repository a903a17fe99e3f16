// What a collection of garbage must keep. Up to two million chunks are known one by one, more by a filter of ten bits
// each (about one in a hundred of the dead is then taken for live, until a later collection: another number of chunks
// places it elsewhere), so that a dataset of a hundred million files can be collected on a small machine. Not
// thread-safe.
//
// What must go for good is told from what lives by half of its digest: nobody can make two that are alike in it.
#pragma once

#include <cstdint>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "absl/numeric/int128.h"
#include "common/store/index_run.h"

namespace bailiwick::store {

class LiveSet {
 public:
  static constexpr uint64_t kExactChunks = 2 << 20;  // 40 MiB

  // Of a store that holds so many chunks. `exact`: what is dead is never taken for live, at 20 to 40 bytes a live
  // chunk.
  LiveSet(uint64_t chunks, bool exact)
      : kind_(exact                    ? kExact
              : chunks <= kExactChunks ? kHeads
                                       : kFilter),
        filter_(kind_ == kFilter ? IndexFilter::BytesFor(chunks) : 0) {}
  void AddAll() { all_ = true; }
  void Add(const Digest& digest) {
    switch (kind_) {
      case kExact:
        halves_.insert(Begin<absl::uint128>(digest));
        break;
      case kHeads:
        heads_.insert(Begin<uint64_t>(digest));
        break;
      case kFilter:
        filter_.Add(digest);
    }
  }
  bool Contains(const Digest& digest) const {
    if (all_) return true;
    switch (kind_) {
      case kExact:
        return halves_.contains(Begin<absl::uint128>(digest));
      case kHeads:
        return heads_.contains(Begin<uint64_t>(digest));  // a clash keeps one dead chunk, no more
      case kFilter:
        break;
    }
    return filter_.MayHold(digest);
  }

 private:
  enum Kind { kExact, kHeads, kFilter };
  template <typename Number>
  static Number Begin(const Digest& digest) {
    Number begin;
    std::memcpy(&begin, digest.bytes.data(), sizeof begin);
    return begin;
  }

  const Kind kind_;
  bool all_ = false;
  absl::flat_hash_set<absl::uint128> halves_;
  absl::flat_hash_set<uint64_t> heads_;
  IndexFilter filter_;
};

}  // namespace bailiwick::store
