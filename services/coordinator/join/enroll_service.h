// The join port's only service. Rate limited as a whole: a token has 256 bits, so guessing is hopeless and flooding is
// cheap to stop.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/enroll/v1/enroll.grpc.pb.h"
#include "common/os/clock.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {

class EnrollService final : public enroll::v1::Enroll::Service {
 public:
  static constexpr double kAttemptsPerSecond = 20;
  static constexpr double kBurst = 200;  // a rack of robots that is switched on together

  EnrollService(Core* core, const os::Clock* clock) : core_(core), clock_(clock) {}
  grpc::Status Challenge(grpc::ServerContext* context, const enroll::v1::ChallengeRequest* request,
                         enroll::v1::ChallengeResponse* response) override;
  grpc::Status Recover(grpc::ServerContext* context, const enroll::v1::RecoverRequest* request,
                       enroll::v1::JoinResponse* response) override;
  grpc::Status Login(grpc::ServerContext* context, const enroll::v1::LoginRequest* request,
                     enroll::v1::JoinResponse* response) override;
  grpc::Status Join(grpc::ServerContext* context, const enroll::v1::JoinRequest* request,
                    enroll::v1::JoinResponse* response) override;

 private:
  bool Admit();
  template <typename Response, typename Body>
  grpc::Status Serve(Response* response, Body body);
  Core* const core_;
  const os::Clock* const clock_;
  absl::Mutex mutex_;
  double tokens_ ABSL_GUARDED_BY(mutex_) = kBurst;
  absl::Duration last_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
};

}  // namespace bailiwick::coordinator
