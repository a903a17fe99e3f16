#include "common/base/runs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bailiwick {

std::string FormatRuns(std::vector<uint64_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  if (numbers.empty()) return "none";
  std::string out;
  size_t runs = 0;
  for (size_t i = 0; i < numbers.size();) {
    if (++runs > kMaxRuns) return absl::StrCat(out, ", and ", numbers.size() - i, " more");
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    absl::StrAppend(&out, out.empty() ? "" : ", ", numbers[i]);
    if (last > i) absl::StrAppend(&out, "-", numbers[last]);
    i = last + 1;
  }
  return out;
}

}  // namespace bailiwick
