#include "common/rpc/access.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/identity/verify.h"

namespace bailiwick::rpc {

const std::vector<AccessRule>& AccessTable() {
  static const auto* const table = new std::vector<AccessRule>{
      // Seeing.
      {"bailiwick.control.v1.Control/GetInfo", kAnyRole},
      {"bailiwick.control.v1.Control/WhoAmI", kAnyAdmin},
      {"bailiwick.control.v1.Control/ListResources", kAnyRole},
      {"bailiwick.control.v1.Control/GetPending", kAnyRole},
      {"bailiwick.control.v1.Control/GetPolicy", kAnyRole},
      {"bailiwick.control.v1.Control/ListPolicies", kAnyRole},
      {"bailiwick.control.v1.Control/ListSites", kAnyRole},
      {"bailiwick.control.v1.Control/ListAgents", kAnyRole},
      {"bailiwick.control.v1.Control/ListDatasets", kAnyRole},
      {"bailiwick.control.v1.Control/ListVersions", kAnyRole},
      {"bailiwick.control.v1.Control/ListReplicas", kAnyRole},
      {"bailiwick.control.v1.Control/ListTransfers", kAnyRole},
      {"bailiwick.control.v1.Control/Why", kAnyRole},
      {"bailiwick.control.v1.Control/ListHolds", kAnyRole},
      {"bailiwick.control.v1.Control/ListEvictions", kAnyRole},
      {"bailiwick.control.v1.Control/ListRedactions", kAnyRole},
      {"bailiwick.control.v1.Control/ListProposals", kAnyRole},
      {"bailiwick.control.v1.Control/Events", kAnyRole},
      {"bailiwick.control.v1.Control/ListAuthorities", kAnyRole},
      // Audit logs say who did what: for who checks, and for who makes the law.
      {"bailiwick.control.v1.Control/ReadAudit", kAuditor | kPolicyAdmin},
      {"bailiwick.control.v1.Control/ListAuditLogs", kAuditor | kPolicyAdmin},
      {"bailiwick.agent.v1.AgentAdmin/ReadAudit", kAuditor | kPolicyAdmin},
      {"bailiwick.control.v1.Control/DryRun", kAnyRole},  // and what the act itself asks for
      // Working. Apply asks for more where the change is of law or people.
      {"bailiwick.control.v1.Control/Apply", kOperator | kPolicyAdmin},
      {"bailiwick.control.v1.Control/CreateJoinToken", kOperator | kPolicyAdmin},
      {"bailiwick.control.v1.Control/Pin", kOperator | kPolicyAdmin},
      {"bailiwick.control.v1.Control/Hold", kOperator | kPolicyAdmin},
      {"bailiwick.control.v1.Control/Revoke", kOperator | kPolicyAdmin},
      // What cannot be taken back, or changes who may what.
      {"bailiwick.control.v1.Control/RejectPending", kPolicyAdmin},
      {"bailiwick.control.v1.Control/Release", kPolicyAdmin},
      {"bailiwick.control.v1.Control/Redact", kPolicyAdmin},
      {"bailiwick.control.v1.Control/AllowRecoveries", kPolicyAdmin},
      {"bailiwick.control.v1.Control/RotateAuthority", kPolicyAdmin},
      {"bailiwick.control.v1.Control/CreateLoginToken", kPolicyAdmin},
      {"bailiwick.control.v1.Control/Approve", kPolicyAdmin},
      {"bailiwick.control.v1.Control/Withdraw", kPolicyAdmin},
      // At an agent. Names of files are for who works with them; a verification reads everything and may name some.
      {"bailiwick.agent.v1.AgentAdmin/Verify", kAuditor | kOperator | kPolicyAdmin},
      {"bailiwick.agent.v1.AgentAdmin/Commit", kOperator | kPolicyAdmin},
      {"bailiwick.agent.v1.AgentAdmin/PreviewCommit", kOperator | kPolicyAdmin},
      {"bailiwick.agent.v1.AgentAdmin/PreviewCheckout", kOperator | kPolicyAdmin},
      {"bailiwick.agent.v1.AgentAdmin/Diff", kOperator | kPolicyAdmin},
      {"bailiwick.agent.v1.AgentAdmin/Checkout", kOperator | kPolicyAdmin},
      {"bailiwick.agent.v1.AgentAdmin/FindContent", kPolicyAdmin},
      // Machines.
      {"bailiwick.agent.v1.AgentSession/Session", kAgents},
      {"bailiwick.agent.v1.AgentSession/Renew", kAgents},
      {"bailiwick.agent.v1.AgentSession/Greet", kAgents},
      {"bailiwick.transfer.v1.Transfer/Exchange", kAgents},
      {"bailiwick.enroll.v1.Enroll/Join", kAnybody},
      {"bailiwick.enroll.v1.Enroll/Challenge", kAnybody},
      {"bailiwick.enroll.v1.Enroll/Recover", kAnybody},
      {"bailiwick.enroll.v1.Enroll/Login", kAnybody},
  };
  return *table;
}

unsigned People::RolesOf(const std::string& name) const {
  if (!bound) return kAnyRole;
  auto it = roles.find(name);
  return it == roles.end() ? 0 : it->second;
}

size_t People::Count(unsigned role) const {
  return static_cast<size_t>(
      std::count_if(roles.begin(), roles.end(), [role](const auto& person) { return (person.second & role) != 0; }));
}

std::string RoleNames(unsigned roles) {
  std::vector<std::string> names;
  if (roles & kViewer) names.push_back("viewer");
  if (roles & kOperator) names.push_back("operator");
  if (roles & kPolicyAdmin) names.push_back("policy-admin");
  if (roles & kAuditor) names.push_back("auditor");
  return absl::StrJoin(names, " or ");
}

absl::Status CheckAccess(std::string_view rpc, const identity::SpiffeId& who, const People& people) {
  const auto& table = AccessTable();
  auto rule = std::find_if(table.begin(), table.end(), [rpc](const AccessRule& r) { return rpc == r.rpc; });
  if (rule == table.end()) return identity::Forbid("NOT_ALLOWED", absl::StrCat(std::string(rpc), " is for nobody"));
  if (rule->allowed & kAnybody) return absl::OkStatus();
  if (rule->allowed & kAgents) {
    if (who.kind == identity::Kind::kAgent) return absl::OkStatus();
    return identity::Forbid("WRONG_KIND", absl::StrCat(who.str(), " is not an agent"));
  }
  if (who.kind != identity::Kind::kAdmin) {
    return identity::Forbid("WRONG_KIND", absl::StrCat(who.str(), " is not an admin"));
  }
  if (rule->allowed & kAnyAdmin) return absl::OkStatus();
  if (people.RolesOf(who.name) & rule->allowed) return absl::OkStatus();
  const std::string_view method = rpc.substr(rpc.find('/') + 1);
  return identity::Forbid("NOT_ALLOWED",
                          absl::StrCat(who.name, " may not do that (", std::string(method), "): it needs the role ",
                                       RoleNames(rule->allowed), "; a policy-admin can bind it"));
}

}  // namespace bailiwick::rpc
