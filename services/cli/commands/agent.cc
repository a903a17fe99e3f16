// agent ..., ca ...: the machines' identities.
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/rpc/codec.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/yes_flag.h"

namespace bailiwick::cli {
namespace {

using google::protobuf::Timestamp;

// "in 3h12m" or "2h3m ago"; "-" when not known.
std::string Away(const Timestamp& t, bool known, absl::Time now) {
  if (!known) return "-";
  const absl::Duration left = rpc::FromProto(t) - now;
  const std::string span = FormatAge(absl::AbsDuration(left));
  return left >= absl::ZeroDuration() ? absl::StrCat("in ", span) : absl::StrCat(span, " ago");
}

std::string State(const control::v1::AgentStatus& agent, absl::Time now) {
  if (agent.has_revoked()) return "revoked";
  if (agent.has_certificate_expires() && rpc::FromProto(agent.certificate_expires()) < now) return "expired";
  if (!agent.approved()) return "unapproved";
  return agent.connected() ? "connected" : "offline";
}

absl::Status ListAgents(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::ListAgentsResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListAgents(Admin::Call().get(), {}, &response)));
  const absl::Time now = os::Clock::System()->Now();
  std::vector<Json> json;
  Rows rows;
  for (const auto& a : response.agents()) {
    json.push_back(Object({{"site", Text(a.site())},
                           {"identity", Text(a.spiffe_id())},
                           {"state", Text(State(a, now))},
                           {"connected", Bool(a.connected())},
                           {"approved", Bool(a.approved())},
                           {"lastSeen", Text(TimeText(a.last_seen()))},
                           {"certificateExpires", Text(TimeText(a.certificate_expires()))},
                           {"renewed", Text(TimeText(a.renewed()))},
                           {"policyRevision", Number(a.policy_revision())},
                           {"policyCalledCurrent", Text(TimeText(a.policy_called_current()))},
                           {"recoveriesLeft", Number(a.recoveries_left())},
                           {"newcomerKey", Text(absl::BytesToHexString(a.newcomer_ed25519()))},
                           {"revokedAt", Text(TimeText(a.revoked().at()))},
                           {"revokedBy", Text(a.revoked().by())},
                           {"revokedReason", Text(a.revoked().reason())}}));
    rows.push_back({a.site(), State(a, now), Away(a.certificate_expires(), a.has_certificate_expires(), now),
                    Away(a.renewed(), a.has_renewed(), now), absl::StrCat(a.policy_revision()),
                    Away(a.policy_called_current(), a.has_policy_called_current(), now),
                    absl::StrCat(a.recoveries_left()), a.spiffe_id()});
  }
  if (!globals.table()) {
    PrintJson(globals.format(), {{"agents", List(std::move(json))}});
  } else {
    PrintTable({"SITE", "STATE", "EXPIRES", "RENEWED", "POLICY", "CALLED CURRENT", "RECOVERIES", "IDENTITY"}, rows);
    for (const auto& a : response.agents()) {
      if (a.newcomer_ed25519().empty()) continue;
      std::cout << "site " << a.site() << ": another machine joined " << Away(a.newcomer_joined(), true, now)
                << ", with key " << std::string(absl::BytesToHexString(a.newcomer_ed25519()))
                << "; it serves the site once it is approved: bailiwick site approve " << a.site() << "\n";
    }
  }
  return absl::OkStatus();
}

absl::Status Revoke(const Globals& globals, const control::v1::RevokeRequest& request, bool yes, bool dry_run) {
  if (dry_run) {
    BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
    control::v1::DryRunRequest act;
    *act.mutable_revoke() = request;
    return TryAct(globals, *admin, act);
  }
  const std::string what = request.site().empty() ? "admin " + request.admin() : "the agent of site " + request.site();
  BW_RETURN_IF_ERROR(
      Confirm(globals, yes, absl::StrCat("Revoke ", what, "? It is out until it joins anew."), "nothing was revoked"));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::RevokeResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().Revoke(Admin::Call().get(), request, &response)));
  if (globals.table()) {
    std::cout << response.spiffe_id() << " is revoked\n";
    if (response.never_seen()) {
      std::cerr << "bailiwick: nobody is known to have logged in as " << request.admin()
                << ": if that is not the name you meant, whom you meant is still in\n";
    }
  } else {
    PrintJson(globals.format(), {{"revoked", Text(response.spiffe_id())}});
  }
  return absl::OkStatus();
}

absl::Status AllowRecoveries(const Globals& globals, const std::string& site, uint32_t count, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::DryRunRequest act;
  control::v1::AllowRecoveriesRequest& request = *act.mutable_allow_recoveries();
  request.set_site(site);
  request.set_count(count);
  if (dry_run) return TryAct(globals, *admin, act);
  control::v1::AllowRecoveriesResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().AllowRecoveries(Admin::Call().get(), request, &response)));
  if (response.has_proposal()) return SayProposed(globals, response.proposal());
  if (globals.table()) {
    std::cout << "site " << site << " may come back " << count << " times by itself (before: " << response.before()
              << ")\n";
  } else {
    PrintJson(globals.format(),
              {{"site", Text(site)}, {"before", Number(response.before())}, {"count", Number(count)}});
  }
  return absl::OkStatus();
}

absl::Status RotateAuthority(const Globals& globals, bool yes, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (dry_run) {
    control::v1::DryRunRequest act;
    act.mutable_rotate_authority();
    return TryAct(globals, *admin, act);
  }
  BW_RETURN_IF_ERROR(Confirm(globals, yes, "Make a new CA, which signs in place of this one?", "not rotated"));
  control::v1::RotateAuthorityResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().RotateAuthority(Admin::Call().get(), {}, &response)));
  if (globals.table()) {
    std::cout << "a new CA is trusted beside the old one; it signs from " << TimeText(response.signs_from()) << "\n";
  } else {
    PrintJson(globals.format(), {{"signsFrom", Text(TimeText(response.signs_from()))}});
  }
  return absl::OkStatus();
}

absl::Status ListAuthorities(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::ListAuthoritiesResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListAuthorities(Admin::Call().get(), {}, &response)));
  const absl::Time now = os::Clock::System()->Now();
  std::vector<Json> json;
  Rows rows;
  for (const auto& ca : response.authorities()) {
    const std::string sha256(absl::BytesToHexString(ca.sha256()));
    json.push_back(Object({{"sha256", Text(sha256)},
                           {"state", Text(ca.state())},
                           {"expires", Text(TimeText(ca.expires()))},
                           {"signsFrom", Text(TimeText(ca.signs_from()))}}));
    rows.push_back({sha256, ca.state(), TimeText(ca.expires()), Away(ca.signs_from(), ca.has_signs_from(), now)});
  }
  if (globals.table()) {
    PrintTable({"SHA256", "STATE", "TRUSTED UNTIL", "SIGNS"}, rows);
  } else {
    PrintJson(globals.format(), {{"authorities", List(std::move(json))}});
  }
  return absl::OkStatus();
}

void RegisterRevoke(CLI::App* agent, Globals& globals) {
  auto* c = agent->add_subcommand("revoke", "certificates and key of a site's agent count no more, everywhere at once");
  auto site = std::make_shared<std::string>(), admin = std::make_shared<std::string>(),
       reason = std::make_shared<std::string>();
  auto yes = YesFlag(c);
  c->add_option("SITE", *site, "the site whose agent is out")->type_name("SITE");
  c->add_option("--admin", *admin, "or: the name of an admin");
  c->add_option("--reason", *reason, "why; for the audit log")->required();
  auto dry_run = DryRunFlag(c);
  c->footer("Example:\n  bailiwick agent revoke robot-17 --reason 'stolen in Lyon'");
  OnRun(c, globals, [&globals, site, admin, reason, yes, dry_run] {
    control::v1::RevokeRequest asked;
    asked.set_site(*site);
    asked.set_admin(*admin);
    asked.set_reason(*reason);
    return Revoke(globals, asked, *yes, *dry_run);
  });
}

}  // namespace

void RegisterAgents(CLI::App& app, Globals& globals) {
  auto* agent = app.add_subcommand("agent", "identities of the machines: who, until when; revocation");
  agent->require_subcommand(1);
  agent->footer("Example:\n  bailiwick agent list");
  auto* list =
      agent->add_subcommand("list", "every agent: when its certificate ends, was renewed, how old its policy is");
  list->footer("Example:\n  bailiwick agent list -o json");
  OnRun(list, globals, [&globals] { return ListAgents(globals); });
  RegisterRevoke(agent, globals);
  auto* allow = agent->add_subcommand(
      "allow-recoveries", "how often an agent whose certificate expired may come back by its enrolment key");
  auto site = std::make_shared<std::string>();
  auto count = std::make_shared<uint32_t>(0);
  allow->add_option("SITE", *site, "the site")->type_name("SITE")->required();
  allow->add_option("COUNT", *count, "from now on, at most 1000")->required();
  auto dry_run = DryRunFlag(allow);
  allow->footer("Example:\n  bailiwick agent allow-recoveries robot-17 20");
  OnRun(allow, globals, [&globals, site, count, dry_run] { return AllowRecoveries(globals, *site, *count, *dry_run); });

  auto* ca = app.add_subcommand("ca", "the coordinator's CA");
  ca->require_subcommand(1);
  ca->footer("Example:\n  bailiwick ca list");
  auto* authorities = ca->add_subcommand(
      "list", "the CA that signs, one that is to follow, and those whose certificates are still good");
  authorities->footer("Example:\n  bailiwick ca list");
  OnRun(authorities, globals, [&globals] { return ListAuthorities(globals); });
  auto* rotate =
      ca->add_subcommand("rotate", "replace the CA: both are trusted until the last certificate of the old one ends");
  auto yes = YesFlag(rotate);
  auto try_rotation = DryRunFlag(rotate);
  rotate->footer("Example:\n  bailiwick ca rotate");
  OnRun(rotate, globals, [&globals, yes, try_rotation] { return RotateAuthority(globals, *yes, *try_rotation); });
}

}  // namespace bailiwick::cli
