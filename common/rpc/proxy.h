// The way out of a network that lets nobody dial directly: an HTTP proxy that is asked to CONNECT (RFC 9110, 9.3.6). TLS runs
// through it from end to end: a proxy sees who is dialled and how much is said, and can be nobody's peer. A value;
// immutable, so thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/host_port.h"
#include "common/os/files.h"

namespace bailiwick::rpc {

class Proxy {
 public:
  // As settings, the environment and a context say it.
  struct Settings {
    // HOST:PORT, also as http://HOST:PORT; "none": never one; empty: the environment's, by grpc_proxy, https_proxy or
    // http_proxy (the first that is set; also in capitals), where user and password may stand before the host.
    std::string proxy;
    std::string credentials;  // file with USER:PASSWORD for it; empty: none
    // Who is dialled directly, separated by commas: names with all names below them, addresses, networks (10.0.0.0/8),
    // "*". Empty, with the environment's proxy: no_grpc_proxy or no_proxy.
    std::string exempt;
  };

  Proxy() = default;  // none
  // INVALID_ARGUMENT: malformed, or the setting of the address holds the password, for all to see. No error says what a
  // credential is. Else what reading the credentials failed with.
  static absl::StatusOr<Proxy> Parse(os::Files* files, const Settings& settings);

  // Whether this host is reached through the proxy. Never for a loopback address.
  bool Covers(const std::string& host) const;
  // HOST:PORT that is dialled to get to this one: the proxy's, or it.
  std::string FirstHop(const std::string& address) const;
  bool none() const { return address_.host.empty(); }
  std::string address() const { return none() ? "" : JoinHostPort(address_.host, address_.port); }
  // The whole line of a CONNECT request that proves who asks; empty: nobody in particular. A secret.
  const std::string& authorization() const { return authorization_; }

 private:
  absl::Status Take(std::string_view address, std::string_view credentials, std::string_view exempt);
  HostPort address_;
  std::string authorization_;
  std::vector<std::string> exempt_;
};

}  // namespace bailiwick::rpc
