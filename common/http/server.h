// A small HTTP/1.1 server for what a process tells about itself and for the console: plaintext, a few connections, each
// request answered by one handler on the connection's own thread, so that a handler may block. Boost.Beast parses and
// writes (header only, so it is in the static agent as it is); everything that a client decides is bounded here.
//
// Hostile clients: what is no HTTP/1.1 is answered 400 and closed, a head above its limit 431, a body above its limit
// 413, other methods than GET, HEAD and POST 405. A whole request has to arrive within `request_time`, byte by byte or
// not, counted from when the server begins to wait for it; whoever does not read is dropped after `write_time`. One
// connection more than `connections` is told 503. One Host header is required of HTTP/1.1.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/http/message.h"

namespace bailiwick::http {

struct Limits {
  uint32_t head_bytes = 16 << 10;  // request line and headers
  uint64_t body_bytes = 64 << 10;
  int connections = 64;
  absl::Duration request_time = absl::Seconds(10);
  absl::Duration write_time = absl::Seconds(30);  // for one response, or one Write of a stream
};

// Called on many threads at once.
using Handler = std::function<Response(const Request&)>;

class Server {
 public:
  // Listens on HOST:PORT ("127.0.0.1:0", "[::1]:9090"; port 0 is a free one; "[::]" is every address, also where the
  // kernel has no IPv6). INVALID_ARGUMENT: it is no such address.
  // UNAVAILABLE: it cannot listen there.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const std::string& address, Handler handler, Limits limits = {});
  ~Server();  // stops
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  const std::string& endpoint() const { return endpoint_; }  // the address with the port that it got
  // Ends every connection and waits for the handlers that run. Idempotent; not from a handler.
  void Stop();

 private:
  class Impl;
  Server(const std::string& address, std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  const std::string endpoint_;
};

}  // namespace bailiwick::http
