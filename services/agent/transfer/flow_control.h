// Grants that arrive while a dialled flow runs, and the wish to end any flow.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/crypto/sign.h"
#include "services/agent/transfer/stream.h"

namespace bailiwick::agent {

// Thread-safe.
class FlowControl {
 public:
  void Renew(const crypto::Envelope& grant);
  void Cancel(const std::string& code, const std::string& message);
  bool TakeRenewal(crypto::Envelope* out);
  bool cancelled(std::string* code, std::string* message) const;
  void Attach(std::weak_ptr<FrameStream> stream);  // aborted by Cancel

 private:
  mutable absl::Mutex mutex_;
  bool fresh_ ABSL_GUARDED_BY(mutex_) = false;
  crypto::Envelope grant_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::string code_ ABSL_GUARDED_BY(mutex_);
  std::string message_ ABSL_GUARDED_BY(mutex_);
  std::weak_ptr<FrameStream> stream_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
