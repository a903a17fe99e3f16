#include "services/agent/transfer/hindrance.h"

#include <algorithm>
#include <utility>

namespace bailiwick::agent {

Hindrance::Hindrance(const os::Clock* clock, std::function<absl::Duration()> cpu)
    : clock_(clock), cpu_(std::move(cpu)), since_(clock->BootTime()), cpu_since_(cpu_()) {}

void Hindrance::Is(Cause cause) {
  const absl::Duration now = clock_->BootTime();
  spent_[cause_] += now - since_;
  since_ = now;
  cause_ = cause;
}

std::string Hindrance::Most() {
  Is(cause_);
  const absl::Duration used = cpu_();
  computed_ += used - cpu_since_;
  cpu_since_ = used;
  const Cause most = static_cast<Cause>(std::max_element(spent_.begin(), spent_.end()) - spent_.begin());
  const bool computes = computed_ > spent_[kWork] / 2;
  absl::Duration all = absl::ZeroDuration();
  for (absl::Duration spent : spent_) all += spent;
  while (all > kMemory) {
    for (absl::Duration& spent : spent_) spent /= 2;
    computed_ /= 2;
    all /= 2;
  }
  switch (most) {
    case kLink:
      return "link";
    case kPeer:
      return "peer";
    case kCap:
      return "cap";
    case kPriority:
      return "priority";
    default:
      return computes ? "cpu" : "disk";
  }
}

}  // namespace bailiwick::agent
