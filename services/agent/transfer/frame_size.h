// How much a source puts into a frame: about what leaves within a second, so that bytes are seen to come also over a
// slow link or under a low cap, where little then waits behind one another; else what is measured best. Starts small
// and at most doubles, so that a slow link is not filled before it is known. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/time/time.h"
#include "common/os/clock.h"

namespace bailiwick::agent {

class FrameSize {
 public:
  static constexpr size_t kLeast = 64 << 10;
  // More than a round trip, else where no more than a frame is under way frames would shrink for ever.
  static constexpr absl::Duration kSpan = absl::Seconds(1);

  explicit FrameSize(const os::Clock* clock) : clock_(clock), since_(clock->BootTime()) {}
  // FrameStream::Write took a frame of so many bytes. It waits for room in its queue: what came before the frames that
  // fit there has left.
  void Written(size_t bytes);
  size_t Next();

 private:
  const os::Clock* const clock_;
  size_t size_ = kLeast;
  std::deque<size_t> queued_;
  uint64_t gone_ = 0;  // bytes that left
  absl::Duration since_;
};

}  // namespace bailiwick::agent
