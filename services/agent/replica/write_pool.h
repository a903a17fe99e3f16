// A few threads that write files while the caller walks on. Threads begin with the first work. Submit and Drain belong
// to one thread; what is submitted runs in any order, on any of the threads.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace bailiwick::agent {

class WritePool {
 public:
  static constexpr unsigned kMaxThreads = 4;  // laying out is not alone on the machine
  static constexpr size_t kMaxWaiting = 16;   // each may hold some descriptors: of directories or of a file

  ~WritePool();
  void Submit(std::function<void()> work);  // waits while kMaxWaiting wait
  void Drain();                             // all that was submitted is done

 private:
  void Run();

  std::vector<std::thread> threads_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bailiwick::agent
