// How fast a count grew over the last seconds, or over the last few times that it grew. Not thread-safe: one owner
// calls it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/time/time.h"

namespace bailiwick::coordinator {

class RateMeter {
 public:
  // The count at `now`, by the time since boot. Only growth counts.
  void Add(absl::Duration now, uint64_t count) {
    if (!samples_.empty() && count <= samples_.back().count) return;
    if (samples_.size() > 1 && now - samples_[samples_.size() - 2].at < kApart) {
      samples_.back() = {now, count};
    } else {
      samples_.push_back({now, count});
    }
    while (samples_.size() > kFew && samples_[1].at <= now - kSpan) samples_.pop_front();
  }
  // A second; 0 while too little is known, and when nothing came for longer than it does.
  double PerSecond(absl::Duration now) const {
    if (samples_.size() < 2 || now - samples_.front().at < kKnown) return 0;
    const absl::Duration span = samples_.back().at - samples_.front().at;
    const absl::Duration apart = span / static_cast<int64_t>(samples_.size() - 1);
    const absl::Duration since = now - samples_.back().at;
    if (since > std::max(kSpan, 2 * apart)) return 0;
    return static_cast<double>(samples_.back().count - samples_.front().count) /
           absl::ToDoubleSeconds(span + std::max(absl::ZeroDuration(), since - apart));
  }

 private:
  static constexpr absl::Duration kSpan = absl::Seconds(5);
  static constexpr size_t kFew = 3;  // so long ago as they may be: over a slow link the last three times that it grew
  static constexpr absl::Duration kKnown = absl::Seconds(1);
  static constexpr absl::Duration kApart = absl::Milliseconds(200);  // so at most some 30 samples are kept

  struct Sample {
    absl::Duration at;
    uint64_t count;
  };
  std::deque<Sample> samples_;
};

}  // namespace bailiwick::coordinator
