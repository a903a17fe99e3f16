// What time it is, for the expiry of grants, timestamps and the law, on a machine whose wall clock may be wrong.
//
// Now() is the later of the wall clock and of a floor that only rises: it grows with the time since boot from the
// latest moment that is known to have been, so a wall clock that is set back gives nothing a longer life, also across
// restarts when floor() is kept. Moments come from the signed law and from signed timestamps. The wall clock is
// compared with the newest signed timestamp, from its receipt on: beyond kMaxSkew Check fails until the clock is right
// again.
//
// Thread-safe.
#pragma once

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/os/clock.h"

namespace bailiwick::agent {

class TrustedClock {
 public:
  static constexpr absl::Duration kMaxSkew = absl::Seconds(60);

  explicit TrustedClock(const os::Clock* clock) : clock_(clock) {}

  absl::Time Now() const;
  // The best guess at the true time, for certificates: by the newest signed time and the time since boot, so that a wall
  // clock that jumps ahead makes nothing expire; never later than Now(), so that a signer who lies cannot either.
  absl::Time Best() const;
  absl::Duration BootTime() const { return clock_->BootTime(); }
  // A moment that is known to have been: kept from before a restart, or of the signed law.
  void Raise(absl::Time moment);
  // A signed timestamp that was made just now. Raises the floor unless it is ahead of a clock that may be right: a
  // signer that lies about the time must not make everything here expire for good.
  void Observe(absl::Time issued_at);
  // To be kept durably and given to Raise after a restart; the infinite past when nothing is known.
  absl::Time floor() const;
  // FAILED_PRECONDITION: the wall clock is off by more than kMaxSkew; the sentence says by how much and which way.
  absl::Status Check() const;

 private:
  absl::Time Floor() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const os::Clock* const clock_;
  mutable absl::Mutex mutex_;
  absl::Time moment_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // and the time since boot when it was
  absl::Duration moment_boot_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Time> signed_ ABSL_GUARDED_BY(mutex_);
  absl::Duration signed_boot_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
