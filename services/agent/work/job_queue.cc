#include "services/agent/work/job_queue.h"

#include <utility>

namespace bailiwick::agent {

JobQueue::JobQueue(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}
JobQueue::~JobQueue() { Stop(); }

void JobQueue::Submit(const std::string& key, std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  Lane& lane = lanes_[key];
  lane.jobs.push_back(std::move(job));
  if (!lane.running && lane.jobs.size() == 1) ready_.push_back(key);
}

void JobQueue::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_ && threads_.empty()) return;
    stopping_ = true;
  }
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

void JobQueue::Run() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !ready_.empty(); };
    mutex_.Await(absl::Condition(&something));
    if (stopping_) return;
    std::string key = std::move(ready_.front());
    ready_.pop_front();
    Lane& lane = lanes_[key];
    std::function<void()> job = std::move(lane.jobs.front());
    lane.jobs.pop_front();
    lane.running = true;
    mutex_.Unlock();
    job();
    job = nullptr;
    mutex_.Lock();
    Lane& after = lanes_[key];
    after.running = false;
    if (after.jobs.empty()) {
      lanes_.erase(key);
    } else {
      ready_.push_back(key);
    }
  }
}

}  // namespace bailiwick::agent
