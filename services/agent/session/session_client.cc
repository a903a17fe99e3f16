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
    for (const auto& link : {active_, served_, opening_}) {
      if (link != nullptr) link->context.TryCancel();
    }
  }
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<grpc::Channel> SessionClient::channel() const {
  absl::MutexLock lock(&mutex_);
  return active_ == nullptr ? channel_ : active_->channel;
}

void SessionClient::Send(agent::v1::AgentMessage message) {
  absl::MutexLock lock(&mutex_);
  if (active_ == nullptr) return;
  if (queue_.size() >= kMaxQueued) {
    active_->context.TryCancel();
    return;
  }
  queue_.push_back(std::move(message));
}

void SessionClient::Renew() {
  absl::MutexLock lock(&mutex_);
  if (active_ != nullptr) active_->context.TryCancel();
}

void SessionClient::Hurry() {
  absl::MutexLock lock(&mutex_);
  hurry_ = true;
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
      active_ = nullptr;
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
    auto awake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || hurry_; };
    mutex_.AwaitWithTimeout(absl::Condition(&awake), wait);
    if (stopping_) return;
    if (hurry_) backoff.Reset();
    hurry_ = false;
  }
}

void SessionClient::WriteLoop(Link* link) {
  while (true) {
    agent::v1::AgentMessage message;
    {
      absl::MutexLock lock(&mutex_);
      auto something = [this, link]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty() || active_.get() != link; };
      mutex_.Await(absl::Condition(&something));
      if (active_.get() != link) return;
      message = std::move(queue_.front());
      queue_.pop_front();
    }
    if (!link->stream->Write(message)) return;
  }
}

absl::StatusOr<std::shared_ptr<SessionClient::Link>> SessionClient::Open(const std::shared_ptr<Link>& before) {
  auto link = std::make_shared<Link>();
  link->credentials = callbacks_.credentials();
  BW_ASSIGN_OR_RETURN(link->channel, callbacks_.dial());
  link->stub = agent::v1::AgentSession::NewStub(link->channel);
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopping");
    opening_ = link;
    if (active_ == nullptr) channel_ = link->channel;
  }
  link->stream = link->stub->Session(&link->context);
  agent::v1::CoordinatorMessage message;
  const bool answered = link->stream->Write(callbacks_.hello()) && link->stream->Read(&message);
  {
    absl::MutexLock lock(&mutex_);
    opening_ = nullptr;
  }
  if (!answered || !message.has_welcome() || message.welcome().protocol() < kProtocolMin ||
      message.welcome().protocol() > kProtocolMax) {
    absl::Status why = End(*link, answered ? Ending::kCancel : Ending::kOver);
    return answered && !message.has_welcome() ? absl::InternalError("the coordinator did not say welcome") : why;
  }
  if (!Use(before, link)) return End(*link, Ending::kCancel);
  absl::MutexLock lock(&callback_mutex_);
  callbacks_.message(message);
  callbacks_.connected();
  return link;
}

// From now on what is said goes this way. False: what was in use before is not any more.
bool SessionClient::Use(const std::shared_ptr<Link>& before, const std::shared_ptr<Link>& link) {
  absl::MutexLock lock(&mutex_);
  if (active_ != before || stopping_) return false;
  active_ = link;
  queue_.clear();  // the whole state follows
  link->writer = std::thread([this, link = link.get()] { WriteLoop(link); });
  credentials_ = link->credentials;
  connected_ = true;
  return true;
}

void SessionClient::Serve(Link& link) {
  agent::v1::CoordinatorMessage message;
  while (link.stream->Read(&message)) {
    absl::MutexLock lock(&callback_mutex_);
    callbacks_.message(message);
  }
}

absl::Status SessionClient::End(Link& link, Ending ending) {
  // Not where the coordinator ended it: its reason may still be on the way, and a cancellation would hide it.
  if (ending == Ending::kCancel) link.context.TryCancel();
  {
    absl::MutexLock lock(&mutex_);
    if (active_.get() == &link) active_ = nullptr;
  }
  if (link.writer.joinable()) link.writer.join();
  grpc::Status finished = link.stream->Finish();
  if (finished.ok())
    return absl::UnavailableError("the coordinator ended the session: a newer one of the same agent took over");
  return rpc::FromGrpc(finished);
}

absl::Status SessionClient::RunOnce() {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<Link> link, Open(nullptr));
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      served_ = link;
    }
    Serve(*link);
    {
      // It may have ended because the session is about to go on elsewhere.
      absl::MutexLock lock(&mutex_);
      auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !refreshing_ || stopping_; };
      mutex_.Await(absl::Condition(&settled));
    }
    absl::Status ended = End(*link, Ending::kOver);
    absl::MutexLock lock(&mutex_);
    served_ = nullptr;
    if (active_ == nullptr) return ended;
    link = active_;  // where the session went on
  }
}

absl::Status SessionClient::Refresh() {
  std::shared_ptr<Link> before;
  {
    absl::MutexLock lock(&mutex_);
    before = active_;
    if (before == nullptr) return absl::UnavailableError("there is no session");
    refreshing_ = true;
  }
  absl::Status opened = Open(before).status();
  absl::MutexLock lock(&mutex_);
  refreshing_ = false;
  if (!opened.ok()) return opened;
  auto drained = [this, &before]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return served_ != before; };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&drained), kDrain)) before->context.TryCancel();
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
