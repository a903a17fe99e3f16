#include "services/agent/law/trusted_clock.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bailiwick::agent {
namespace {

absl::Status Off(absl::Duration behind, const char* than) {
  const bool late = behind > absl::ZeroDuration();
  return absl::FailedPreconditionError(absl::StrCat(
      "the clock of this machine is ", absl::FormatDuration(absl::Trunc(late ? behind : -behind, absl::Seconds(1))),
      late ? " behind " : " ahead of ", than, ", at most ", absl::FormatDuration(TrustedClock::kMaxSkew),
      " is accepted; set it (timedatectl shows it)"));
}

}  // namespace

absl::Time TrustedClock::Floor() const {
  if (moment_ == absl::InfinitePast()) return moment_;
  return moment_ + (clock_->BootTime() - moment_boot_);
}

absl::Time TrustedClock::floor() const {
  absl::MutexLock lock(&mutex_);
  return Floor();
}

absl::Time TrustedClock::Now() const {
  absl::MutexLock lock(&mutex_);
  return std::max(clock_->Now(), Floor());
}

absl::Time TrustedClock::Best() const {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = std::max(clock_->Now(), Floor());
  return signed_.has_value() ? std::min(now, *signed_ + (clock_->BootTime() - signed_boot_)) : now;
}

void TrustedClock::Raise(absl::Time moment) {
  absl::MutexLock lock(&mutex_);
  if (moment <= Floor()) return;
  moment_ = moment;
  moment_boot_ = clock_->BootTime();
}

void TrustedClock::Observe(absl::Time issued_at) {
  {
    absl::MutexLock lock(&mutex_);
    signed_ = issued_at;
    signed_boot_ = clock_->BootTime();
    // A wall clock behind the floor is known to be wrong.
    const absl::Time wall = clock_->Now();
    if (issued_at > wall + kMaxSkew && wall + kMaxSkew >= Floor()) return;
  }
  Raise(issued_at);
}

absl::Status TrustedClock::Check() const {
  absl::MutexLock lock(&mutex_);
  const absl::Time wall = clock_->Now();
  if (signed_.has_value()) {
    const absl::Duration behind = *signed_ + (clock_->BootTime() - signed_boot_) - wall;
    if (behind > kMaxSkew || behind < -kMaxSkew) return Off(behind, "the coordinator's signed time");
    return absl::OkStatus();
  }
  const absl::Duration behind = Floor() - wall;
  return behind > kMaxSkew ? Off(behind, "the latest time known here") : absl::OkStatus();
}

}  // namespace bailiwick::agent
