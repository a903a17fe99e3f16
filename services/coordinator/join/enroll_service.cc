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

template <typename Response, typename Body>
grpc::Status EnrollService::Serve(Response* response, Body body) {
  if (!Admit()) return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many attempts; try again in a minute");
  absl::StatusOr<Response> result = body();
  if (!result.ok()) return rpc::ToGrpc(result.status());
  *response = *std::move(result);
  return grpc::Status::OK;
}

grpc::Status EnrollService::Join(grpc::ServerContext*, const enroll::v1::JoinRequest* request,
                                 enroll::v1::JoinResponse* response) {
  return Serve(response, [&] { return core_->Join(*request); });
}

grpc::Status EnrollService::Login(grpc::ServerContext*, const enroll::v1::LoginRequest* request,
                                  enroll::v1::JoinResponse* response) {
  return Serve(response, [&] { return core_->Login(*request); });
}

grpc::Status EnrollService::Challenge(grpc::ServerContext*, const enroll::v1::ChallengeRequest*,
                                      enroll::v1::ChallengeResponse* response) {
  return Serve(response, [&] { return core_->Challenge(); });
}

grpc::Status EnrollService::Recover(grpc::ServerContext*, const enroll::v1::RecoverRequest* request,
                                    enroll::v1::JoinResponse* response) {
  return Serve(response, [&] { return core_->Recover(*request); });
}

}  // namespace bailiwick::coordinator
