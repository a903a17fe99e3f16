// Whether a loop still turns, for several who ask: a service manager's watchdog and whoever looks at /healthz. The loop
// says only whether it has come round since it was asked last, so all ask here. Thread-safe.
#pragma once

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/os/clock.h"

namespace bailiwick::os {

class Pulse {
 public:
  static constexpr absl::Duration kPatience = absl::Seconds(60);

  Pulse(const Clock* clock, std::function<bool()> turned) : clock_(clock), turned_(std::move(turned)) {}
  // Whether it came round since TurnedSinceAsked was called last.
  bool TurnedSinceAsked();
  // UNAVAILABLE: it was not seen to turn for kPatience, since somebody asked for the first time.
  absl::Status Check();

 private:
  void Look() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock* const clock_;
  const std::function<bool()> turned_;
  absl::Mutex mutex_;
  bool fresh_ ABSL_GUARDED_BY(mutex_) = false;  // since TurnedSinceAsked
  absl::Duration seen_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace bailiwick::os
