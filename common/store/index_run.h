// One sorted run of the chunk index: a file that is written once, in order, and then only read.
//
// Format 1, little-endian. Blocks of 4 KiB {u32 entries; u32 check: the low half of XXH3-64 of the rest, seeded by their number;
// entries of 71 bytes in the order of their keys; zeros}, then for each block a u32 with the first four bytes of its
// first digest (a fence), the ids of the datasets that occur (16 bytes each; entries name them by their place here), a
// blocked Bloom filter (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007) or nothing, a
// footer. Digests are uniform: what a filter or a fence needs of a hash is taken from them as they are.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/os/files.h"
#include "common/store/chunk_index.h"

namespace bailiwick::store {

struct IndexKey {
  Digest digest;  // of a chunk, or what MarkOf says
  DatasetId dataset;

  bool operator==(const IndexKey&) const = default;
  std::strong_ordering operator<=>(const IndexKey& other) const;  // by digest first: all datasets lie mixed
  template <typename H>
  friend H AbslHashValue(H state, const IndexKey& key) {
    return H::combine(std::move(state), key.digest, key.dataset);
  }
};

// Under this a pack is marked as indexed; no digest of a chunk is so, since its algorithm is none.
Digest MarkOf(PackId pack);

struct IndexValue {
  ChunkLocation at;
  bool removed = false;  // so that what an older run says does not count
};

struct IndexEntry {
  IndexKey key;
  IndexValue value;
};

// Whether a digest is certainly not in a run. Immutable once filled.
class IndexFilter {
 public:
  static uint64_t BytesFor(uint64_t entries);
  explicit IndexFilter(uint64_t bytes) : blocks_(bytes / sizeof(Block)) {}
  void Add(const Digest& digest);
  bool MayHold(const Digest& digest) const;
  uint64_t bytes() const { return blocks_.size() * sizeof(Block); }
  char* data() { return reinterpret_cast<char*>(blocks_.data()); }

 private:
  using Block = std::array<uint64_t, 8>;  // a line of the processor's cache
  std::vector<Block> blocks_;
};

// Thread-safe. In memory it takes the fences: 0.07 bytes an entry.
class IndexRun {
 public:
  // DATA_LOSS: not a run, or damaged where a look begins. The blocks are checked when they are read.
  static absl::StatusOr<std::shared_ptr<const IndexRun>> Open(os::Files* files, const std::string& path);

  // DATA_LOSS: the block where it would be is damaged.
  absl::StatusOr<std::optional<IndexValue>> Find(const IndexKey& key) const;
  // Nothing where the run has none.
  absl::StatusOr<std::shared_ptr<const IndexFilter>> LoadFilter() const;

  uint64_t entries() const { return entries_; }
  uint64_t filter_bytes() const { return filter_bytes_; }

  // All entries in order. The run outlives it.
  class Cursor {
   public:
    explicit Cursor(const IndexRun* run) : run_(run) {}
    // False at the end.
    absl::StatusOr<bool> Next(IndexEntry* entry);

   private:
    const IndexRun* const run_;
    std::string buffer_;     // some blocks
    uint64_t buffered_ = 0;  // blocks read so far
    size_t block_ = 0;       // in the buffer
    uint32_t entry_ = 0;     // in that block
  };

 private:
  IndexRun() = default;
  absl::Status ReadBlocks(uint64_t first, uint64_t count, char* out) const;

  std::string path_;
  std::unique_ptr<os::File> file_;
  uint64_t entries_ = 0, filter_bytes_ = 0, filter_at_ = 0, filter_check_ = 0;
  std::vector<uint32_t> fences_;
  std::vector<DatasetId> datasets_;
  absl::flat_hash_map<DatasetId, uint32_t> slots_;
};

class IndexRunWriter {
 public:
  // `filter_bytes`: 0 for none, else what IndexFilter::BytesFor said of all that will be added. ALREADY_EXISTS.
  static absl::StatusOr<std::unique_ptr<IndexRunWriter>> Create(os::Files* files, const std::string& path,
                                                                uint64_t filter_bytes);
  absl::Status Add(const IndexEntry& entry);  // in ascending order of keys
  absl::Status Finish();                      // durable on OK, but for its name

 private:
  IndexRunWriter(std::unique_ptr<os::File> file, uint64_t filter_bytes)
      : file_(std::move(file)), filter_(filter_bytes) {}
  void EndBlock();
  absl::Status WriteOut();

  const std::unique_ptr<os::File> file_;
  IndexFilter filter_;
  std::string out_;    // whole blocks
  std::string block_;  // the entries of the one that is being filled
  uint64_t written_ = 0, entries_ = 0;
  std::vector<uint32_t> fences_;
  std::vector<DatasetId> datasets_;
  absl::flat_hash_map<DatasetId, uint32_t> slots_;
};

}  // namespace bailiwick::store
