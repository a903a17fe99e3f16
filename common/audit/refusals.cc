#include "common/audit/refusals.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"

namespace bailiwick::audit {

absl::Status Refusals::Record(const std::string& kind, const std::string& peer, const std::string& reason,
                              const std::string& subject, const std::string& detail) {
  Key key = {kind, peer, reason};
  Count old;
  bool over = false;
  {
    absl::MutexLock lock(&mutex_);
    if (counts_.count(key) == 0 && counts_.size() >= kMaxKinds) key = {kind, "others", ""};
    auto [it, first] = counts_.try_emplace(key);
    Count& count = it->second;
    const absl::Time now = clock_->Now();
    if (!first && clock_->BootTime() - count.since < kWindow) {
      ++count.count;
      count.last = now;
      return absl::OkStatus();
    }
    over = !first && count.over();
    old = count;
    count = {.first = now, .last = now, .since = clock_->BootTime()};
  }
  if (over) BW_RETURN_IF_ERROR(Close(key, old));
  absl::Status recorded = log_->Append(kind, subject, detail).status();
  if (recorded.ok()) return recorded;
  absl::MutexLock lock(&mutex_);
  Count& count = counts_[key];
  count.owed = true;
  count.since = -absl::InfiniteDuration();  // the next one is told together with it
  return recorded;
}

absl::Status Refusals::Close(const Key& key, const Count& count) {
  const auto time = [](absl::Time at) { return absl::FormatTime(absl::RFC3339_sec, at, absl::UTCTimeZone()); };
  absl::Status recorded = log_->Append("refusals-repeated", absl::StrCat("peer/", key.peer),
                                       Detail()
                                           .Text("kind", key.kind)
                                           .Text("reason", key.reason)
                                           .Text("first", time(count.first))
                                           .Text("last", time(count.last))
                                           .Number("count", count.count))
                              .status();
  if (recorded.ok()) return recorded;
  absl::MutexLock lock(&mutex_);
  auto [it, none] = counts_.try_emplace(key, count);
  if (!none) {  // a new window, which takes in the old one
    it->second.first = count.first;
    it->second.count += count.count;
  }
  it->second.owed = true;
  it->second.since = clock_->BootTime();
  return recorded;
}

absl::Status Refusals::Flush(bool all) {
  std::vector<std::pair<Key, Count>> over;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = counts_.begin(); it != counts_.end();) {
      if (!all && clock_->BootTime() - it->second.since < kWindow) {
        ++it;
        continue;
      }
      if (it->second.over()) over.emplace_back(it->first, it->second);
      it = counts_.erase(it);
    }
  }
  absl::Status status;
  for (const auto& [key, count] : over) status.Update(Close(key, count));
  return status;
}

}  // namespace bailiwick::audit
