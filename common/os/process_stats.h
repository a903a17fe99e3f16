// What the kernel says of this process, from /proc/self. Thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bailiwick::os {

struct ProcessStats {
  absl::Duration cpu_time;  // user and system, of all threads
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t threads = 0;
  uint64_t open_files = 0;
  uint64_t max_files = 0;
  absl::Duration started;  // time since boot
};

// UNAVAILABLE: there is no /proc here.
absl::StatusOr<ProcessStats> ReadProcessStats();

}  // namespace bailiwick::os
