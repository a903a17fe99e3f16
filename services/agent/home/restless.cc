#include "services/agent/home/restless.h"

#include <algorithm>
#include <utility>

namespace bailiwick::agent {
namespace {

constexpr absl::Duration kAtLeast = absl::Minutes(5);
constexpr int kTimesSettle = 10;

}  // namespace

size_t Restless::Note(const std::vector<std::string>& unsettled, absl::Duration settle, absl::Duration now) {
  const absl::Duration bound = std::max(kAtLeast, kTimesSettle * settle);
  std::map<std::string, absl::Duration> before;
  std::swap(before, since_);
  size_t count = 0;
  for (const std::string& name : unsettled) {
    const auto it = before.find(name);
    const absl::Duration since = it == before.end() ? now : it->second;
    since_.emplace(name, since);
    if (now - since >= bound) ++count;
  }
  return count;
}

}  // namespace bailiwick::agent
