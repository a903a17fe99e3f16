// Lines of a file, read in blocks. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/os/files.h"

namespace bailiwick::audit {

class Lines {
 public:
  Lines(os::File* file, uint64_t end) : file_(file), end_(end) {}

  // False at the end. The last line may lack its end, and one longer than any record is cut; then complete() is false.
  absl::StatusOr<bool> Next();
  std::string_view line() const { return line_; }  // without its end; until the next Next
  bool complete() const { return complete_; }
  uint64_t end_offset() const { return offset_ + taken_; }

 private:
  os::File* const file_;
  uint64_t next_ = 0;  // to read
  uint64_t end_;
  uint64_t offset_ = 0;  // of the line
  size_t begin_ = 0;     // of the line in the buffer
  size_t taken_ = 0;
  std::string buffer_;
  std::string_view line_;
  bool complete_ = false;
};

// For the first line that is no record as it should be. What a crash tore was never acknowledged, and nothing whole
// comes after it: it lacks its end, or it shows the zeros of a block that was never written (records hold no NUL).
// Everything else is damage to what was acknowledged. Reads the rest of the lines.
absl::StatusOr<bool> IsTorn(Lines& lines, bool (*is_some_record)(std::string_view));

}  // namespace bailiwick::audit
