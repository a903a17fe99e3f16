#include "common/os/clock.h"

#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "common/os/deadline.h"

namespace bailiwick::os {
namespace {

timespec ReadClock(clockid_t id) {
  timespec ts{};
  if (::clock_gettime(id, &ts) != 0) std::abort();  // only a wrong clock id can fail
  return ts;
}

// In builds for tests the file that BAILIWICK_TEST_CLOCK names holds by how many seconds the wall clock is off. Looked at
// ten times a second; without the variable or the file: by none.
#ifdef BAILIWICK_TEST_CLOCK
absl::Duration WallOffset() {
  static const char* const path = std::getenv("BAILIWICK_TEST_CLOCK");
  if (path == nullptr) return absl::ZeroDuration();
  static std::atomic<int64_t> seconds{0}, next_ms{0};
  const timespec boot = ReadClock(CLOCK_BOOTTIME);
  const int64_t now_ms = int64_t{boot.tv_sec} * 1000 + boot.tv_nsec / 1'000'000;
  int64_t due = next_ms;
  if (now_ms >= due && next_ms.compare_exchange_strong(due, now_ms + 100)) {
    std::ifstream file(path);
    int64_t read = 0;
    if (file >> read) seconds = read;
  }
  return absl::Seconds(seconds.load());
}
#else
absl::Duration WallOffset() { return absl::ZeroDuration(); }
#endif

class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::TimeFromTimespec(ReadClock(CLOCK_REALTIME)) + WallOffset(); }
  absl::Duration BootTime() const override { return absl::DurationFromTimespec(ReadClock(CLOCK_BOOTTIME)); }
  void SleepFor(absl::Duration d) const override {
    if (d <= absl::ZeroDuration()) return;
    timespec left = absl::ToTimespec(d);
    while (::clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
  }
};

}  // namespace

std::chrono::system_clock::time_point DeadlineIn(absl::Duration wait) {
  return std::chrono::system_clock::now() + absl::ToChronoNanoseconds(wait);
}

Clock* Clock::System() {
  static SystemClock* clock = new SystemClock;
  return clock;
}

absl::Duration ThreadCpuTime() { return absl::DurationFromTimespec(ReadClock(CLOCK_THREAD_CPUTIME_ID)); }

}  // namespace bailiwick::os
