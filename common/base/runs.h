// Numbers as people write them: "1-17280, 17300". Bounded, so that what is written into a record or an event fits it
// whatever a dataset's past looks like.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bailiwick {

inline constexpr size_t kMaxRuns = 500;  // of what is behind them only how many: "1-9, 12, and 40 more"

std::string FormatRuns(std::vector<uint64_t> numbers);  // in any order; "none" of none

// "version 3", "versions 1-4, 7"; of a range of numbers.
template <typename Range>
std::string FormatVersions(const Range& numbers) {
  const std::vector<uint64_t> all(numbers.begin(), numbers.end());
  return (all.size() == 1 ? "version " : "versions ") + FormatRuns(all);
}

}  // namespace bailiwick
