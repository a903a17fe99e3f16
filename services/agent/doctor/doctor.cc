#include "services/agent/doctor/doctor.h"

#include <grpcpp/grpcpp.h>

#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bailiwick/agent/v1/session.grpc.pb.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/doctor/machine.h"
#include "common/doctor/peers.h"
#include "common/identity/certificates.h"
#include "common/identity/spiffe.h"
#include "common/os/clock.h"
#include "common/os/deadline.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"
#include "services/agent/keys/key_commands.h"
#include "services/agent/law/trusted_clock.h"
#include "services/agent/state/agent_state.h"
#include "services/agent/work/local_status.h"

namespace bailiwick::agent {
namespace {

static_assert(doctor::kMaxSkew == TrustedClock::kMaxSkew);

constexpr absl::Duration kCallTimeout = absl::Seconds(10);

std::string In(const RunSettings& settings, const char* name) { return os::JoinPath(settings.data_dir, name); }

void CheckKeys(doctor::Report& report, const RunSettings& settings) {
  doctor::CheckKeyFile(report, "enrolment", In(settings, "identity/enrolment.pem"));
  const std::string keys = KeyDirectory(settings.data_dir, settings.key_dir);
  for (const std::string& name : os::Files::System()->List(keys).value_or(std::vector<std::string>())) {
    if (absl::EndsWith(name, ".key")) doctor::CheckKeyFile(report, "storage", os::JoinPath(keys, name));
  }
  const auto uses = StorageKeyUses(os::Files::System(), settings.data_dir);
  if (!uses.ok()) return report.Fail("key storage", std::string(uses.status().message()), "run it as the agent's user");
  for (const auto& [id, datasets] : *uses) {
    if (os::Files::System()->Exists(os::JoinPath(keys, id + ".key")).value_or(false)) continue;
    report.Fail("key storage",
                absl::StrCat("key ", id.substr(0, 16), ", without which ", datasets,
                             datasets == 1 ? " dataset" : " datasets", " cannot be read, is not in ", keys),
                "bring it back from its backup: bailiwick-agent key import FILE");
  }
}

// The name in the certificate; nothing: there is none to be read, which was said.
std::optional<identity::SpiffeId> CheckIdentity(doctor::Report& report, const RunSettings& settings) {
  const std::string live = In(settings, "identity/live");
  auto chain = os::ReadFile(os::Files::System(), os::JoinPath(live, "cert.pem"), 1 << 20);
  if (!chain.ok()) {
    report.Fail("certificate",
                absl::IsNotFound(chain.status()) ? absl::StrCat("the agent in ", settings.data_dir, " has not joined")
                                                 : std::string(chain.status().message()),
                absl::StrCat("bailiwick-agent join --data-dir ", settings.data_dir,
                             " --join-file FILE, with what bailiwick site join-token SITE printed"));
    return std::nullopt;
  }
  doctor::CheckCredentials(
      report,
      {.check = "certificate",
       .directory = live,
       .expected = "",
       .renewed = true,
       .renew = settings.tls_dir.empty()
                    ? absl::StrCat("a running agent that reaches its coordinator renews it, also one that expired: "
                                   "bailiwick-agent certificate --data-dir ",
                                   settings.data_dir, " --renew")
                    : absl::StrCat("who renews ", settings.tls_dir, " has to do so")},
      os::Clock::System()->Now());
  auto info = identity::InspectCertificate(*chain);
  if (!info.ok()) return std::nullopt;
  auto id = identity::ParseSpiffeId(info->uri);
  return id.ok() ? std::optional<identity::SpiffeId>(*id) : std::nullopt;
}

void CheckRunning(doctor::Report& report, const RunSettings& settings, const absl::StatusOr<v1::LocalStatus>& status,
                  bool runs) {
  if (!runs) {
    return report.Warn("agent", absl::StrCat("none runs in ", settings.data_dir),
                       "systemctl start bailiwick-agent, or: bailiwick-agent run --data-dir " + settings.data_dir);
  }
  if (!status.ok()) {
    return report.Warn("agent", std::string(status.status().message()), "give it a moment, then look into its log");
  }
  const absl::Duration age = os::Clock::System()->Now() - rpc::FromProto(status->written());
  if (age > kSilentAfter) {
    return report.Fail("agent", absl::StrCat("it runs and has said nothing for ", FormatAge(age)),
                       "look into its log; a disk that is full or does not answer holds it up");
  }
  if (!status->connected()) {
    return report.OutOfReach("agent", absl::StrCat("it runs, without its coordinator ", status->coordinator()),
                             "mend what fails below; its log says what it tried");
  }
  if (!status->stale().empty()) {
    return report.Fail("agent", absl::StrCat("it is connected, and nothing may flow: ", status->stale()),
                       "set the clock right, or have the law signed anew: bailiwick policy refresh");
  }
  report.Ok("agent", absl::StrCat("site ", status->site(), ", connected, policy revision ", status->policy_revision()));
}

void Greet(doctor::Report& report, const RunSettings& settings, const rpc::Proxy& proxy, const std::string& address,
           const std::string& domain) {
  auto credentials =
      rpc::MutualChannelCredentials({In(settings, "identity/live")}, absl::StrCat("spiffe://", domain, "/coordinator"));
  if (!credentials.ok()) return doctor::JudgeCall(report, "coordinator", credentials.status(), "");
  auto channel = rpc::Dial(address, *credentials, proxy);
  if (!channel.ok()) return doctor::JudgeCall(report, "coordinator", channel.status(), "");
  auto stub = v1::AgentSession::NewStub(*channel);
  grpc::ClientContext context;
  context.set_deadline(os::DeadlineIn(kCallTimeout));
  v1::GreetResponse greeting;
  const os::Clock* clock = os::Clock::System();
  const absl::Duration before = clock->BootTime();
  const absl::Status called = rpc::FromGrpc(stub->Greet(&context, {}, &greeting));
  const absl::Duration took = clock->BootTime() - before;
  doctor::JudgeCall(report, "coordinator", called, absl::StrCat("the coordinator of ", domain, " takes this identity"));
  if (!called.ok()) return;
  doctor::JudgeSkew(report, "the coordinator", clock->Now(), rpc::FromProto(greeting.now()), took);
  doctor::JudgeVersion(report, "coordinator", {greeting.build(), greeting.protocol_min(), greeting.protocol_max()});
}

}  // namespace

doctor::Report Examine(const RunSettings& settings) {
  doctor::Report report;
  os::Files* files = os::Files::System();
  const auto pid = os::LockHolder(In(settings, "lock"), "bailiwick-agent");
  doctor::CheckOwners(
      report, {settings.data_dir, In(settings, "agent.db"), In(settings, "audit"), In(settings, "datasets"),
               In(settings, "identity"), In(settings, "index"), In(settings, "status.json"), In(settings, "agent.sock"),
               KeyDirectory(settings.data_dir, settings.key_dir)});
  doctor::CheckDisk(report, settings.data_dir, "", DiskReserve(settings).value_or(0));
  if (!settings.replica_path.empty()) doctor::CheckDisk(report, settings.replica_path, " of replicas");
  doctor::CheckLimits(report, pid.value_or(0));
  doctor::CheckWatches(report);
  doctor::CheckClockSource(report);
  const auto id = CheckIdentity(report, settings);
  if (id.has_value()) CheckKeys(report, settings);
  const auto status = ReadLocalStatus(files, settings.data_dir);
  CheckRunning(report, settings, status, pid.has_value());
  if (pid.has_value() && status.ok() && !status->replicas_problem().empty()) {
    report.Fail("replicas", status->replicas_problem(), "mount the volume; nothing is laid out until it is there");
  }
  if (pid.has_value() && status.ok() && !status->endpoint().empty()) {
    doctor::CheckReach(report, "this agent", status->endpoint());
  }
  std::string coordinator = settings.coordinator;
  if (coordinator.empty() && status.ok()) coordinator = status->coordinator();
  const auto proxy = rpc::Proxy::Parse(files, settings.way_out);
  if (!proxy.ok()) {
    report.Fail("proxy", std::string(proxy.status().message()), "correct proxy, proxyCredentials or noProxy");
  } else if (coordinator.empty()) {
    report.Warn("dns coordinator", "nothing here says where it is until the agent has run once",
                "give it: --coordinator HOST:PORT");
  } else if (doctor::CheckReach(report, "coordinator", proxy->FirstHop(coordinator)) && id.has_value()) {
    Greet(report, settings, *proxy, coordinator, id->trust_domain);
  }
  return report;
}

}  // namespace bailiwick::agent
