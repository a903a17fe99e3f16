// One agent's stream. Messages go out through a bounded queue; an agent that does not read loses its session and starts
// anew with the whole state. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/agent/v1/session.grpc.pb.h"
#include "common/os/clock.h"
#include "common/rpc/credentials.h"
#include "common/rpc/gate.h"

namespace bailiwick::coordinator {

class Session {
 public:
  static constexpr size_t kMaxQueued = 4096;
  virtual ~Session() = default;
  virtual const rpc::Peer& peer() const = 0;
  virtual void Send(agent::v1::CoordinatorMessage message) = 0;
  virtual void Close(const absl::Status& status) = 0;
  virtual void Drain() = 0;  // ends without an error once what was sent before is out: another one takes over
};

// What the service calls for each session, in order for one session.
struct SessionHandler {
  std::function<absl::Status(const std::shared_ptr<Session>&, const agent::v1::AgentHello&)> hello;
  std::function<void(const std::shared_ptr<Session>&, const agent::v1::AgentMessage&)> message;
  std::function<void(const std::shared_ptr<Session>&)> closed;
  std::function<absl::StatusOr<agent::v1::RenewResponse>(const rpc::Peer&, const agent::v1::RenewRequest&)> renew;
};

class SessionService final : public agent::v1::AgentSession::CallbackService {
 public:
  SessionService(std::shared_ptr<const rpc::Gate> gate, SessionHandler handler, const os::Clock* clock)
      : gate_(std::move(gate)), handler_(std::move(handler)), clock_(clock) {}
  grpc::ServerBidiReactor<agent::v1::AgentMessage, agent::v1::CoordinatorMessage>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Greet(grpc::CallbackServerContext* context, const agent::v1::GreetRequest* request,
                                  agent::v1::GreetResponse* response) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context, const agent::v1::RenewRequest* request,
                                  agent::v1::RenewResponse* response) override;

 private:
  const std::shared_ptr<const rpc::Gate> gate_;
  const SessionHandler handler_;
  const os::Clock* const clock_;
};

}  // namespace bailiwick::coordinator
