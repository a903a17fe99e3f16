// How fast a count grew over the last seconds. Not thread-safe: one owner calls it.
#pragma once

#include <cstdint>
#include <deque>

#include "absl/time/time.h"

namespace bailiwick::coordinator {

class RateMeter {
 public:
  // The count at `now`, by the time since boot.
  void Add(absl::Duration now, uint64_t count) {
    if (samples_.size() > 1 && now - samples_[samples_.size() - 2].at < kApart) {
      samples_.back() = {now, count};
    } else {
      samples_.push_back({now, count});
    }
    while (samples_.size() > 2 && samples_[1].at <= now - kSpan) samples_.pop_front();
  }
  // A second; 0 while too little is known.
  double PerSecond(absl::Duration now) const {
    if (samples_.size() < 2 || now - samples_.front().at < kKnown) return 0;
    if (samples_.back().count <= samples_.front().count) return 0;
    return static_cast<double>(samples_.back().count - samples_.front().count) /
           absl::ToDoubleSeconds(now - samples_.front().at);
  }

 private:
  static constexpr absl::Duration kSpan = absl::Seconds(5);
  static constexpr absl::Duration kKnown = absl::Seconds(1);
  static constexpr absl::Duration kApart = absl::Milliseconds(200);  // so at most some 30 samples are kept

  struct Sample {
    absl::Duration at;
    uint64_t count;
  };
  std::deque<Sample> samples_;
};

}  // namespace bailiwick::coordinator
