// The service manager that started this process, told that it is ready, alive, stopping: datagrams to the socket that
// $NOTIFY_SOCKET names, as sd_notify(3) of systemd describes. The protocol is a stable interface and needs no library,
// so a static binary speaks it too. Not thread-safe: it belongs to the thread that waits for the end.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bailiwick::os {

class ServiceManager {
 public:
  // Nobody to tell: every call does nothing.
  ServiceManager() = default;
  // What the environment says ($NOTIFY_SOCKET, $WATCHDOG_USEC, $WATCHDOG_PID). All three are taken out of it, so that a
  // program which this one starts cannot speak for it: call it before there are other threads. INVALID_ARGUMENT: a
  // manager is named, but not so that it can be told.
  static absl::StatusOr<ServiceManager> FromEnvironment();

  ServiceManager(ServiceManager&& other) noexcept;
  ServiceManager& operator=(ServiceManager&& other) noexcept;
  ~ServiceManager();

  bool listens() const { return fd_ >= 0; }
  // How often to say Alive: half of the time after which the manager ends who is silent. Infinite: it does not watch.
  absl::Duration alive_every() const { return alive_every_; }

  // `status` is one line for people (systemctl status). UNAVAILABLE: nobody listens there.
  absl::Status Ready(std::string_view status);
  absl::Status Alive();
  absl::Status Stopping();

 private:
  absl::Status Tell(std::string_view state);

  int fd_ = -1;         // connected to the manager's socket
  std::string socket_;  // its name, for errors
  absl::Duration alive_every_ = absl::InfiniteDuration();
};

// Blocks SIGTERM and SIGINT in this thread and those that it starts from now on, and ignores SIGPIPE.
void HoldStopSignals();
// Waits for one of those two and returns it. Meanwhile tells the manager that the process is alive, as long as `alive`
// says so: it is asked once per alive_every(), on this thread, and one that does not come back is not alive.
int AwaitStopSignal(ServiceManager& manager, const std::function<bool()>& alive);
// Has it return, as on a SIGTERM. From any thread.
void EndAwait();

}  // namespace bailiwick::os
