#include "services/agent/offline/standing_flows.h"

#include <algorithm>

namespace bailiwick::agent {

bool StandingFlows::Due(const Key& key, const Digest& version, absl::Duration now) const {
  absl::MutexLock lock(&mutex_);
  auto item = items_.find(key);
  if (item == items_.end()) return true;
  return !item->second.running && item->second.arrived != version && now >= item->second.next;
}

bool StandingFlows::DueToAsk(const Key& key, absl::Duration now) const {
  absl::MutexLock lock(&mutex_);
  auto item = items_.find(key);
  return item == items_.end() || (!item->second.running && now >= item->second.next);
}

void StandingFlows::BeganToSend(const Key& key, Renewal flow, absl::Duration life, absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  items_[key].running = true;
  Running& running = running_[flow.transfer_id];
  running = {.key = key, .flow = std::move(flow), .renew_at = now + life / 2};
}

void StandingFlows::BeganToAsk(const Key& key, const std::string& transfer_id, std::shared_ptr<FlowControl> control) {
  absl::MutexLock lock(&mutex_);
  items_[key].running = true;
  Running& running = running_[transfer_id];
  running.key = key;
  running.asks = true;
  running.flow.control = std::move(control);
}

void StandingFlows::Fail(Item& item, const std::string& problem, absl::Duration now) {
  absl::Duration wait = kRetryMin;
  for (int i = 0; i < item.failures && wait < kRetryMax; ++i) wait *= 2;
  ++item.failures;
  item.next = now + std::min(wait, kRetryMax);
  item.problem = problem;
}

void StandingFlows::Refused(const Key& key, const std::string& problem, absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  Fail(items_[key], problem, now);
}

bool StandingFlows::Ended(const std::string& transfer_id, bool complete, const std::string& problem,
                          absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  auto running = running_.find(transfer_id);
  if (running == running_.end()) return false;
  auto item = items_.find(running->second.key);
  if (item != items_.end()) {
    item->second.running = false;
    if (complete) {
      const store::CatalogVersion& version = running->second.flow.version;
      item->second = {.arrived = version.identity, .arrived_number = version.record.number};
      if (running->second.asks) item->second.next = now + kAskEvery;
    } else {
      Fail(item->second, problem, now);
    }
  }
  running_.erase(running);
  return true;
}

std::vector<StandingFlows::Renewal> StandingFlows::RenewalsDue(absl::Duration life, absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  std::vector<Renewal> due;
  for (auto& [id, running] : running_) {
    if (now < running.renew_at) continue;
    running.renew_at = now + life / 2;
    due.push_back(running.flow);
  }
  return due;
}

std::vector<std::shared_ptr<FlowControl>> StandingFlows::Clear() {
  absl::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<FlowControl>> controls;
  for (auto& [id, running] : running_) controls.push_back(running.flow.control);
  running_.clear();
  items_.clear();
  return controls;
}

std::vector<StandingFlows::View> StandingFlows::Views() const {
  absl::MutexLock lock(&mutex_);
  std::vector<View> views;
  for (const auto& [key, item] : items_) views.push_back({key, item.running, item.arrived_number, item.problem});
  return views;
}

}  // namespace bailiwick::agent
