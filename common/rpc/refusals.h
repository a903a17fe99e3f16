// Refused peers in the log and the audit log. The first refusal of a peer for a reason is recorded at once; the same
// again becomes one record a minute with how often, since when and until when, so that nobody fills a disk by knocking.
// Nothing is left out of the counts. Durable when Record returns for what it records. Thread-safe.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/audit/log.h"
#include "common/os/clock.h"

namespace bailiwick::rpc {

class Refusals {
 public:
  static constexpr absl::Duration kEvery = absl::Minutes(1);
  static constexpr size_t kMaxPeers = 256;  // more at a time are counted as one

  Refusals(audit::Log* audit, const os::Clock* clock) : audit_(audit), clock_(clock) {}
  void Record(const std::string& who, const absl::Status& why);
  // What was counted and not recorded yet, once it is due; with `all` whether or not. Call it every few seconds.
  void Flush(bool all);

 private:
  struct Count {
    absl::Time first, last;
    absl::Duration due;  // boot time
    uint64_t pending = 0;
    std::string sentence;
  };
  using Key = std::pair<std::string, std::string>;  // who, code
  void Write(const Key& key, const Count& count);

  audit::Log* const audit_;
  const os::Clock* const clock_;
  absl::Mutex mutex_;
  std::map<Key, Count> counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::rpc
