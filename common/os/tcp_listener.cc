#include "common/os/tcp_listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

constexpr int kAfterFailureMillis = 100;  // out of descriptors, say
constexpr int kAtOnce = 64;               // accepted before the other addresses have their turn

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

void SetPort(Address* address, int port) {
  const auto network = htons(static_cast<uint16_t>(port));
  if (address->bytes.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address->bytes)->sin6_port = network;
  } else {
    reinterpret_cast<sockaddr_in*>(&address->bytes)->sin_port = network;
  }
}

absl::StatusOr<std::vector<Address>> AddressesOf(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), "0", &hints, &found);
  if (failed != 0) return absl::UnavailableError(absl::StrCat("cannot find ", host, ": ", ::gai_strerror(failed)));
  std::vector<Address> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_family != AF_INET && one->ai_family != AF_INET6) continue;
    Address address;
    std::memcpy(&address.bytes, one->ai_addr, one->ai_addrlen);
    address.size = one->ai_addrlen;
    addresses.push_back(address);
  }
  ::freeaddrinfo(found);
  return addresses;
}

// A listening socket, or the errno.
internal::UniqueFd Bind(const Address& address, bool both_families) {
  internal::UniqueFd fd(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1, only = both_families ? 0 : 1;
  if (!fd.ok() || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      (address.bytes.ss_family == AF_INET6 &&
       ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) != 0) ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.size) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    const int error = errno;
    fd = internal::UniqueFd();
    errno = error;
  }
  return fd;
}

int PortOf(int fd) {
  Address address;
  address.size = sizeof address.bytes;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.bytes), &address.size) != 0) return 0;
  return ntohs(address.bytes.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address.bytes)->sin6_port
                                                   : reinterpret_cast<sockaddr_in*>(&address.bytes)->sin_port);
}

// Whether a descriptor of this number is one of the last.
bool IsOneOfTheLast(int fd) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
  return static_cast<rlim_t>(fd) >= limit.rlim_cur - limit.rlim_cur / TcpListener::kKeptBack;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpListener>> TcpListener::Listen(const std::string& address) {
  BW_ASSIGN_OR_RETURN(const HostPort wanted, ParseHostPort(address));
  const bool any = IsAnyAddress(wanted.host);
  std::vector<Address> addresses;
  if (any) {
    BW_ASSIGN_OR_RETURN(addresses, AddressesOf("::"));
  } else {
    BW_ASSIGN_OR_RETURN(addresses, AddressesOf(wanted.host));
  }
  std::unique_ptr<TcpListener> self(new TcpListener());
  self->port_ = wanted.port;
  int error = 0;
  const auto listen = [&](const std::vector<Address>& on) {
    for (Address one : on) {
      SetPort(&one, self->port_);
      internal::UniqueFd fd = Bind(one, any);
      if (!fd.ok()) {
        error = errno;
        continue;
      }
      self->port_ = PortOf(fd.get());
      self->listeners_.push_back(fd.release());
    }
  };
  listen(addresses);
  if (any && self->listeners_.empty() && error == EAFNOSUPPORT) {  // a kernel without IPv6
    BW_ASSIGN_OR_RETURN(addresses, AddressesOf("0.0.0.0"));
    listen(addresses);
  }
  self->wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (self->wake_ < 0) error = errno;
  // One address of a name that is taken is no port that is free.
  if (self->listeners_.empty() || error == EADDRINUSE || self->wake_ < 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", std::strerror(error)));
  }
  return self;
}

void TcpListener::Start(std::function<void(int, int)> take, std::function<void()> turned_away) {
  take_ = std::move(take);
  turned_away_ = std::move(turned_away);
  thread_ = std::thread([this] { Run(); });
}

TcpListener::~TcpListener() {
  Stop();
  if (wake_ >= 0) ::close(wake_);
}

void TcpListener::Stop() {
  stopping_ = true;
  if (thread_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);  // full: it is awake
    thread_.join();
  }
  for (int listener : listeners_) ::close(listener);
  listeners_.clear();
}

void TcpListener::Run() {
  std::vector<pollfd> polled{{wake_, POLLIN, 0}};
  for (int listener : listeners_) polled.push_back({listener, POLLIN, 0});
  bool ready = true;
  while (!stopping_) {
    if (!ready) ::poll(polled.data(), 1, kAfterFailureMillis);
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
    ready = true;
    for (size_t i = 1; i < polled.size() && !stopping_; ++i) {
      if (polled[i].revents != 0) ready = AcceptAll(polled[i].fd) && ready;
    }
  }
}

bool TcpListener::AcceptAll(int listener) {
  for (int n = 0; n < kAtOnce; ++n) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      if (IsOneOfTheLast(fd)) {
        ::close(fd);
        turned_away_();
      } else {
        take_(listener, fd);
      }
      continue;
    }
    switch (errno) {
      case EAGAIN:
        return true;
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return false;
      default:
        break;  // of one connection: it is gone already
    }
  }
  return true;
}

}  // namespace bailiwick::os
