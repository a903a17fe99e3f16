// Append-only log of decisions, hash-chained: each record carries the SHA-256 of the one before, so a change, a gap or
// a swap is found by Verify. A record is durable before Append returns: callers record, then act. Thread-safe;
// concurrent Appends share one fsync.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/os/clock.h"
#include "common/os/files.h"

namespace bailiwick::audit {

struct Record {
  uint64_t sequence = 0;  // from 1, no gaps
  absl::Time at;
  std::string kind;     // grant-accepted, transfer-refused, transfer-ended, version-dropped, policy-installed, ...
  std::string subject;  // dataset, site, transfer: ids and digests, never names of files
  std::string detail;   // JSON object
};

class Log {
 public:
  // Recovers from a torn last record (it was never acknowledged). DATA_LOSS: the chain is broken; the log is left as it
  // is.
  static absl::StatusOr<std::unique_ptr<Log>> Open(os::Files* files, const os::Clock* clock, const std::string& path);
  virtual ~Log() = default;
  virtual absl::StatusOr<uint64_t> Append(const std::string& kind, const std::string& subject,
                                          const std::string& detail) = 0;
  virtual absl::StatusOr<std::vector<Record>> Read(uint64_t from, uint64_t limit) = 0;
};

// Whole chain of a file; DATA_LOSS names the first bad record.
absl::StatusOr<uint64_t> Verify(os::Files* files, const std::string& path);

}  // namespace bailiwick::audit
