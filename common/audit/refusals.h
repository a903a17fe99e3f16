// Refusals of peers, so that nobody can fill a disk by knocking: the first of its kind is a record at once; what the
// same peer tries again within the window is counted, and becomes one record `refusals-repeated` with first, last and
// count when the window is over; what cannot be recorded then is told with the next window. What is counted and not
// recorded yet is lost with the process. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/audit/log.h"
#include "common/os/clock.h"

namespace bailiwick::audit {

class Refusals {
 public:
  static constexpr absl::Duration kWindow = absl::Minutes(10);
  static constexpr size_t kMaxKinds = 4096;  // of peers and reasons at once; more are counted together

  Refusals(Log* log, const os::Clock* clock) : log_(log), clock_(clock) {}
  ~Refusals() { Flush(/*all=*/true).IgnoreError(); }

  // What and whom: `kind`, and `peer` as its certificate names it; `reason` is a code and a rule, nothing that the peer
  // chooses. Durable on OK when it is the first; an error is no reason to let the peer in, and it is counted.
  absl::Status Record(const std::string& kind, const std::string& peer, const std::string& reason,
                      const std::string& subject, const std::string& detail) ABSL_LOCKS_EXCLUDED(mutex_);
  // Windows that are over; all with `all`.
  absl::Status Flush(bool all = false) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Key {
    std::string kind, peer, reason;
    auto operator<=>(const Key&) const = default;
  };
  struct Count {
    absl::Time first, last;
    absl::Duration since;  // boot time of the first
    uint64_t count = 1;
    bool owed = false;                               // there is no record of the first
    bool over() const { return count > 1 || owed; }  // is a record
  };
  absl::Status Close(const Key& key, const Count& count) ABSL_LOCKS_EXCLUDED(mutex_);

  Log* const log_;
  const os::Clock* const clock_;
  absl::Mutex mutex_;
  std::map<Key, Count> counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::audit
