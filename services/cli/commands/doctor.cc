// doctor: whether this context, this machine and the ways to coordinator and agents are as they must be.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/utc_text.h"
#include "common/doctor/machine.h"
#include "common/doctor/peers.h"
#include "common/os/deadline.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"
#include "services/cli/commands/named.h"
#include "services/cli/core/audit_log.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr size_t kMaxAgents = 20;  // that nobody named: each may take seconds
constexpr uint64_t kRoomForLogin = 4 << 20;
// So much must be left of a law's maxAge, the smaller of both; the alert BailiwickPolicySignatureOld goes by the same.
constexpr absl::Duration kLawLeft = absl::Hours(24 * 30);
constexpr double kLawLeftPart = 0.1;

constexpr const char* kLogIn =
    "have a policy-admin make a login string (bailiwick login-token NAME) and run: bailiwick login --replace";

// Where the context lies. It may be one that is only read, as in a container.
void CheckPlace(doctor::Report& report, const Context& context) {
  std::vector<std::string> paths = {os::JoinPath(context.directory, "context.yaml")};
  if (absl::StartsWith(context.credentials, context.directory + "/")) {  // else somebody else keeps them
    for (const char* name : {"", "/cert.pem", "/ca.pem"}) paths.push_back(context.credentials + name);
  }
  doctor::CheckOwners(report, paths);
  const auto space = os::SpaceOf(context.directory);
  if (!space.ok()) return report.Warn("disk", std::string(space.status().message()), "see whether the disk is there");
  const std::string found = absl::StrCat(FormatBytes(space->free_bytes), " of ", FormatBytes(space->total_bytes),
                                         " free under ", context.directory);
  if (space->free_bytes >= kRoomForLogin) return report.Ok("disk", found);
  report.Warn("disk", found, "free some: a new login could not be stored");
}

void CheckIdentity(doctor::Report& report, const Context& context) {
  doctor::CheckCredentials(
      report,
      {.check = "certificate", .directory = context.credentials, .expected = "", .renewed = false, .renew = kLogIn},
      os::Clock::System()->Now());
  for (const std::string& key : context.policy_keys) doctor::CheckKeyFile(report, "policy", key);
}

// A law that is verified: whether it is soon to end.
void CheckLaw(doctor::Report& report, const config::Bundle& bundle, absl::Time now) {
  constexpr const char* kSignAnew =
      "have it signed anew, by as many as the policy root asks for: bailiwick policy refresh";
  const absl::Time expires = bundle.world.expires;
  std::string found = absl::StrCat("revision ", bundle.world.revision, ", signed by the root that this context pins");
  if (expires == absl::InfiniteFuture()) return report.Ok("law", found);
  const std::string until = UtcText(expires);
  if (now >= expires) {
    return report.Fail(
        "law", absl::StrCat("revision ", bundle.world.revision, " came to its end at ", until, ": nothing flows"),
        kSignAnew);
  }
  absl::StrAppend(&found, ", good until ", until);
  const absl::Duration life = expires - rpc::FromProto(bundle.message.issued_at());
  if (expires - now < std::min(kLawLeft, life * kLawLeftPart)) return report.Warn("law", found, kSignAnew);
  report.Ok("law", found);
}

// What the coordinator says of itself; false: nothing.
bool CheckCoordinator(doctor::Report& report, Admin& admin) {
  if (!doctor::CheckReach(report, "coordinator", admin.proxy().FirstHop(admin.context().coordinator))) return false;
  control::v1::GetInfoResponse info;
  const os::Clock* clock = os::Clock::System();
  const absl::Duration before = clock->BootTime();
  const absl::Status called = admin.Check(admin.control().GetInfo(Admin::Call(kCallTimeout).get(), {}, &info));
  const absl::Duration took = clock->BootTime() - before;
  doctor::JudgeCall(report, "coordinator", called,
                    absl::StrCat("the coordinator of ", admin.context().trust_domain, " takes this identity"));
  if (!called.ok()) return false;
  if (info.has_now()) doctor::JudgeSkew(report, "the coordinator", clock->Now(), rpc::FromProto(info.now()), took);
  doctor::JudgeVersion(report, "coordinator", {info.build(), info.protocol_min(), info.protocol_max()});
  auto bundle = admin.ReadBundle();
  if (!bundle.ok()) {
    report.Fail(
        "law", std::string(bundle.status().message()),
        "this context pins another policy root: compare policyRootSha256 of its context.yaml with your colleagues'");
  } else if (bundle->world.revision == 0) {
    report.Warn("law", "none yet, so nothing may flow", "bailiwick apply -f FILE");
  } else {
    CheckLaw(report, *bundle, clock->Now());
  }
  return true;
}

// Logs that have two histories, by what their witnesses say. Who may not see the logs does not ask: each refusal would
// be a record.
void CheckAuditLogs(doctor::Report& report, Admin& admin) {
  control::v1::WhoAmIResponse me;
  absl::Status called = admin.Check(admin.control().WhoAmI(Admin::Call(kCallTimeout).get(), {}, &me));
  const bool may = !me.bound() || std::any_of(me.roles().begin(), me.roles().end(), [](int role) {
    return role == resource::v1::ROLE_AUDITOR || role == resource::v1::ROLE_POLICY_ADMIN;
  });
  if (called.ok() && !may) {
    return report.Ok("audit logs", "not looked at: that takes the role auditor or policy-admin");
  }
  control::v1::ListAuditLogsResponse response;
  if (called.ok()) {
    called = admin.Check(admin.control().ListAuditLogs(Admin::Call(kCallTimeout).get(), {}, &response));
  }
  if (!called.ok()) return report.Warn("audit logs", std::string(called.message()), "try again");
  size_t disputed = 0;
  for (const auto& log : response.logs()) {
    if (log.problem().empty()) continue;
    ++disputed;
    const bool own = log.site().empty();
    report.Fail(
        absl::StrCat("audit log ", own ? kCoordinatorLog : log.site()), log.problem(),
        own ? "was an older copy of its data put back? On its machine: bailiwick-coordinator new-audit-log; if "
              "not, somebody rewrites it"
            : absl::StrCat("was an older copy of its data put back? Let it join anew; if not, somebody rewrites "
                           "it: bailiwick agent revoke ",
                           log.site()));
  }
  if (disputed == 0) report.Ok("audit logs", absl::StrCat(response.logs_size(), ", nobody disputes one"));
}

void CheckState(doctor::Report& report, const SiteStates& states, const control::v1::SiteStatus& site) {
  const std::string check = absl::StrCat("agent ", site.name());
  if (states.Revoked(site.name())) {
    const auto& revoked = states.agents.at(site.name()).revoked();
    report.Warn(check,
                absl::StrCat("revoked by ", revoked.by(), " at ", TimeText(revoked.at()), ": ", revoked.reason()),
                absl::StrCat("to have one there again, let it join anew: bailiwick site join-token ", site.name()));
  } else if (!site.connected()) {
    report.Warn(check, absl::StrCat("offline since ", TimeText(site.last_seen())),
                "on its machine: bailiwick-agent doctor --data-dir DIR");
  } else if (!site.approved()) {
    report.Warn(check, "the law does not pin its key, so nothing flows there",
                absl::StrCat("bailiwick site approve ", site.name()));
  } else if (!site.policy_stale().empty() || !site.policy_error().empty()) {
    report.Fail(check, absl::StrCat("nothing flows: ", site.policy_stale(), site.policy_error()),
                "on its machine: bailiwick-agent doctor --data-dir DIR");
  } else {
    report.Ok(check, absl::StrCat("connected, policy revision ", site.policy_revision()));
  }
}

// Commits, comparisons and checks of content go to the agent itself; all else goes through the coordinator.
void CheckWay(doctor::Report& report, Admin& admin, const control::v1::SiteStatus& site) {
  const std::string who = absl::StrCat("agent ", site.name());
  if (!doctor::CheckReach(report, who, admin.proxy().FirstHop(site.admin_endpoint()), doctor::Verdict::kWarn)) return;
  auto credentials = rpc::MutualChannelCredentials({admin.context().credentials}, site.agent());
  if (!credentials.ok()) return;  // said with the certificate
  auto channel = rpc::Dial(site.admin_endpoint(), *credentials, admin.proxy());
  const bool met = channel.ok() && (*channel)->WaitForConnected(os::DeadlineIn(kCallTimeout));
  if (met) {
    report.Ok(absl::StrCat("tls ", who), "it is the one that joined");
  } else {
    report.OutOfReach(absl::StrCat("tls ", who), absl::StrCat("who answers there is not ", site.agent()),
                      "correct what the agent advertises, or what stands at that address");
  }
}

absl::Status CheckAgents(doctor::Report& report, Admin& admin, const std::vector<std::string>& named) {
  BW_ASSIGN_OR_RETURN(const SiteStates states, ReadSiteStates(admin));
  const auto& sites = states.sites;
  for (const std::string& name : named) {
    if (sites.count(name) == 0) return NoSite(sites, name);
  }
  size_t looked_at = 0, left = 0;
  for (const auto& [name, site] : sites) {
    const bool wanted = std::find(named.begin(), named.end(), name) != named.end();
    if (site.agent().empty() ? !wanted : (!named.empty() && !wanted)) continue;
    if (named.empty() && looked_at == kMaxAgents) {
      ++left;
      continue;
    }
    ++looked_at;
    if (site.agent().empty()) {
      report.Warn(absl::StrCat("agent ", name), "none has joined", absl::StrCat("bailiwick site join-token ", name));
      continue;
    }
    CheckState(report, states, site);
    if (!site.build().empty()) doctor::JudgeVersion(report, absl::StrCat("agent ", name), {site.build()});
    if (site.connected() && !site.admin_endpoint().empty()) CheckWay(report, admin, site);
  }
  if (left != 0) report.Ok("agents", absl::StrCat(left, " more were not looked at; name them with --site"));
  return absl::OkStatus();
}

absl::StatusOr<int> Doctor(const Globals& globals, const std::vector<std::string>& sites) {
  doctor::Report report;
  doctor::CheckClockSource(report);
  doctor::CheckLimits(report, 0);
  auto context = LoadContext(globals.context);
  if (!context.ok()) {
    report.Fail("context", std::string(context.status().message()), kLogIn);
  } else {
    report.Ok("context", context->directory);
    CheckPlace(report, *context);
    CheckIdentity(report, *context);
    auto admin = Admin::Connect(*context);
    if (!admin.ok()) {
      doctor::CheckReach(report, "coordinator", context->coordinator);
    } else if (CheckCoordinator(report, **admin)) {
      CheckAuditLogs(report, **admin);
      BW_RETURN_IF_ERROR(CheckAgents(report, **admin, sites));
    }
  }
  report.Print(globals.format());
  return report.ExitCode();
}

}  // namespace

void RegisterDoctor(CLI::App& app, Globals& globals) {
  auto* c =
      app.add_subcommand("doctor", "look for what is wrong: clocks, names, ports, certificates, keys, versions, law");
  auto sites = std::make_shared<std::vector<std::string>>();
  c->add_option("--site", *sites, "agents to look at (default: the first 20)")->type_name("SITE");
  c->footer(
      "Works while the coordinator is down; on other machines: bailiwick-agent doctor, bailiwick-coordinator doctor.\n"
      "Exit code 0: nothing fails; 6: all that fails is out of reach from here; 1: something else fails.\n"
      "Example:\n  bailiwick doctor\n  bailiwick doctor --site core -o json");
  OnRunCode(c, globals, [&globals, sites] { return Doctor(globals, *sites); });
}

}  // namespace bailiwick::cli
