// The bytes of a file, from the chunks of its manifest entry to their place around its holes. A part of a file at a
// time; several threads may write parts of one file, each with its own Placement.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/status.h"
#include "common/os/tree.h"
#include "common/store/dataset_store.h"
#include "common/store/manifest.h"

namespace bailiwick::agent {

// Where the bytes of a file's chunks go: one after the other, around its holes.
class Placement {
 public:
  explicit Placement(const store::Entry* entry) : entry_(entry) { SkipHoles(); }  // outlives this
  uint64_t at() const { return at_; }
  uint64_t written_end() const { return written_end_; }

  // The next `length` bytes of content, by `put(offset in the file, offset in the content, length)`. DATA_LOSS: there
  // is no place for them.
  template <typename Put>
  absl::Status Place(uint64_t length, Put put) {
    for (uint64_t from = 0; from < length;) {
      const uint64_t room = (hole_ < entry_->holes.size() ? entry_->holes[hole_].offset : entry_->size) - at_;
      const uint64_t n = std::min(length - from, room);
      if (n == 0) return absl::DataLossError("the chunks are longer than the file that the manifest describes");
      BW_RETURN_IF_ERROR(put(at_, from, n));
      from += n;
      at_ += n;
      written_end_ = at_;
      SkipHoles();
    }
    return absl::OkStatus();
  }

 private:
  void SkipHoles() {
    while (hole_ < entry_->holes.size() && entry_->holes[hole_].offset == at_) at_ += entry_->holes[hole_++].length;
  }
  const store::Entry* entry_;
  uint64_t at_ = 0;
  uint64_t written_end_ = 0;
  size_t hole_ = 0;
};

// Chunks in memory, decompressed.
struct RawChunks {
  std::vector<std::string_view> bytes;
  std::vector<std::shared_ptr<const void>> buffers;  // keep them
};
// In the order of `pieces`; the caller bounds how much. DATA_LOSS: damaged, or not what the manifest says.
absl::StatusOr<RawChunks> ReadChunks(store::DatasetStore& store, std::span<const store::Reference> pieces);

// At the next place: adjacent chunks with one write.
absl::Status WriteChunks(os::TreeFile& file, std::span<const std::string_view> chunks, Placement* placement);

}  // namespace bailiwick::agent
