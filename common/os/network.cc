#include "common/os/network.h"

#include <netdb.h>
#include <netinet/in.h>
#include <nss.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

absl::StatusOr<Addresses> Look(const std::string& host, const char* port, int flags) {
  // What else nsswitch.conf may name is loaded at run time, which does not fit into a static program; gRPC does not ask
  // it either.
  static const int once = ::__nss_configure_lookup("hosts", "files dns");
  (void)once;
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  const int error = ::getaddrinfo(host.c_str(), port, &hints, &list);
  if (error == 0) return Addresses(list);
  if (error == EAI_NONAME || error == EAI_NODATA) return absl::NotFoundError(absl::StrCat(host, " has no address"));
  return absl::UnavailableError(
      absl::StrCat(host, " cannot be looked up: ", error == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(error)));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> Resolve(const std::string& host) {
  BW_ASSIGN_OR_RETURN(Addresses list, Look(host, nullptr, 0));
  std::vector<std::string> found;
  for (const addrinfo* one = list.get(); one != nullptr; one = one->ai_next) {
    char text[NI_MAXHOST];
    if (::getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) continue;
    if (std::find(found.begin(), found.end(), text) == found.end()) found.emplace_back(text);
  }
  return found;
}

absl::Status TryConnect(const std::string& address, uint16_t port, absl::Duration timeout) {
  BW_ASSIGN_OR_RETURN(Addresses list, Look(address, absl::StrCat(port).c_str(), AI_NUMERICHOST | AI_NUMERICSERV));
  const std::string what = absl::StrCat(address, " port ", port);
  internal::UniqueFd fd(::socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.ok()) return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
  int error = ::connect(fd.get(), list->ai_addr, list->ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd wait{fd.get(), POLLOUT, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
    if (ready == 0) return absl::DeadlineExceededError(absl::StrCat(what, " does not answer"));
    socklen_t length = sizeof error;
    if (ready < 0 || ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  }
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error)));
}

}  // namespace bailiwick::os
