// Keeps one session with the coordinator open: dials, says hello, hands on what comes, dials again with backoff when it
// breaks. Callbacks run on the session's own threads, one at a time for messages. Thread-safe.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/agent/v1/session.grpc.pb.h"
#include "common/os/clock.h"
#include "common/os/random.h"

namespace bailiwick::agent {

class SessionClient {
 public:
  // More than this unsent: the coordinator does not read; the session is dropped and starts anew with the whole state.
  static constexpr size_t kMaxQueued = 10000;

  struct Callbacks {
    std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>()> dial;
    std::function<agent::v1::AgentMessage()> hello;
    std::function<void()> connected;  // after Welcome: send the whole state
    std::function<void(const agent::v1::CoordinatorMessage&)> message;
    std::function<void(const absl::Status&)> disconnected;
  };
  SessionClient(const os::Clock* clock, os::Random* random, Callbacks callbacks);
  ~SessionClient();
  void Start();
  void Stop();
  // Dropped when no session is open: the whole state follows on connect.
  void Send(agent::v1::AgentMessage message);
  bool connected() const { return connected_; }
  std::shared_ptr<grpc::Channel> channel() const;

 private:
  using Stream = grpc::ClientReaderWriter<agent::v1::AgentMessage, agent::v1::CoordinatorMessage>;
  void Run();
  absl::Status RunOnce();
  void WriteLoop(Stream* stream);

  const os::Clock* const clock_;
  os::Random* const random_;
  const Callbacks callbacks_;
  std::thread thread_;
  std::atomic<bool> connected_{false};
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<agent::v1::AgentMessage> queue_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
