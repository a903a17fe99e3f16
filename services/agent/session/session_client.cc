#include "services/agent/session/session_client.h"

#include "common/base/status.h"
#include "common/base/version.h"
#include "common/rpc/credentials.h"
#include "common/telemetry/log.h"
#include "services/agent/session/backoff.h"

namespace bailiwick::agent {

SessionClient::SessionClient(const os::Clock* clock, os::Random* random, Callbacks callbacks)
    : clock_(clock), random_(random), callbacks_(std::move(callbacks)) {}
SessionClient::~SessionClient() { Stop(); }

void SessionClient::Start() {
  thread_ = std::thread([this] { Run(); });
}

void SessionClient::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<grpc::Channel> SessionClient::channel() const {
  absl::MutexLock lock(&mutex_);
  return channel_;
}

void SessionClient::Send(agent::v1::AgentMessage message) {
  absl::MutexLock lock(&mutex_);
  if (!open_) return;
  if (queue_.size() >= kMaxQueued) {
    if (context_ != nullptr) context_->TryCancel();
    return;
  }
  queue_.push_back(std::move(message));
}

void SessionClient::Run() {
  Backoff backoff(absl::Milliseconds(200), absl::Seconds(10));
  std::string last_error;
  while (true) {
    absl::Status status = RunOnce();
    const bool was_connected = connected_.exchange(false);
    if (was_connected) backoff.Reset();
    {
      absl::MutexLock lock(&mutex_);
      open_ = false;
      queue_.clear();
      channel_ = nullptr;
      if (stopping_) return;
    }
    callbacks_.disconnected(status);
    std::string error(status.message());
    if (was_connected || error != last_error) {
      telemetry::Log(telemetry::Level::kWarning, "session-lost", {{"error", error}});
      last_error = error;
    }
    const std::string bits = random_->Bytes(4);
    uint32_t value;
    memcpy(&value, bits.data(), 4);
    const absl::Duration wait = backoff.Next(value);
    absl::MutexLock lock(&mutex_);
    auto stop = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; };
    if (mutex_.AwaitWithTimeout(absl::Condition(&stop), wait)) return;
  }
}

void SessionClient::WriteLoop(Stream* stream) {
  while (true) {
    agent::v1::AgentMessage message;
    {
      absl::MutexLock lock(&mutex_);
      auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty() || !open_; };
      mutex_.Await(absl::Condition(&something));
      if (!open_) return;
      message = std::move(queue_.front());
      queue_.pop_front();
    }
    if (!stream->Write(message)) return;
  }
}

absl::Status SessionClient::RunOnce() {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, callbacks_.dial());
  auto stub = agent::v1::AgentSession::NewStub(channel);
  grpc::ClientContext context;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopping");
    context_ = &context;
    channel_ = channel;
  }
  std::unique_ptr<Stream> stream = stub->Session(&context);
  std::thread writer;
  agent::v1::CoordinatorMessage message;
  bool welcomed = false;
  if (stream->Write(callbacks_.hello())) {
    while (stream->Read(&message)) {
      if (message.has_welcome()) {
        if (message.welcome().protocol() < kProtocolMin || message.welcome().protocol() > kProtocolMax) break;
        {
          absl::MutexLock lock(&mutex_);
          open_ = true;
        }
        if (!welcomed) writer = std::thread([this, &stream] { WriteLoop(stream.get()); });
        welcomed = true;
        connected_ = true;
        callbacks_.message(message);
        callbacks_.connected();
        continue;
      }
      callbacks_.message(message);
    }
  }
  context.TryCancel();
  {
    absl::MutexLock lock(&mutex_);
    open_ = false;
    context_ = nullptr;
  }
  if (writer.joinable()) writer.join();
  grpc::Status finished = stream->Finish();
  if (finished.ok()) return absl::UnavailableError("the coordinator ended the session");
  return rpc::FromGrpc(finished);
}

}  // namespace bailiwick::agent
