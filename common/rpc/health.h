// The port that probes ask: gRPC health v1 in the clear, because a kubelet's probe speaks no TLS, and nothing else.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/rpc/entrance.h"

namespace bailiwick::rpc {

class HealthServer {
 public:
  // `address`: HOST:PORT. Starts as SERVING, so start it last, once everything else listens. INVALID_ARGUMENT: no
  // HOST:PORT. UNAVAILABLE: cannot listen there.
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const std::string& address);
  ~HealthServer();
  const std::string& endpoint() const { return endpoint_; }  // with the port that it really got
  void Draining();  // NOT_SERVING from now on: whoever spreads load looks elsewhere while this process ends

 private:
  HealthServer() = default;
  // A server with nothing but the health service has nobody to poll for it; this one answers UNIMPLEMENTED to all else.
  grpc::CallbackGenericService nothing_else_;
  std::unique_ptr<Entrance> entrance_;
  std::unique_ptr<grpc::Server> server_;
  std::string endpoint_;
};

}  // namespace bailiwick::rpc
