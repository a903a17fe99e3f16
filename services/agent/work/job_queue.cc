#include "services/agent/work/job_queue.h"

#include <utility>

#include "common/telemetry/metrics.h"

namespace bailiwick::agent {
namespace {

telemetry::GaugeFamily jobs_waiting("bailiwick_agent_jobs_waiting",
                                    "Commits, layouts and other jobs that wait for their turn.", {});
telemetry::GaugeFamily jobs_running("bailiwick_agent_jobs_running", "Jobs that run.", {});

}  // namespace

JobQueue::JobQueue(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}
JobQueue::~JobQueue() { Stop(); }

void JobQueue::Submit(const std::string& key, std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  Lane& lane = lanes_[key];
  lane.jobs.push_back(std::move(job));
  jobs_waiting.With({}).Add(1);
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
    jobs_waiting.With({}).Add(-1);
    mutex_.Unlock();
    jobs_running.With({}).Add(1);
    job();
    job = nullptr;
    jobs_running.With({}).Add(-1);
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
