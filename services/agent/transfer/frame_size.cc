#include "services/agent/transfer/frame_size.h"

#include <algorithm>

#include "services/agent/transfer/frame.h"
#include "services/agent/transfer/stream.h"

namespace bailiwick::agent {

void FrameSize::Written(size_t bytes) {
  queued_.push_back(bytes);
  if (queued_.size() <= FrameStream::kQueueFrames) return;
  gone_ += queued_.front();
  queued_.pop_front();
}

size_t FrameSize::Next() {
  const absl::Duration took = clock_->BootTime() - since_;
  // Of several frames, since what a socket takes at once says nothing of the link.
  if (gone_ >= FrameStream::kQueueFrames * size_ || (gone_ > 0 && took >= kSpan)) {
    const double span = absl::ToDoubleSeconds(kSpan) / std::max(absl::ToDoubleSeconds(took), 1e-6);
    const auto most = static_cast<double>(std::min(2 * size_, kFrameBytes));
    size_ = static_cast<size_t>(std::clamp(static_cast<double>(gone_) * span, double{kLeast}, most));
    since_ += took;
    gone_ = 0;
  }
  return size_;
}

}  // namespace bailiwick::agent
