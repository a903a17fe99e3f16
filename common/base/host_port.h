// Addresses as people and peers write them: HOST:PORT, a literal of IPv6 in brackets. Pure; nothing is looked up.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace bailiwick {

inline constexpr size_t kMaxHost = 253;  // of a name, RFC 1035

struct HostPort {
  std::string host;  // a name or a literal, without brackets: "core.example", "10.0.0.1", "::1", "fe80::1%eth0"
  int port = 0;
};

// INVALID_ARGUMENT: anything but HOST:PORT; a literal of IPv6 stands in brackets, nothing else does.
absl::StatusOr<HostPort> ParseHostPort(std::string_view text);
// A host alone, with or without brackets around a literal; comes back without. INVALID_ARGUMENT.
absl::StatusOr<std::string> ParseHost(std::string_view text);
std::string JoinHostPort(std::string_view host, int port);  // with brackets where the host needs them

bool IsLoopback(const std::string& host);    // localhost, 127.0.0.0/8, ::1
bool IsAnyAddress(const std::string& host);  // 0.0.0.0 and :: in all their forms: nobody can dial that

}  // namespace bailiwick
