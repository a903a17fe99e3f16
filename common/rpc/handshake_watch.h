// Handshakes that fail inside TLS, before there is a peer whose identity could be refused: no certificate at all, an older
// TLS, something that is no TLS. gRPC 1.51 tells of them in its log alone, with OpenSSL's reason and without the other
// end's address, so this reads that. One at a time exists in a process, after RouteGrpcLog. Thread-safe.
#pragma once

#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace bailiwick::rpc {

class HandshakeWatch {
 public:
  // Called with NO_CERTIFICATE or TLS_FAILED (identity::RefusalCode) on gRPC's threads until this is destroyed; may block.
  explicit HandshakeWatch(std::function<void(const absl::Status& why)> failed);
  ~HandshakeWatch();
  HandshakeWatch(const HandshakeWatch&) = delete;
  HandshakeWatch& operator=(const HandshakeWatch&) = delete;

  static void Saw(std::string_view grpc_log_line);  // each one
};

}  // namespace bailiwick::rpc
