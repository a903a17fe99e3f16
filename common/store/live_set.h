// What a collection of garbage must keep. Up to two million chunks are known one by one, more by a filter of ten bits
// each (about one in a hundred of the dead is then taken for live, until a later collection: another number of chunks
// places it elsewhere), so that a dataset of a hundred million files can be collected on a small machine. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "common/store/index_run.h"

namespace bailiwick::store {

class LiveSet {
 public:
  static constexpr uint64_t kExactChunks = 2 << 20;  // 40 MiB

  // Of a store that holds so many chunks. `exact`: what is dead is never taken for live, at 20 bytes a live chunk.
  LiveSet(uint64_t chunks, bool exact)
      : exact_(exact || chunks <= kExactChunks), filter_(exact_ ? 0 : IndexFilter::BytesFor(chunks)) {}
  void AddAll() { all_ = true; }
  void Add(const Digest& digest) {
    if (exact_) {
      heads_.insert(Head(digest));
    } else {
      filter_.Add(digest);
    }
  }
  bool Contains(const Digest& digest) const {
    return all_ || (exact_ ? heads_.contains(Head(digest)) : filter_.MayHold(digest));
  }

 private:
  static uint64_t Head(const Digest& digest) {
    uint64_t head;
    std::memcpy(&head, digest.bytes.data(), sizeof head);
    return head;  // a clash keeps one dead chunk, no more
  }

  const bool exact_;
  bool all_ = false;
  absl::flat_hash_set<uint64_t> heads_;
  IndexFilter filter_;
};

}  // namespace bailiwick::store
