// How long to wait before the next attempt: doubles to a limit, jittered so that a thousand agents do not come back at
// once. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace bailiwick::agent {

class Backoff {
 public:
  Backoff(absl::Duration first, absl::Duration limit) : first_(first), limit_(limit) {}
  // `random` is any 32 uniform bits; the delay is between half of the step and the step.
  absl::Duration Next(uint32_t random) {
    step_ = step_ == absl::ZeroDuration() ? first_ : std::min(step_ * 2, limit_);
    return step_ / 2 + step_ / 2 * (random / 4294967296.0);
  }
  void Reset() { step_ = absl::ZeroDuration(); }

 private:
  const absl::Duration first_;
  const absl::Duration limit_;
  absl::Duration step_ = absl::ZeroDuration();
};

}  // namespace bailiwick::agent
