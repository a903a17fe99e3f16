// A few threads that run jobs; jobs with the same key run one at a time, in the order submitted. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace bailiwick::agent {

class JobQueue {
 public:
  explicit JobQueue(int threads);
  ~JobQueue();  // Stop
  // Ignored after Stop.
  void Submit(const std::string& key, std::function<void()> job);
  void Stop();  // lets running jobs end, drops waiting ones

 private:
  struct Lane {
    std::deque<std::function<void()>> jobs;
    bool running = false;
  };
  void Run();
  absl::Mutex mutex_;
  std::map<std::string, Lane> lanes_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> ready_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace bailiwick::agent
