// `ingest: consume`: what the newest version holds leaves the source, so that a disk that records all day holds its
// data once, in the store.
//
// A file goes only if it is what the version holds by size, times and inode, rests for `settle`, nobody has it open
// for writing (where the kernel says so: a lease; else `settle` alone decides), and the store gives back all of it, or
// gave it up since others hold it and the file, read once more, is just that. It
// is renamed before it goes, many at a time, and a moment later goes only if it still is what was looked at and nobody
// came to write: neither a file that takes its name meanwhile is lost, nor what somebody appends. A crash leaves it
// under one of the two names, for the next commit. Directories stay. One thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "common/os/clock.h"
#include "services/agent/home/committer.h"

namespace bailiwick::agent {

struct Consumed {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t left = 0;     // of the version, but in use, too young, damaged in the store, or not looked at
  uint64_t damaged = 0;  // of these, in the store
  uint64_t refused = 0;  // of these: this process may not remove them
};

// `root`: the manifest of a durable version of this source. `before_first`: called once, right before the first file
// goes, not at all when none does; an
// error stops all. An error names a path; what went before it is gone.
absl::StatusOr<Consumed> ConsumeSource(DatasetHandle& dataset, const SourceSpec& source, const Digest& root,
                                       const os::Clock* clock, const std::function<absl::Status()>& before_first,
                                       const std::atomic<bool>& cancelled);

}  // namespace bailiwick::agent
