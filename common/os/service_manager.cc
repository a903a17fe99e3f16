#include "common/os/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::os {
namespace {

constexpr int64_t kMicrosecondsMax = 24LL * 3600 * 1'000'000;  // of a watchdog; longer is not watching

std::string TakeVariable(const char* name) {
  const char* value = std::getenv(name);
  std::string taken = value == nullptr ? "" : value;
  ::unsetenv(name);
  return taken;
}

// A path, or with "@" first a name in Linux's abstract space; other kinds (vsock) are for virtual machines.
absl::StatusOr<int> Connect(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((socket[0] != '/' && socket[0] != '@') || socket.size() < 2 || socket.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        absl::StrCat("NOTIFY_SOCKET is \"", socket, "\"; it must be a path or @name of at most ",
                     sizeof address.sun_path - 1, " bytes: unset it if no service manager started this"));
  }
  std::memcpy(address.sun_path, socket.data(), socket.size());
  if (socket[0] == '@') address.sun_path[0] = '\0';
  const auto length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket.size() + (socket[0] == '/' ? 1 : 0));
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return ErrnoStatus(errno, "socket");
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) return fd;
  const int error = errno;
  ::close(fd);
  return absl::UnavailableError(
      absl::StrCat("the service manager's socket ", socket, " does not answer (", std::strerror(error), ")"));
}

// The watchdog is meant for us when no process is named or it is this one.
absl::Duration AliveEvery(const std::string& microseconds, const std::string& pid) {
  int64_t usec = 0, meant = 0;
  if (!absl::SimpleAtoi(microseconds, &usec) || usec <= 0 || usec > kMicrosecondsMax) return absl::InfiniteDuration();
  if (!pid.empty() && (!absl::SimpleAtoi(pid, &meant) || meant != ::getpid())) return absl::InfiniteDuration();
  return absl::Microseconds(usec) / 2;
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

absl::StatusOr<ServiceManager> ServiceManager::FromEnvironment() {
  ServiceManager manager;
  manager.socket_ = TakeVariable("NOTIFY_SOCKET");
  const std::string microseconds = TakeVariable("WATCHDOG_USEC"), pid = TakeVariable("WATCHDOG_PID");
  if (manager.socket_.empty()) return manager;
  BW_ASSIGN_OR_RETURN(manager.fd_, Connect(manager.socket_));
  manager.alive_every_ = AliveEvery(microseconds, pid);
  return manager;
}

ServiceManager::ServiceManager(ServiceManager&& other) noexcept { *this = std::move(other); }

ServiceManager& ServiceManager::operator=(ServiceManager&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(socket_, other.socket_);
  std::swap(alive_every_, other.alive_every_);
  return *this;
}

ServiceManager::~ServiceManager() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status ServiceManager::Tell(std::string_view state) {
  if (fd_ < 0) return absl::OkStatus();
  while (::send(fd_, state.data(), state.size(), MSG_NOSIGNAL) < 0) {
    if (errno == EINTR) continue;
    return absl::UnavailableError(
        absl::StrCat("the service manager's socket ", socket_, " takes nothing (", std::strerror(errno), ")"));
  }
  return absl::OkStatus();
}

absl::Status ServiceManager::Ready(std::string_view status) {
  std::string line(status.substr(0, status.find('\n')));  // a line end would begin another field
  return Tell(absl::StrCat("READY=1\nSTATUS=", line));
}

absl::Status ServiceManager::Alive() { return Tell("WATCHDOG=1"); }

absl::Status ServiceManager::Stopping() { return Tell("STOPPING=1\nSTATUS=stopping"); }

void HoldStopSignals() {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

int AwaitStopSignal(ServiceManager& manager, const std::function<bool()>& alive) {
  const sigset_t signals = StopSignals();
  int received = 0;
  if (manager.alive_every() == absl::InfiniteDuration()) {
    sigwait(&signals, &received);
    return received;
  }
  const timespec turn = absl::ToTimespec(manager.alive_every());
  while (true) {
    // One that cannot be told is ended by the manager's own watch; nothing better is to be done about it here.
    if (alive()) manager.Alive().IgnoreError();
    received = sigtimedwait(&signals, nullptr, &turn);
    if (received > 0) return received;
  }
}

void EndAwait() { ::kill(::getpid(), SIGTERM); }

}  // namespace bailiwick::os
