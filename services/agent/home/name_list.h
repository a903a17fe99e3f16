// The names in a directory, sorted bytewise: directories have millions. Some MiB of them are kept as they are; what is
// beyond that in runs, sorted and compressed, which are merged as the names are handed out. Names have most of their
// letters in common with their neighbours, so that a few bytes of memory are left of each, however long they are. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/store/dataset_store.h"

namespace bailiwick::agent {

class NameList {
 public:
  static constexpr size_t kRunBytes = 8 << 20;

  // Of at most 255 bytes (NAME_MAX); a longer one is not taken: false.
  bool Add(std::string_view name);
  // After the last Add and before the first Next. An error of either is a defect: what was compressed does not
  // decompress.
  absl::Status Sort();
  // The next one in order; false at the end.
  absl::StatusOr<bool> Next(std::string* name);

 private:
  static constexpr size_t kBlock = 32 << 10;

  // Sorted; what it has ahead.
  struct Run {
    std::vector<store::StoredChunk> blocks;  // the last comes first
    std::string open;                        // the block before them
    size_t at = 0;                           // in it, of the next name

    std::string_view name() const;
    absl::StatusOr<bool> Load();  // the next block, once all of the open one was taken; false: there is none
  };

  static bool Later(const Run& a, const Run& b);
  std::string_view At(uint32_t place) const;
  void SortLoose();
  void PackLoose();

  // Not in a run yet: a byte of length and the name, one after the other.
  std::vector<std::unique_ptr<char[]>> loose_;
  size_t used_ = 0;               // of its last block
  std::vector<uint32_t> places_;  // in it
  size_t next_ = 0;               // of them
  std::vector<Run> runs_;         // a heap once sorted: the one with the least name first
};

}  // namespace bailiwick::agent
