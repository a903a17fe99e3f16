// Counts what a gRPC server answers: bailiwick_grpc_server_handled_total by service, method and code. Not of the
// transfer service, whose streams are counted as flows.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

namespace bailiwick::rpc {

// Before BuildAndStart.
void CountCalls(grpc::ServerBuilder& builder);

// "OK", "PERMISSION_DENIED", ...
std::string CodeName(grpc::StatusCode code);

}  // namespace bailiwick::rpc
