#include "services/agent/transfer/flow_control.h"

#include <utility>

namespace bailiwick::agent {

void FlowControl::Renew(const crypto::Envelope& grant) {
  absl::MutexLock lock(&mutex_);
  grant_ = grant;
  fresh_ = true;
}

void FlowControl::Cancel(const std::string& code, const std::string& message) {
  std::shared_ptr<FrameStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return;
    cancelled_ = true;
    code_ = code;
    message_ = message;
    stream = stream_.lock();
  }
  if (stream != nullptr) stream->Abort();
}

bool FlowControl::TakeRenewal(crypto::Envelope* out) {
  absl::MutexLock lock(&mutex_);
  if (!fresh_) return false;
  fresh_ = false;
  *out = grant_;
  return true;
}

bool FlowControl::cancelled(std::string* code, std::string* message) const {
  absl::MutexLock lock(&mutex_);
  if (!cancelled_) return false;
  *code = code_;
  *message = message_;
  return true;
}

void FlowControl::Attach(std::weak_ptr<FrameStream> stream) {
  std::shared_ptr<FrameStream> abort;
  {
    absl::MutexLock lock(&mutex_);
    stream_ = std::move(stream);
    if (cancelled_) abort = stream_.lock();
  }
  if (abort != nullptr) abort->Abort();
}

}  // namespace bailiwick::agent
