#include <algorithm>
#include <set>

#include "common/store/catalog.h"

namespace bailiwick::store {

std::vector<VersionNumber> Expired(const std::vector<std::pair<VersionNumber, absl::Time>>& versions,
                                   const RetentionRule& rule, absl::Time now) {
  std::vector<std::pair<VersionNumber, absl::Time>> newest_first = versions;
  std::sort(newest_first.begin(), newest_first.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::set<VersionNumber> keep;
  for (size_t i = 0; i < newest_first.size() && i < std::max<uint32_t>(1, rule.last); ++i)
    keep.insert(newest_first[i].first);
  // Of each hour and day, counted back from now, the newest version stays.
  auto by_period = [&](absl::Duration period, uint32_t periods) {
    std::set<int64_t> seen;
    for (const auto& [number, at] : newest_first) {
      const absl::Duration age = std::max(absl::ZeroDuration(), now - at);
      if (age >= period * static_cast<int64_t>(periods)) continue;
      if (seen.insert(absl::ToUnixSeconds(at) / absl::ToInt64Seconds(period)).second) keep.insert(number);
    }
  };
  if (rule.hourly > 0) by_period(absl::Hours(1), rule.hourly);
  if (rule.daily > 0) by_period(absl::Hours(24), rule.daily);
  std::vector<VersionNumber> expired;
  for (const auto& [number, at] : newest_first) {
    if (keep.count(number) == 0) expired.push_back(number);
  }
  std::reverse(expired.begin(), expired.end());
  return expired;
}

}  // namespace bailiwick::store
