#include "common/base/host_port.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace bailiwick {
namespace {

absl::Status NotHostPort(std::string_view text) {
  constexpr size_t kShown = 80;
  const bool bare = std::count(text.begin(), text.end(), ':') > 1 && text.find_first_of("[/") == text.npos;
  return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text.substr(0, kShown)),
                                                 text.size() > kShown ? "..." : "", "\" is not HOST:PORT",
                                                 bare ? " (an IPv6 address stands in brackets: [::1]:7443)" : ""));
}

std::optional<in6_addr> Ip6(std::string_view host) {
  in6_addr address;
  const std::string literal(host.substr(0, host.find('%')));
  if (literal.find('\0') != std::string::npos) return std::nullopt;  // inet_pton would end there
  if (inet_pton(AF_INET6, literal.c_str(), &address) != 1) return std::nullopt;
  return address;
}

// An address of the link may name its interface: fe80::1%eth0.
bool IsIp6(std::string_view host) {
  const size_t zone = host.find('%');
  if (zone != std::string_view::npos) {
    const std::string_view name = host.substr(zone + 1);
    const bool good = !name.empty() && name.size() < 16 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
    });
    if (!good) return false;
  }
  return host.size() < 64 && Ip6(host).has_value();
}

bool IsName(std::string_view host) {
  return !host.empty() && host.size() <= kMaxHost && std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
  });
}

}  // namespace

absl::StatusOr<std::string> ParseHost(std::string_view text) {
  const bool bracketed = text.size() > 2 && text.front() == '[' && text.back() == ']';
  const std::string_view host = bracketed ? text.substr(1, text.size() - 2) : text;
  if (IsIp6(host) || (!bracketed && IsName(host))) return std::string(host);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(text.substr(0, kMaxHost)), "\" is not the name or address of a host"));
}

absl::StatusOr<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return NotHostPort(text);
  const std::string_view host = text.substr(0, colon), digits = text.substr(colon + 1);
  HostPort result;
  if (digits.empty() || digits.size() > 5 || digits.find_first_not_of("0123456789") != std::string_view::npos ||
      !absl::SimpleAtoi(std::string(digits), &result.port) || result.port > 65535) {
    return NotHostPort(text);
  }
  // Without brackets nobody knows where a literal ends and its port begins.
  if (host.empty() || (host.front() != '[' && host.find(':') != std::string_view::npos)) return NotHostPort(text);
  auto parsed = ParseHost(host);
  if (!parsed.ok()) return NotHostPort(text);
  result.host = *std::move(parsed);
  return result;
}

std::string JoinHostPort(std::string_view host, int port) {
  const bool literal = host.find(':') != std::string_view::npos;
  return absl::StrCat(literal ? "[" : "", std::string(host), literal ? "]:" : ":", port);
}

bool IsLoopback(const std::string& host) {
  in_addr four;
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
  auto six = Ip6(host);
  return six.has_value() ? IN6_IS_ADDR_LOOPBACK(&*six) : absl::EqualsIgnoreCase(host, "localhost");
}

bool IsAnyAddress(const std::string& host) {
  in_addr four;
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) return four.s_addr == INADDR_ANY;
  auto six = Ip6(host);
  return six.has_value() && IN6_IS_ADDR_UNSPECIFIED(&*six);
}

}  // namespace bailiwick
