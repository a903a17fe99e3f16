// Time, the only way to it. Thread-safe.
#pragma once

#include "absl/time/time.h"

namespace bailiwick::os {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;           // wall clock; may jump
  virtual absl::Duration BootTime() const = 0;  // CLOCK_BOOTTIME; never goes back, counts suspend
  virtual void SleepFor(absl::Duration d) const = 0;
  static Clock* System();
};

// CPU time that the calling thread has used.
absl::Duration ThreadCpuTime();

// Moves only when told; for tests. SleepFor advances it.
class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'700'000'000)) : now_(start) {}
  absl::Time Now() const override { return now_; }
  absl::Duration BootTime() const override { return boot_; }
  void SleepFor(absl::Duration d) const override { Advance(d); }
  void Advance(absl::Duration d) const {
    now_ += d;
    boot_ += d;
  }
  void SetWall(absl::Time t) { now_ = t; }

 private:
  mutable absl::Time now_;
  mutable absl::Duration boot_ = absl::Seconds(1000);
};

}  // namespace bailiwick::os
