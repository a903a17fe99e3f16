#include "common/os/pulse.h"

#include "absl/strings/str_cat.h"

namespace bailiwick::os {

void Pulse::Look() {
  const bool first = seen_ == -absl::InfiniteDuration();
  const bool turned = turned_();
  if (turned) fresh_ = true;
  if (turned || first) seen_ = clock_->BootTime();
}

bool Pulse::TurnedSinceAsked() {
  absl::MutexLock lock(&mutex_);
  Look();
  return std::exchange(fresh_, false);
}

absl::Status Pulse::Check() {
  absl::MutexLock lock(&mutex_);
  Look();
  const absl::Duration silent = clock_->BootTime() - seen_;
  if (silent <= kPatience) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("its main loop has not come round for ", absl::ToInt64Seconds(silent), " s"));
}

}  // namespace bailiwick::os
