// The records of a log in their files (log.h: payload/). Thread-safe for reads; one thread writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/os/files.h"

namespace bailiwick::audit {

class Payload {
 public:
  Payload(os::Files* files, std::string directory) : files_(files), directory_(std::move(directory)) {}

  // Finds the end of the records, of which at least `from` are there, and tells of each from `from` on: its line
  // without its end. A torn tail is cut off. DATA_LOSS: one is damaged, or fewer are there. Durable on OK.
  absl::Status Recover(uint64_t from,
                       const std::function<absl::Status(uint64_t sequence, std::string_view line)>& each);

  // Lines of `count` records that follow the last one, all within one file. Durable on OK. RESOURCE_EXHAUSTED and the
  // like: nothing was added, it may go on. *final: nobody knows what is there; only a new Recover does.
  absl::Status Append(std::string_view lines, uint64_t count, bool* final);

  uint64_t bytes() const { return earlier_bytes_ + bytes_; }  // of all records

  // Lines from a record on, below `end`, until `each` returns false.
  absl::Status Read(uint64_t from, uint64_t end, const std::function<bool(uint64_t, std::string_view)>& each) const;

 private:
  absl::Status Recover(uint64_t first, uint64_t from, bool* more,
                       const std::function<absl::Status(uint64_t, std::string_view)>& each);
  absl::Status OpenNext();

  os::Files* const files_;
  const std::string directory_;
  std::unique_ptr<os::File> file_;  // of the next record; null: not made yet
  uint64_t records_ = 0;
  std::atomic<uint64_t> bytes_ = 0;          // of file_
  std::atomic<uint64_t> earlier_bytes_ = 0;  // of the files before it
};

}  // namespace bailiwick::audit
