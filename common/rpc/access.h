// Which RPC is for whom, least privilege, in one table. A test of the sources holds it against the protos: an RPC
// without a line, or a line without an RPC, fails. Handlers ask the gate by the RPC's full name. Pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/identity/spiffe.h"

namespace bailiwick::rpc {

// Bits: a role has the number that resource.v1.Role gives it.
inline constexpr unsigned kViewer = 1u << 1;
inline constexpr unsigned kOperator = 1u << 2;
inline constexpr unsigned kPolicyAdmin = 1u << 3;
inline constexpr unsigned kAuditor = 1u << 4;
inline constexpr unsigned kAnyRole = kViewer | kOperator | kPolicyAdmin | kAuditor;
inline constexpr unsigned kAgents = 1u << 16;
inline constexpr unsigned kAnybody = 1u << 17;   // the join port, which asks for no certificate
inline constexpr unsigned kAnyAdmin = 1u << 18;  // who has a certificate of a person, with or without a role

struct AccessRule {
  const char* rpc;  // "bailiwick.control.v1.Control/GetInfo"
  unsigned allowed;
};
const std::vector<AccessRule>& AccessTable();

// What RoleBindings make of the admins.
struct People {
  bool bound = false;                     // by any; else everybody has every role
  std::map<std::string, unsigned> roles;  // by name
  unsigned RolesOf(const std::string& name) const;
  size_t Count(unsigned role) const;  // how many have it
};
std::string RoleNames(unsigned roles);  // "operator or policy-admin"

// PERMISSION_DENIED: WRONG_KIND or NOT_ALLOWED, with who may. An RPC that is not in the table is for nobody.
absl::Status CheckAccess(std::string_view rpc, const identity::SpiffeId& who, const People& people);

}  // namespace bailiwick::rpc
