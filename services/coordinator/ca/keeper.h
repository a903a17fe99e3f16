// Keeps CA and own certificate up to date once a second, on a thread of its own, and says when what is trusted changed.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/coordinator/ca/authority.h"
#include "services/coordinator/ca/own_certificate.h"

namespace bailiwick::coordinator {

class Keeper {
 public:
  // `every`: called with each look, after it.
  Keeper(Authority* authority, OwnCertificate* own, std::function<void()> changed, std::function<void()> every)
      : authority_(authority), own_(own), changed_(std::move(changed)), every_(std::move(every)) {}
  ~Keeper() { Stop(); }
  absl::Status Look();  // once, here; before Start
  void Start();
  void Stop();

 private:
  void Run();

  Authority* const authority_;
  OwnCertificate* const own_;
  const std::function<void()> changed_, every_;
  std::string roots_, error_;
  std::thread thread_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bailiwick::coordinator
