// Ports that whoever passes by may knock at, without this process losing what it needs for itself: a connection that
// would take one of the last descriptors is closed at once, and a process that has none left (EMFILE) accepts again
// once it has. The kernel gives out the lowest free number, so a high one says how many are taken, whatever for.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace bailiwick::os {

class TcpListener {
 public:
  static constexpr int kKeptBack = 4;  // one descriptor in so many is never a connection's

  // HOST:PORT as ParseHostPort takes it, on every address of a name; any address means IPv6 too where there is; port 0:
  // one that is free. INVALID_ARGUMENT; UNAVAILABLE: no such address here, or the port is taken.
  static absl::StatusOr<std::unique_ptr<TcpListener>> Listen(const std::string& address);
  ~TcpListener();
  int port() const { return port_; }
  // From now on, on a thread of its own. `take` owns `fd`, non-blocking; `turned_away` is told of each that was closed.
  void Start(std::function<void(int listener_fd, int fd)> take, std::function<void()> turned_away);
  void Stop();  // closes the ports; no call of `take` afterwards. Idempotent

 private:
  TcpListener() = default;
  void Run();
  bool AcceptAll(int listener);  // false: nothing more can be accepted now

  std::vector<int> listeners_;
  int wake_ = -1;
  int port_ = 0;
  std::function<void(int, int)> take_;
  std::function<void()> turned_away_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace bailiwick::os
