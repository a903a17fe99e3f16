#include "services/coordinator/join/enroll_service.h"

#include <algorithm>

#include "common/rpc/credentials.h"

namespace bailiwick::coordinator {

bool EnrollService::Admit() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_->BootTime();
  tokens_ = std::min(kBurst, tokens_ + absl::ToDoubleSeconds(now - last_) * kAttemptsPerSecond);
  last_ = now;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

grpc::Status EnrollService::Join(grpc::ServerContext*, const enroll::v1::JoinRequest* request,
                                 enroll::v1::JoinResponse* response) {
  if (!Admit())
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many join attempts; try again in a minute");
  auto joined = core_->Join(*request);
  if (!joined.ok()) return rpc::ToGrpc(joined.status());
  *response = *std::move(joined);
  return grpc::Status::OK;
}

}  // namespace bailiwick::coordinator
