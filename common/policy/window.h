// Whether a rule's `when` holds at a moment, and until when that answer stays. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

struct WindowState {
  Truth truth = Truth::kTrue;
  absl::Time until = absl::InfiniteFuture();  // the truth is the same in [now, until); later than now
  std::string error;                          // when it cannot be told
};

// Outside the absolute bounds it is false whatever the daily windows say; inside, a daily window whose zone is not
// known at `now` makes it an error whatever its neighbours say.
WindowState JudgeWhen(const World& world, const When& when, absl::Time now);

// How far local time is ahead of UTC at `now`; nothing where the compiled table does not reach.
std::optional<absl::Duration> OffsetAt(const TimeZone& zone, absl::Time now);

// As people write it: `mon-fri 08:00-18:00 Europe/Berlin`.
std::string DescribeDaily(const Daily& daily);
std::string DescribeDays(uint8_t days);  // "mon-fri", "sat,sun", "every day"

}  // namespace bailiwick::policy
