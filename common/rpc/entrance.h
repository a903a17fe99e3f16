// The port of a gRPC server, accepted for it (os/tcp_listener.h). gRPC 1.51 left to itself gives a port up for good
// when accept() once finds no descriptor free, which a stranger can bring about by connecting often enough.
//   auto entrance = Entrance::Open(address, credentials, &builder);  server = builder.BuildAndStart();
//   entrance->Start();
// Stop it, or destroy it, before the server is shut down. Not thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/os/tcp_listener.h"

namespace bailiwick::rpc {

class Entrance {
 public:
  // As TcpListener::Listen. Connections wait until Start.
  static absl::StatusOr<std::unique_ptr<Entrance>> Open(const std::string& address,
                                                        const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                                        grpc::ServerBuilder* builder);
  int port() const { return listener_->port(); }
  void Start();  // once the server has started
  void Stop() { listener_->Stop(); }

 private:
  Entrance() = default;
  void TurnedAway();

  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  uint64_t turned_away_ = 0;  // the listener's thread
  absl::Duration said_ = -absl::InfiniteDuration();
  std::unique_ptr<os::TcpListener> listener_;  // first to go
};

}  // namespace bailiwick::rpc
