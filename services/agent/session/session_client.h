// Keeps one session with the coordinator open: dials, says hello, hands on what comes, dials again with backoff when it
// breaks. Refresh moves it to a new connection without a gap: the old one is read to its end, so that nothing that was
// on its way is lost. Callbacks run on the session's own threads, one at a time for messages. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

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
  // The coordinator ends the connection that was replaced; one that does not is broken off after so long.
  static constexpr absl::Duration kDrain = absl::Seconds(10);

  struct Callbacks {
    std::function<uint64_t()> credentials;  // generation of those in use, asked before `dial`
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
  // Opens another connection and goes on there once it is welcome; the one in use stays if it is not. Blocks for that
  // long. One caller at a time. UNAVAILABLE: there is no session.
  absl::Status Refresh();
  // Ends the session, if one is open: the next begins with the whole state of both ends.
  void Renew();
  // The next attempt to open one comes at once: what kept the last from success has changed.
  void Hurry();
  bool connected() const { return connected_; }
  uint64_t credentials() const { return credentials_; }  // generation that the session in use was opened with
  std::shared_ptr<grpc::Channel> channel() const;

 private:
  using Stream = grpc::ClientReaderWriter<agent::v1::AgentMessage, agent::v1::CoordinatorMessage>;
  struct Link {
    uint64_t credentials = 0;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<agent::v1::AgentSession::Stub> stub;
    grpc::ClientContext context;
    std::unique_ptr<Stream> stream;
    std::thread writer;
  };
  void Run();
  absl::Status RunOnce();
  // Until the coordinator said welcome, and it took the place of `before`.
  absl::StatusOr<std::shared_ptr<Link>> Open(const std::shared_ptr<Link>& before);
  bool Use(const std::shared_ptr<Link>& before, const std::shared_ptr<Link>& link);
  void Serve(Link& link);        // reads to the end
  enum class Ending { kCancel, kOver };         // kOver: nothing can be read any more
  absl::Status End(Link& link, Ending ending);  // after that: why it ended
  void WriteLoop(Link* link);

  const os::Clock* const clock_;
  os::Random* const random_;
  const Callbacks callbacks_;
  std::thread thread_;
  std::atomic<bool> connected_{false};
  std::atomic<uint64_t> credentials_{0};
  absl::Mutex callback_mutex_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool hurry_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<agent::v1::AgentMessage> queue_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Link> active_ ABSL_GUARDED_BY(mutex_);  // null: no session is open
  std::shared_ptr<Link> served_ ABSL_GUARDED_BY(mutex_);  // being read
  bool refreshing_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<Link> opening_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
