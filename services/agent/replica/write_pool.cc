#include "services/agent/replica/write_pool.h"

#include <algorithm>
#include <utility>

namespace bailiwick::agent {

WritePool::~WritePool() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void WritePool::Submit(std::function<void()> work) {
  if (threads_.empty()) {
    const unsigned n = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads);
    for (unsigned i = 0; i < n; ++i) threads_.emplace_back([this] { Run(); });
  }
  absl::MutexLock lock(&mutex_);
  auto room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return waiting_.size() < kMaxWaiting; };
  mutex_.Await(absl::Condition(&room));
  waiting_.push_back(std::move(work));
}

void WritePool::Drain() {
  absl::MutexLock lock(&mutex_);
  auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return waiting_.empty() && running_ == 0; };
  mutex_.Await(absl::Condition(&idle));
}

void WritePool::Run() {
  for (;;) {
    std::function<void()> work;
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !waiting_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
      ++running_;
    }
    work();
    work = nullptr;  // what it holds is released before it counts as done
    absl::MutexLock lock(&mutex_);
    --running_;
  }
}

}  // namespace bailiwick::agent
