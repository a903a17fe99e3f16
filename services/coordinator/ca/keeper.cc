#include "services/coordinator/ca/keeper.h"

#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace bailiwick::coordinator {
namespace {

constexpr absl::Duration kEvery = absl::Seconds(1);

}  // namespace

absl::Status Keeper::Look() {
  BW_RETURN_IF_ERROR(authority_->Tick().status());
  BW_RETURN_IF_ERROR(own_->Tick());
  const std::string roots = own_->Roots();
  if (roots != roots_ && !roots_.empty()) changed_();
  roots_ = roots;
  return absl::OkStatus();
}

void Keeper::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Keeper::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void Keeper::Run() {
  while (true) {
    absl::Status looked = Look();
    const std::string error(looked.message());
    if (!looked.ok() && error != error_) {
      telemetry::Log(telemetry::Level::kError, "certificate-not-renewed", {{"error", looked}});
    }
    error_ = error;
    every_();
    absl::MutexLock lock(&mutex_);
    auto stop = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; };
    if (mutex_.AwaitWithTimeout(absl::Condition(&stop), kEvery)) return;
  }
}

}  // namespace bailiwick::coordinator
