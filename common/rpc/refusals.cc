#include "common/rpc/refusals.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/identity/verify.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

constexpr char kMany[] = "many";
constexpr size_t kMaxSentence = 400;

std::string JsonText(const std::string& text) {
  std::string out;
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c < 0x20 || c >= 0x7f ? '?' : static_cast<char>(c);
  }
  return out;
}

std::string UtcText(absl::Time t) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", t, absl::UTCTimeZone()); }

}  // namespace

void Refusals::Write(const Key& key, const Count& count) {
  telemetry::Log(telemetry::Level::kWarning, "peer-refused",
                 {{"peer", key.first}, {"code", key.second}, {"reason", count.sentence}, {"count", count.pending}});
  absl::Status recorded =
      audit_
          ->Append("peer-refused", absl::StrCat("peer/", JsonText(key.first)),
                   absl::StrCat("{\"code\":\"", key.second, "\",\"reason\":\"", JsonText(count.sentence),
                                "\",\"count\":", count.pending, ",\"first\":\"", UtcText(count.first),
                                "\",\"last\":\"", UtcText(count.last), "\"}"))
          .status();
  if (!recorded.ok()) telemetry::Log(telemetry::Level::kError, "audit-failed", {{"error", recorded}});
}

void Refusals::Record(const std::string& who, const absl::Status& why) {
  const std::string code = identity::RefusalCode(why);
  Key key{who, code.empty() ? "REFUSED" : code};
  Count now;
  {
    absl::MutexLock lock(&mutex_);
    if (counts_.count(key) == 0 && counts_.size() >= kMaxPeers) key.first = kMany;
    Count& count = counts_[key];
    const absl::Time wall = clock_->Now();
    const absl::Duration boot = clock_->BootTime();
    if (count.pending == 0) count.first = wall;
    count.last = wall;
    count.sentence = std::string(why.message()).substr(0, kMaxSentence);
    ++count.pending;
    if (boot < count.due) return;  // due is zero for a new one
    now = count;
    count.pending = 0;
    count.due = boot + kEvery;
  }
  Write(key, now);
}

void Refusals::Flush(bool all) {
  std::vector<std::pair<Key, Count>> due;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Duration boot = clock_->BootTime();
    for (auto it = counts_.begin(); it != counts_.end();) {
      if (!all && boot < it->second.due) {
        ++it;
        continue;
      }
      if (it->second.pending > 0) due.emplace_back(it->first, it->second);
      it = counts_.erase(it);
    }
  }
  for (const auto& [key, count] : due) Write(key, count);
}

}  // namespace bailiwick::rpc
