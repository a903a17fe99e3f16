#include "common/os/clock.h"

#include <time.h>

#include <cerrno>
#include <cstdlib>

namespace bailiwick::os {
namespace {

timespec ReadClock(clockid_t id) {
  timespec ts{};
  if (::clock_gettime(id, &ts) != 0) std::abort();  // only a wrong clock id can fail
  return ts;
}

class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::TimeFromTimespec(ReadClock(CLOCK_REALTIME)); }
  absl::Duration BootTime() const override { return absl::DurationFromTimespec(ReadClock(CLOCK_BOOTTIME)); }
  void SleepFor(absl::Duration d) const override {
    if (d <= absl::ZeroDuration()) return;
    timespec left = absl::ToTimespec(d);
    while (::clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
  }
};

}  // namespace

Clock* Clock::System() {
  static SystemClock* clock = new SystemClock;
  return clock;
}

}  // namespace bailiwick::os
