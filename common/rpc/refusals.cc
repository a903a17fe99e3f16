#include "common/rpc/refusals.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/utc_text.h"
#include "common/identity/verify.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

constexpr char kMany[] = "many";
constexpr size_t kMaxSentence = 400;

}  // namespace

void Refusals::Write(const Due& due) {
  const auto& [who, code, named] = due.key;
  const Count& count = due.count;
  telemetry::Log(telemetry::Level::kWarning, "peer-refused",
                 {{"peer", who}, {"code", code}, {"reason", count.sentence}, {"count", count.pending}});
  audit::Detail detail;
  detail.Text("code", code)
      .Text("reason", count.sentence)
      .Number("count", count.pending)
      .Text("first", UtcText(count.first))
      .Text("last", UtcText(count.last));
  if (who == kMany) {
    detail.Number("names", count.names.size());
  } else if (named == Named::kClaimed) {
    detail.Flag("claimed", true);
  }
  absl::Status recorded = audit_->Append("peer-refused", absl::StrCat("peer/", who), detail).status();
  if (recorded.ok()) return;
  telemetry::Log(telemetry::Level::kError, "audit-failed", {{"error", recorded}});
  absl::MutexLock lock(&mutex_);
  Add(due.key, count);
  counts_[due.key].due = clock_->BootTime() + kEvery;
}

bool Refusals::SpendClaim() {
  const absl::Duration boot = clock_->BootTime();
  if (boot - hour_began_ >= absl::Hours(1)) {
    hour_began_ = boot;
    claims_ = 0;
  }
  return claims_ < kClaims && ++claims_ > 0;
}

void Refusals::Add(const Key& key, const Count& count) {
  Count& sum = counts_[key];
  const bool none = sum.pending == 0;
  sum.first = none ? count.first : std::min(sum.first, count.first);
  sum.last = none ? count.last : std::max(sum.last, count.last);
  sum.seen = std::max(sum.seen, count.seen);
  sum.sentence = count.sentence;
  sum.pending += count.pending;
  for (size_t name : count.names) {
    if (sum.names.size() < kMaxNames) sum.names.insert(name);
  }
}

void Refusals::Close(const Key& key, std::vector<Due>* due) {
  const auto it = counts_.find(key);
  const auto& [who, code, named] = key;
  const absl::Duration boot = clock_->BootTime();
  if (named == Named::kClaimed && who != kMany && !SpendClaim()) {
    Count folded = std::move(it->second);
    folded.names = {absl::HashOf(who)};
    const Key many{kMany, code, named};
    counts_.erase(it);
    Add(many, folded);
    if (boot >= counts_[many].due) Close(many, due);
    return;
  }
  Count& count = it->second;
  due->push_back({key, count});
  count.pending = 0;
  count.names.clear();
  count.every = std::clamp(2 * count.every, kEvery, kSeldom);
  count.due = boot + count.every;
}

void Refusals::Record(const std::string& who, const absl::Status& why, Named named) {
  const std::string code = identity::RefusalCode(why);
  Key key{who, code.empty() ? "REFUSED" : code, named};
  std::vector<Due> due;
  {
    absl::MutexLock lock(&mutex_);
    Count one;
    one.first = one.last = clock_->Now();
    one.seen = clock_->BootTime();
    one.pending = 1;
    one.sentence = std::string(why.message()).substr(0, kMaxSentence);
    if (counts_.count(key) == 0 && counts_.size() >= kMaxPeers) {
      key = {kMany, std::get<1>(key), Named::kClaimed};
      one.names = {absl::HashOf(who)};
    }
    Add(key, one);
    if (one.seen >= counts_[key].due) Close(key, &due);
  }
  for (const Due& one : due) Write(one);
}

void Refusals::Flush(bool all) {
  std::vector<Due> due;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Duration boot = clock_->BootTime();
    for (const bool many : {false, true}) {  // which gets what the others may not record by name
      std::vector<Key> over;
      for (auto it = counts_.begin(); it != counts_.end();) {
        const Count& count = it->second;
        const bool forgotten = count.pending == 0 && boot - count.seen >= kSeldom;
        if ((std::get<0>(it->first) == kMany) == many && count.pending > 0 && (all || boot >= count.due)) {
          over.push_back(it->first);
        }
        it = forgotten ? counts_.erase(it) : std::next(it);
      }
      for (const Key& key : over) Close(key, &due);
    }
  }
  for (const Due& one : due) Write(one);
}

}  // namespace bailiwick::rpc
