#include "services/coordinator/sessions/session.h"

#include <utility>

#include "common/base/status.h"
#include "common/base/version.h"
#include "common/rpc/codec.h"

namespace bailiwick::coordinator {
namespace {

using agent::v1::AgentMessage;
using agent::v1::CoordinatorMessage;

class Reactor;

// Outlives the reactor: whoever holds a session after its stream ended sends into nothing.
class StreamSession : public Session {
 public:
  explicit StreamSession(rpc::Peer peer) : peer_(std::move(peer)) {}
  const rpc::Peer& peer() const override { return peer_; }
  void Send(CoordinatorMessage message) override;
  void Close(const absl::Status& status) override;
  void Drain() override;

 private:
  friend class Reactor;
  const rpc::Peer peer_;
  absl::Mutex mutex_;
  Reactor* reactor_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::deque<CoordinatorMessage> queue_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

class Reactor : public grpc::ServerBidiReactor<AgentMessage, CoordinatorMessage> {
 public:
  Reactor(std::shared_ptr<StreamSession> session, const SessionHandler& handler)
      : session_(std::move(session)), handler_(handler) {
    {
      absl::MutexLock lock(&session_->mutex_);
      session_->reactor_ = this;
    }
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::OK);
      return;
    }
    if (!greeted_) {
      if (!incoming_.has_hello()) {
        End(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "a session begins with a hello"));
        return;
      }
      absl::Status welcome = handler_.hello(session_, incoming_.hello());
      if (!welcome.ok()) {
        End(rpc::ToGrpc(welcome));
        return;
      }
      greeted_ = true;
    } else {
      handler_.message(session_, incoming_);
    }
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&session_->mutex_);
    session_->writing_ = false;
    if (!session_->queue_.empty()) session_->queue_.pop_front();
    if (ok) Pump();
  }

  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnDone() override {
    {
      absl::MutexLock lock(&session_->mutex_);
      session_->reactor_ = nullptr;
      session_->queue_.clear();
    }
    if (greeted_) handler_.closed(session_);
    delete this;
  }

  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(session_->mutex_) {
    if (session_->writing_ || finished_) return;
    if (session_->queue_.empty()) {
      if (session_->draining_) FinishOnce(grpc::Status::OK);
      return;
    }
    session_->writing_ = true;
    StartWrite(&session_->queue_.front());
  }

  // Under the same mutex as Pump: nothing is written after Finish.
  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(session_->mutex_) {
    if (finished_) return;
    finished_ = true;
    Finish(status);
  }
  void End(const grpc::Status& status) {
    absl::MutexLock lock(&session_->mutex_);
    FinishOnce(status);
  }

 private:
  friend class StreamSession;
  std::shared_ptr<StreamSession> session_;
  const SessionHandler& handler_;
  AgentMessage incoming_;
  bool greeted_ = false;
  bool finished_ = false;  // guarded by session_->mutex_
};

void StreamSession::Send(CoordinatorMessage message) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  absl::MutexLock lock(&mutex_);
  if (reactor_ == nullptr || draining_) return;
  if (queue_.size() >= kMaxQueued) {
    reactor_->FinishOnce(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the agent does not read its session"));
    return;
  }
  queue_.push_back(std::move(message));
  reactor_->Pump();
}

void StreamSession::Close(const absl::Status& status) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  absl::MutexLock lock(&mutex_);
  if (reactor_ != nullptr) reactor_->FinishOnce(rpc::ToGrpc(status));
}

void StreamSession::Drain() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  if (reactor_ != nullptr) reactor_->Pump();
}

class Refused : public grpc::ServerBidiReactor<AgentMessage, CoordinatorMessage> {
 public:
  explicit Refused(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerBidiReactor<AgentMessage, CoordinatorMessage>* SessionService::Session(
    grpc::CallbackServerContext* context) {
  auto peer = gate_->Authorize(*context, "bailiwick.agent.v1.AgentSession/Session");
  if (!peer.ok()) return new Refused(peer.status());
  return new Reactor(std::make_shared<StreamSession>(*std::move(peer)), handler_);
}

grpc::ServerUnaryReactor* SessionService::Renew(grpc::CallbackServerContext* context,
                                                const agent::v1::RenewRequest* request,
                                                agent::v1::RenewResponse* response) {
  auto* reactor = context->DefaultReactor();
  auto peer = gate_->Authorize(*context, "bailiwick.agent.v1.AgentSession/Renew");
  if (!peer.ok()) {
    reactor->Finish(rpc::ToGrpc(peer.status()));
    return reactor;
  }
  auto renewed = handler_.renew(*peer, *request);
  if (renewed.ok()) *response = *std::move(renewed);
  reactor->Finish(rpc::ToGrpc(renewed.status()));
  return reactor;
}

grpc::ServerUnaryReactor* SessionService::Greet(grpc::CallbackServerContext* context, const agent::v1::GreetRequest*,
                                                agent::v1::GreetResponse* response) {
  auto* reactor = context->DefaultReactor();
  auto peer = gate_->Authorize(*context, "bailiwick.agent.v1.AgentSession/Greet");
  if (peer.ok()) {
    response->set_build(std::string(kBuildVersion));
    rpc::ToProto(clock_->Now(), response->mutable_now());
    response->set_protocol_min(kProtocolMin);
    response->set_protocol_max(kProtocolMax);
  }
  reactor->Finish(rpc::ToGrpc(peer.status()));
  return reactor;
}

}  // namespace bailiwick::coordinator
