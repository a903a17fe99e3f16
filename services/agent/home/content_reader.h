// Reads one file of the source into the pipeline as it was at one moment, as far as a file system lets one know: its
// size and times are the same before and after, else it is read again.
#pragma once

#include <atomic>
#include <string>

#include "absl/status/statusor.h"
#include "common/os/clock.h"
#include "common/os/tree.h"
#include "common/store/manifest.h"
#include "services/agent/home/chunk_pipeline.h"

namespace bailiwick::agent {

enum class ReadResult {
  kSteady,    // `entry` was handed to the pipeline
  kChanging,  // likewise, but the file changed during every reading; only with allow_changing
  kVanished,  // nothing was handed over
  kReplaced,  // it is no regular file any more: look at the name again; nothing was handed over
};

struct ReadRequest {
  os::TreeDir* dir = nullptr;
  std::string name;   // relative to dir
  std::string label;  // absolute, printable
  bool allow_changing = false;
};

class ContentReader {
 public:
  ContentReader(ChunkPipeline* pipeline, const os::Clock* clock, const std::atomic<bool>* cancelled)
      : pipeline_(pipeline), clock_(clock), cancelled_(cancelled) {}

  // Sets mode, mtime, size and holes of `entry` from what was read and hands it over; `stat` becomes the state that was
  // read. FAILED_PRECONDITION names a file that keeps changing; UNKNOWN one that cannot be read; CANCELLED.
  absl::StatusOr<ReadResult> Read(const ReadRequest& request, store::Entry entry, os::NodeStat* stat);
  uint64_t read_bytes() const { return read_bytes_; }

 private:
  // Fills holes; false when the file is shorter than `stat` says (size then tells how much was read).
  absl::StatusOr<bool> ReadOnce(os::TreeFile& file, const os::NodeStat& stat, bool whole, store::Entry* entry);
  absl::StatusOr<size_t> ReadAt(os::TreeFile& file, uint64_t offset, char* out, size_t n);
  absl::StatusOr<uint64_t> ReadRun(os::TreeFile& file, uint64_t offset, uint64_t length);
  absl::StatusOr<bool> HolesAreZero(os::TreeFile& file, const std::vector<store::Hole>& holes);

  ChunkPipeline* pipeline_;
  const os::Clock* clock_;
  const std::atomic<bool>* cancelled_;
  std::string label_;
  uint64_t read_bytes_ = 0;
};

}  // namespace bailiwick::agent
