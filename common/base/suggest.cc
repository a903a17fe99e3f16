#include "common/base/suggest.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/ascii.h"

namespace bailiwick {
namespace {

std::string Lower(std::string_view text) { return absl::AsciiStrToLower(absl::string_view(text.data(), text.size())); }

// Optimal string alignment: a swap of neighbours is one edit, as typists make it.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before, previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    before = previous;
    std::swap(previous, current);
  }
  return previous[b.size()];
}

}  // namespace

std::string Suggest(std::string_view text, const std::vector<std::string>& options) {
  constexpr size_t kLongest = 100;  // nobody mistypes more, and the work is quadratic
  if (text.empty() || text.size() > kLongest) return "";
  const std::string wanted = Lower(text);
  std::string best;
  size_t best_distance = std::max<size_t>(1, text.size() / 3) + 1;
  for (const std::string& option : options) {
    if (option.size() > kLongest) continue;
    const size_t distance = Distance(wanted, Lower(option));
    if (distance < best_distance && distance < option.size()) {
      best_distance = distance;
      best = option;
    }
  }
  if (!best.empty() || wanted.size() < 3) return best;
  for (const std::string& option : options) {  // "outbound" for outbound-only, if nothing else begins so
    if (Lower(option).compare(0, wanted.size(), wanted) != 0) continue;
    if (!best.empty()) return "";
    best = option;
  }
  return best;
}

}  // namespace bailiwick
