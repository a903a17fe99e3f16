#include "common/os/local_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::os {
namespace {

constexpr int kBacklog = 16;

// The address of a name below an open directory: its path, or where that is too long for an address, one by way of the
// descriptor. (That needs /proc, which a bare root does not have.)
absl::StatusOr<sockaddr_un> AddressBelow(int fd, const std::string& directory, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = absl::StrCat(directory, "/", name);
  if (path.size() >= sizeof address.sun_path) path = absl::StrCat("/proc/self/fd/", fd, "/", name);
  if (path.size() >= sizeof address.sun_path) return absl::InvalidArgumentError("the name of the socket is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

absl::StatusOr<int> OpenDirectory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, directory);
  return fd;
}

absl::Status ConnectError(int error, const std::string& where) {
  if (error == ECONNREFUSED) return absl::UnavailableError(absl::StrCat("nobody listens at ", where));
  return ErrnoStatus(error, where);
}

}  // namespace

LocalConnection::~LocalConnection() { ::close(fd_); }

absl::StatusOr<uint32_t> LocalConnection::PeerUser() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return ErrnoStatus(errno, "SO_PEERCRED");
  return credentials.uid;
}

absl::Status LocalConnection::Wait(short events, absl::Duration timeout) const {
  pollfd poll{fd_, events, 0};
  while (true) {
    const int ready = ::poll(&poll, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
    if (ready > 0) return absl::OkStatus();
    if (ready == 0) return absl::DeadlineExceededError("the other end of the local socket is silent");
    if (errno != EINTR) return ErrnoStatus(errno, "poll");
  }
}

absl::StatusOr<std::string> LocalConnection::ReadLine(size_t limit, absl::Duration timeout) {
  while (true) {
    if (const size_t end = read_.find('\n'); end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    if (read_.size() > limit) return absl::OutOfRangeError("the line is too long");
    BW_RETURN_IF_ERROR(Wait(POLLIN, timeout));
    char buffer[4096];
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n == 0) return absl::UnavailableError("the other end closed the local socket");
    if (n < 0 && errno != EINTR) return ErrnoStatus(errno, "recv");
    if (n > 0) read_.append(buffer, static_cast<size_t>(n));
  }
}

absl::Status LocalConnection::Write(std::string_view data, absl::Duration timeout) {
  while (!data.empty()) {
    BW_RETURN_IF_ERROR(Wait(POLLOUT, timeout));
    const ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return ErrnoStatus(errno, "send");
    if (n > 0) data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LocalListener>> LocalListener::Open(const std::string& directory,
                                                                   const std::string& name) {
  BW_ASSIGN_OR_RETURN(int below, OpenDirectory(directory));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::unique_ptr<LocalListener> listener(new LocalListener(below, fd, name));
  if (fd < 0) return ErrnoStatus(errno, "socket");
  if (::unlinkat(below, name.c_str(), 0) != 0 && errno != ENOENT) return ErrnoStatus(errno, name);
  BW_ASSIGN_OR_RETURN(sockaddr_un address, AddressBelow(below, directory, name));
  // Nobody connects before it listens, and it listens only once it is the owner's alone.
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::fchmodat(below, name.c_str(), 0600, 0) != 0 || ::listen(fd, kBacklog) != 0) {
    return ErrnoStatus(errno, absl::StrCat(directory, "/", name));
  }
  return listener;
}

LocalListener::~LocalListener() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlinkat(directory_, name_.c_str(), 0);
  }
  ::close(directory_);
}

absl::StatusOr<std::unique_ptr<LocalConnection>> LocalListener::Accept(absl::Duration timeout) {
  pollfd poll{fd_, POLLIN, 0};
  const int ready = ::poll(&poll, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  if (ready == 0 || (ready < 0 && errno == EINTR)) return std::unique_ptr<LocalConnection>();
  if (ready < 0) return ErrnoStatus(errno, "poll");
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) {
    if (errno == ECONNABORTED || errno == EINTR) return std::unique_ptr<LocalConnection>();
    return ErrnoStatus(errno, "accept");
  }
  return std::make_unique<LocalConnection>(fd);
}

absl::StatusOr<std::unique_ptr<LocalConnection>> ConnectLocal(const std::string& directory, const std::string& name) {
  BW_ASSIGN_OR_RETURN(int below, OpenDirectory(directory));
  auto address = AddressBelow(below, directory, name);
  const int fd = address.ok() ? ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
  int error = fd < 0 ? errno : 0;
  if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) error = errno;
  ::close(below);
  if (!address.ok()) return address.status();
  if (error == 0) return std::make_unique<LocalConnection>(fd);
  if (fd >= 0) ::close(fd);
  return ConnectError(error, absl::StrCat(directory, "/", name));
}

uint32_t CurrentUser() { return ::geteuid(); }

}  // namespace bailiwick::os
