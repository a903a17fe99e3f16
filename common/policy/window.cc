#include "common/policy/window.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace bailiwick::policy {
namespace {

constexpr int64_t kMinute = 60;
constexpr int64_t kDay = 24 * 60 * kMinute;
constexpr const char* kDays[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

// The days since the epoch and the seconds of the day of a moment in local time.
struct LocalTime {
  int64_t day;
  int64_t second;
};

LocalTime LocalAt(absl::Time now, absl::Duration offset) {
  const int64_t local = absl::ToUnixSeconds(now) + absl::ToInt64Seconds(offset);
  const int64_t second = ((local % kDay) + kDay) % kDay;
  return {(local - second) / kDay, second};
}

bool OpensOn(uint8_t days, int64_t day) {
  const int64_t weekday = (((day + 3) % 7) + 7) % 7;  // day 0 was a Thursday
  return (days >> weekday & 1) != 0;
}

bool IsOpen(const Daily& daily, const LocalTime& local) {
  const int64_t minute = local.second / kMinute;
  if (daily.from_minute < daily.to_minute) {
    return OpensOn(daily.days, local.day) && minute >= daily.from_minute && minute < daily.to_minute;
  }
  return (OpensOn(daily.days, local.day) && minute >= daily.from_minute) ||
         (OpensOn(daily.days, local.day - 1) && minute < daily.to_minute);
}

// The next moment at which local time is at an edge of the window or at midnight.
absl::Time NextEdge(const Daily& daily, const LocalTime& local, absl::Time now) {
  int64_t nearest = kDay - local.second;
  for (int64_t edge : {daily.from_minute * kMinute, daily.to_minute * kMinute}) {
    if (edge > local.second) nearest = std::min(nearest, edge - local.second);
  }
  return absl::FromUnixSeconds(absl::ToUnixSeconds(now) + nearest);
}

WindowState JudgeDaily(const World& world, const Daily& daily, absl::Time now) {
  WindowState state;
  auto zone = world.time_zones.find(daily.tz);
  if (zone == world.time_zones.end() || zone->second.transitions.empty()) {
    state.truth = Truth::kError;
    state.error = absl::StrCat("the policy carries no data of time zone ", daily.tz);
    return state;
  }
  const std::vector<TimeZone::Transition>& table = zone->second.transitions;
  auto next = std::upper_bound(table.begin(), table.end(), now,
                               [](absl::Time t, const TimeZone::Transition& transition) { return t < transition.at; });
  state.until = next == table.end() ? zone->second.horizon : std::min(next->at, zone->second.horizon);
  const std::optional<absl::Duration> offset = OffsetAt(zone->second, now);
  if (!offset) {
    const bool past = now >= zone->second.horizon;
    if (past) state.until = absl::InfiniteFuture();
    state.truth = Truth::kError;
    state.error =
        absl::StrCat("the policy's data of time zone ", daily.tz, past ? " ends on " : " begins on ",
                     absl::FormatTime("%Y-%m-%d", past ? zone->second.horizon : table.front().at, absl::UTCTimeZone()));
    return state;
  }
  const LocalTime local = LocalAt(now, *offset);
  state.truth = IsOpen(daily, local) ? Truth::kTrue : Truth::kFalse;
  state.until = std::min(state.until, NextEdge(daily, local, now));
  return state;
}

std::string Clock(uint16_t minute) { return absl::StrFormat("%02d:%02d", minute / 60, minute % 60); }

}  // namespace

std::optional<absl::Duration> OffsetAt(const TimeZone& zone, absl::Time now) {
  if (now >= zone.horizon) return std::nullopt;
  auto next = std::upper_bound(zone.transitions.begin(), zone.transitions.end(), now,
                               [](absl::Time t, const TimeZone::Transition& transition) { return t < transition.at; });
  if (next == zone.transitions.begin()) return std::nullopt;
  return std::prev(next)->offset;
}

WindowState JudgeWhen(const World& world, const When& when, absl::Time now) {
  WindowState state;
  if (now < when.not_before) {
    state.truth = Truth::kFalse;
    state.until = when.not_before;
    return state;
  }
  if (now >= when.not_after) {
    state.truth = Truth::kFalse;
    return state;
  }
  state.until = when.not_after;
  if (when.daily.empty()) return state;
  state.truth = Truth::kFalse;
  for (const Daily& daily : when.daily) {
    WindowState one = JudgeDaily(world, daily, now);
    state.until = std::min(state.until, one.until);
    if (one.truth == Truth::kError && state.truth != Truth::kError) {
      state.truth = Truth::kError;
      state.error = std::move(one.error);
    } else if (one.truth == Truth::kTrue && state.truth == Truth::kFalse) {
      state.truth = Truth::kTrue;
    }
  }
  return state;
}

std::string DescribeDays(uint8_t days) {
  if ((days & 0x7f) == 0x7f) return "every day";
  std::vector<std::string> runs;
  for (int first = 0; first < 7;) {
    if ((days >> first & 1) == 0) {
      ++first;
      continue;
    }
    int last = first;
    while (last < 6 && (days >> (last + 1) & 1) != 0) ++last;
    if (last > first + 1) {
      runs.push_back(absl::StrCat(kDays[first], "-", kDays[last]));
    } else {
      for (int day = first; day <= last; ++day) runs.push_back(kDays[day]);
    }
    first = last + 1;
  }
  return absl::StrJoin(runs, ",");
}

std::string DescribeDaily(const Daily& daily) {
  return absl::StrCat(DescribeDays(daily.days), " ", Clock(daily.from_minute), "-", Clock(daily.to_minute), " ",
                      daily.tz);
}

}  // namespace bailiwick::policy
