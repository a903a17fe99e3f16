#include "services/agent/transfer/pacer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "common/policy/model.h"

namespace bailiwick::agent {
namespace {

double Most(double rate) { return rate * absl::ToDoubleSeconds(Pacer::kIdle); }

}  // namespace

void Pacer::Set(const std::vector<Cap>& caps) {
  absl::MutexLock lock(&mutex_);
  Refill();
  std::map<std::string, Bucket> buckets;
  for (const Cap& cap : caps) {
    const double rate = static_cast<double>(std::max<uint64_t>(cap.bytes_per_second, 1));
    auto known = buckets_.find(cap.id);
    const double tokens = known == buckets_.end() ? Most(rate) : std::min(known->second.tokens, Most(rate));
    buckets[cap.id] = {cap.to, rate, tokens};
  }
  buckets_ = std::move(buckets);
}

void Pacer::SetYielding(std::set<std::string> transfer_ids) {
  absl::MutexLock lock(&mutex_);
  yielding_ = std::move(transfer_ids);
}

bool Pacer::Yields(const std::string& transfer_id) const {
  absl::MutexLock lock(&mutex_);
  return yielding_.count(transfer_id) != 0;
}

void Pacer::Refill() {
  const absl::Duration now = clock_->BootTime();
  const double seconds = absl::ToDoubleSeconds(now - refilled_);
  refilled_ = now;
  for (auto& [id, bucket] : buckets_)
    bucket.tokens = std::min(bucket.tokens + bucket.rate * seconds, Most(bucket.rate));
}

std::vector<Pacer::Bucket*> Pacer::About(const std::string& region) {
  std::vector<Bucket*> about;
  for (auto& [id, bucket] : buckets_) {
    if (bucket.to.empty() || policy::RegionContains(bucket.to, region)) about.push_back(&bucket);
  }
  return about;
}

absl::Duration Pacer::Ask(const Place* place, const std::string& region, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  auto mine = std::find_if(line_.begin(), line_.end(), [&](const Waiting& w) { return w.place == place; });
  if (mine == line_.end()) {
    if (buckets_.empty()) return absl::ZeroDuration();
    mine = line_.insert(line_.end(), {place, region});
  }
  Refill();
  std::set<const Bucket*> claimed;  // by flows that asked before and may go
  for (auto it = line_.begin(); it != mine; ++it) {
    const std::vector<Bucket*> theirs = About(it->region);
    if (std::all_of(theirs.begin(), theirs.end(), [](const Bucket* b) { return b->tokens > 0; })) {
      claimed.insert(theirs.begin(), theirs.end());
    }
  }
  const std::vector<Bucket*> about = About(region);
  absl::Duration wait = absl::ZeroDuration();
  for (const Bucket* bucket : about) {
    if (claimed.count(bucket) != 0) wait = std::max(wait, absl::Milliseconds(1));
    if (bucket->tokens <= 0)
      wait = std::max(wait, absl::Seconds(-bucket->tokens / bucket->rate) + absl::Milliseconds(1));
  }
  if (wait > absl::ZeroDuration()) return std::min(wait, kLook);
  for (Bucket* bucket : about) bucket->tokens -= static_cast<double>(bytes);
  line_.erase(mine);
  return absl::ZeroDuration();
}

size_t Pacer::MostNow(const Place* place, const std::string& region) {
  absl::MutexLock lock(&mutex_);
  double most = std::numeric_limits<double>::infinity();
  for (const Bucket* bucket : About(region)) {
    const auto others = std::count_if(line_.begin(), line_.end(), [&](const Waiting& w) {
      return w.place != place && (bucket->to.empty() || policy::RegionContains(bucket->to, w.region));
    });
    if (others > 0) most = std::min(most, Most(bucket->rate) / static_cast<double>(others + 1));
  }
  return std::isinf(most) ? SIZE_MAX : static_cast<size_t>(most);
}

void Pacer::Leave(const Place* place) {
  absl::MutexLock lock(&mutex_);
  line_.remove_if([&](const Waiting& w) { return w.place == place; });
}

}  // namespace bailiwick::agent
