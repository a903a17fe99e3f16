// Content-defined chunking: FastCDC with normalized chunking (Xia et al., "FastCDC: a Fast and Efficient
// Content-Defined Chunking Approach for Data Deduplication", USENIX ATC 2016), gear table keyed per dataset. The same
// bytes, key and parameters give the same cuts everywhere and for ever: this is a format.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace bailiwick::chunk {

struct Parameters {
  uint32_t average = 32 * 1024;  // power of two, 16 KiB to 4 MiB
  uint32_t min() const { return average / 4; }
  uint32_t max() const { return average * 4; }
};

class Chunker {
 public:
  // `key` is any bytes; the table is expanded from it with SHA-256 in counter mode. INVALID_ARGUMENT: average out of
  // range.
  static absl::StatusOr<Chunker> Create(Parameters parameters, std::string_view key);
  // Length of the first chunk of `data`, which holds at least max() bytes or ends where the content does: then a tail
  // shorter than min is a chunk. Never 0 for non-empty data. Thread-safe.
  size_t Next(std::string_view data) const;
  const Parameters& parameters() const { return parameters_; }

 private:
  Parameters parameters_;
  uint64_t limit_small_ = 0;  // before the average: harder
  uint64_t limit_large_ = 0;  // after it: easier
  std::array<uint64_t, 256> gear_{};
};

}  // namespace bailiwick::chunk
