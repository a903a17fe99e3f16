// bailiwick-coordinator: init, serve, new-audit-log, check-config, doctor. Wiring only.
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/audit/log.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/cli/complaint.h"
#include "common/cli/delivered.h"
#include "common/cli/dry_run.h"
#include "common/config/service_commands.h"
#include "common/config/settings_flags.h"
#include "common/http/server.h"
#include "common/http/status_pages.h"
#include "common/os/deadline.h"
#include "common/os/process.h"
#include "common/os/pulse.h"
#include "common/os/service_manager.h"
#include "common/rpc/credentials.h"
#include "common/rpc/entrance.h"
#include "common/rpc/grpc_metrics.h"
#include "common/rpc/handshake_watch.h"
#include "common/rpc/health.h"
#include "common/rpc/refusals.h"
#include "common/telemetry/log.h"
#include "services/coordinator/api/control_service.h"
#include "services/coordinator/api/coordinator_metrics.h"
#include "services/coordinator/audit/new_log.h"
#include "services/coordinator/ca/keeper.h"
#include "services/coordinator/core/core.h"
#include "services/coordinator/core/keys.h"
#include "services/coordinator/doctor/doctor.h"
#include "services/coordinator/join/enroll_service.h"
#include "services/coordinator/sessions/session.h"
#include "services/coordinator/settings/serve_settings.h"

namespace bailiwick::coordinator {
namespace {

struct Served {
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<rpc::Entrance> entrance;
  void Shutdown(std::chrono::system_clock::time_point deadline) {
    entrance->Stop();
    server->Shutdown(deadline);
  }
};

absl::StatusOr<Served> Listen(const std::string& address, const std::shared_ptr<grpc::ServerCredentials>& credentials,
                              const std::vector<grpc::Service*>& services, rpc::Door door) {
  grpc::ServerBuilder builder;
  rpc::ApplyServerLimits(builder, door);
  rpc::CountCalls(builder);
  auto entrance = rpc::Entrance::Open(address, credentials, &builder);
  if (!entrance.ok()) {
    return absl::Status(entrance.status().code(),
                        absl::StrCat(std::string(entrance.status().message()), "; is the port taken? choose another"));
  }
  for (grpc::Service* service : services) builder.RegisterService(service);
  Served served{builder.BuildAndStart(), *std::move(entrance)};
  if (served.server == nullptr) return absl::InternalError("the server cannot be started");
  served.entrance->Start();
  return served;
}

std::string AuditName(const Keys& keys) { return absl::StrCat(keys.trust_domain, "/coordinator"); }

absl::Status Serve(const ServeSettings& settings) {
  telemetry::Format format;
  telemetry::Level level;
  BW_RETURN_IF_ERROR(telemetry::ParseFormat(settings.log_format, &format));
  BW_RETURN_IF_ERROR(telemetry::ParseLevel(settings.log_level, &level));
  telemetry::InitLogging("coordinator", format, level);
  rpc::RouteGrpcLog();
  BW_RETURN_IF_ERROR(CheckSettings(settings));
  os::HoldStopSignals();  // before there are other threads
  BW_ASSIGN_OR_RETURN(os::ServiceManager manager, os::ServiceManager::FromEnvironment());

  os::Files* files = os::Files::System();
  os::Clock* clock = os::Clock::System();
  BW_RETURN_IF_ERROR(CheckFormat(files, settings.data_dir));
  BW_ASSIGN_OR_RETURN(auto lock, files->Lock(os::JoinPath(settings.data_dir, "lock")));
  if (absl::Status catalog = CheckCatalog(files, settings.data_dir); !catalog.ok()) {
    return absl::Status(catalog.code(), absl::StrCat(std::string(catalog.message()), "; ", kCatalogRemedy));
  }
  BW_ASSIGN_OR_RETURN(Keys keys, LoadKeys(files, settings.data_dir));
  BW_ASSIGN_OR_RETURN(Authority::Options authority_options, AuthorityOptions(settings));
  BW_RETURN_IF_ERROR(FinishNewLog(files, settings.data_dir));
  BW_ASSIGN_OR_RETURN(auto audit,
                      audit::Log::Open(files, clock, os::Random::System(), os::JoinPath(settings.data_dir, "audit")));
  // The timestamp key says what holds at a time, and the signed law names it: so whoever trusts the law can check the
  // log.
  BW_RETURN_IF_ERROR(audit->SignAs(AuditName(keys), *keys.timestamp_key));
  // A disk without space is no reason to let certificates end.
  const RecordIdentity record = [&audit](const std::string& kind, const std::string& subject,
                                         const std::string& detail) {
    return audit->AppendOrOwe(kind, subject, detail);
  };
  authority_options.record = record;
  BW_ASSIGN_OR_RETURN(auto authority,
                      Authority::Open(files, clock, keys.ca_directory, keys.trust_domain, authority_options));
  OwnCertificate own(files, clock, authority.get(), keys.tls_directory, keys.trust_domain, settings.tls_dir, record);
  BW_ASSIGN_OR_RETURN(auto catalog, Catalog::Open(files, os::JoinPath(settings.data_dir, "catalog.db")));
  Core core(catalog.get(), audit.get(), keys.grant_key.get(), keys.timestamp_key.get(), clock, os::Random::System());
  rpc::Refusals refusals(audit.get(), clock);
  const rpc::HandshakeWatch watch(
      [&](const absl::Status& why) { refusals.Record("unknown", why, rpc::Named::kProven); });
  auto gate = std::make_shared<rpc::Gate>(
      rpc::Gate::Options{.trust_domain = keys.trust_domain,
                         .now = [clock] { return clock->Now(); },
                         .refused = [&](const std::string& peer, const absl::Status& why,
                                        rpc::Named named) { refusals.Record(peer, why, named); }});
  core.Prepare({keys.trust_domain, authority.get(), [&own] { return own.Roots(); }, gate});
  BW_RETURN_IF_ERROR(core.Load());
  Keeper keeper(
      authority.get(), &own, [&core] { core.TrustChanged(); }, [&refusals] { refusals.Flush(false); });
  BW_RETURN_IF_ERROR(keeper.Look());

  AuditDesk audit_desk({.files = files,
                        .clock = clock,
                        .directory = os::JoinPath(settings.data_dir, "audit-logs"),
                        .trust_domain = keys.trust_domain,
                        .log = audit.get(),
                        .public_key = keys.timestamp_key->public_key(),
                        .pinned_keys = [&core](const std::string& site) { return core.PinnedKeys(site); },
                        .alarm = [&core](const std::string& kind, const std::string& site,
                                         const std::string& text) { core.AuditAlarm(kind, site, text); }});
  BW_RETURN_IF_ERROR(audit_desk.Load());

  std::atomic<bool> stopping{false};
  SessionService sessions(gate,
                          {.hello = [&](const auto& s, const auto& hello) { return core.OnHello(s, hello); },
                           .message =
                               [&](const auto& s, const auto& message) {
                                 core.OnMessage(s, message);
                                 if (AuditDesk::Handles(message)) audit_desk.OnMessage(s, message);
                               },
                           .closed =
                               [&](const auto& s) {
                                 audit_desk.OnClosed(s);
                                 core.OnClosed(s);
                               },
                           .renew = [&](const auto& peer, const auto& request) { return core.Renew(peer, request); }},
                          clock);
  ControlService control(&core, audit.get(), &audit_desk, gate, clock, &stopping);
  EnrollService enroll(&core, clock);

  const std::string endpoints = os::JoinPath(settings.data_dir, "endpoints.json");
  absl::Status stale = files->Remove(endpoints);
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  BW_ASSIGN_OR_RETURN(auto mutual, rpc::MutualServerCredentials({own.directory()}, gate));
  BW_ASSIGN_OR_RETURN(auto open, rpc::JoinServerCredentials({own.join_directory()}));
  BW_ASSIGN_OR_RETURN(Served join_server, Listen(settings.join_listen, open, {&enroll}, rpc::Door::kOpen));
  BW_ASSIGN_OR_RETURN(Served control_server,
                      Listen(settings.control_listen, mutual, {&sessions, &control}, rpc::Door::kMutual));
  const int control_port = control_server.entrance->port(), join_port = join_server.entrance->port();
  const std::string control_address = JoinHostPort(AdvertisedHost(settings, settings.control_listen), control_port);
  const std::string join_address = JoinHostPort(AdvertisedHost(settings, settings.join_listen), join_port);
  core.Listening(control_address, join_address);
  core.Start();
  keeper.Start();
  audit_desk.Start();
  std::unique_ptr<rpc::HealthServer> health;
  if (!settings.health_listen.empty()) {
    BW_ASSIGN_OR_RETURN(health, rpc::HealthServer::Start(settings.health_listen));
  }
  os::Pulse pulse(clock, [&core] { return core.TurnedSinceAsked(); });
  const MetricSources sources{.core = &core,
                              .audit_desk = &audit_desk,
                              .audit = audit.get(),
                              .authority = authority.get(),
                              .files = files,
                              .clock = clock,
                              .certificate = os::JoinPath(own.directory(), "cert.pem"),
                              .data_directory = settings.data_dir};
  http::StatusSource status{
      .metrics = [&](telemetry::Exposition* out) { CollectCoordinator(sources, out); },
      .alive = [&] { return pulse.Check(); },
      .ready = [&] { return stopping ? absl::UnavailableError("the coordinator is stopping") : pulse.Check(); }};
  BW_ASSIGN_OR_RETURN(auto status_server, http::ServeStatus(settings.metrics_listen, std::move(status)));
  const absl::Status told = os::WriteFileAtomically(
      files, endpoints,
      absl::StrCat("{\"control\":\"", control_address, "\",\"join\":\"", join_address, "\",\"health\":\"",
                   health == nullptr ? "" : health->endpoint(), "\",\"metrics\":\"",
                   status_server == nullptr ? "" : status_server->endpoint(), "\",\"build\":\"",
                   std::string(kBuildVersion), "\"}\n"));
  if (!told.ok()) {
    if (!absl::IsResourceExhausted(told)) return told;
    // Who asks is answered from a full disk as well.
    telemetry::Log(telemetry::Level::kError, "endpoints-not-written", {{"error", told}});
  }
  telemetry::Log(telemetry::Level::kInfo, "serving",
                 {{"control", control_address},
                  {"join", join_address},
                  {"trust_domain", keys.trust_domain},
                  {"build", kBuildVersion}});

  BW_RETURN_IF_ERROR(manager.Ready(absl::StrCat("serving ", keys.trust_domain, " at ", control_address)));

  const int received = os::AwaitStopSignal(manager, [&pulse] { return pulse.TurnedSinceAsked(); });
  telemetry::Log(telemetry::Level::kInfo, "stopping", {{"signal", received}});
  manager.Stopping().IgnoreError();  // it sees the end of the process as well
  if (health != nullptr) health->Draining();
  stopping = true;
  keeper.Stop();
  core.Stop();
  audit_desk.Stop();
  const auto deadline = os::DeadlineIn(absl::Seconds(2));
  control_server.Shutdown(deadline);
  join_server.Shutdown(deadline);
  refusals.Flush(true);
  return absl::OkStatus();
}

absl::Status BeginAuditLog(const std::string& data_dir, const std::string& reason, bool dry_run) {
  os::Files* files = os::Files::System();
  BW_RETURN_IF_ERROR(CheckFormat(files, data_dir));
  BW_ASSIGN_OR_RETURN(auto lock, files->Lock(os::JoinPath(data_dir, "lock")));
  if (dry_run) {
    BW_ASSIGN_OR_RETURN(const audit::Checkpoint ends, LogToEnd(files, data_dir));
    cli::SayTried(std::cout, {absl::StrCat("the audit log ", ends.origin, " of ", ends.size,
                                           " signed records ends, and is kept in ", data_dir),
                              "another begins there, with a record that names it"});
    return absl::OkStatus();
  }
  BW_ASSIGN_OR_RETURN(const Keys keys, LoadKeys(files, data_dir));
  BW_ASSIGN_OR_RETURN(const NewLog begun, BeginNewLog(files, os::Clock::System(), os::Random::System(), data_dir,
                                                      AuditName(keys), *keys.timestamp_key, reason));
  std::cout << "the audit log is " << begun.now.origin << "; the one before, " << begun.before.origin << " of "
            << begun.before.size << " records, is in " << begun.kept
            << "\nfor the new one auditors need a new trust file: bailiwick audit trust\n";
  return absl::OkStatus();
}

int Report(const absl::Status& status) {
  if (!status.ok()) std::cerr << "bailiwick-coordinator: " << std::string(status.message()) << "\n";
  return ExitCode(status);
}

int Main(int argc, char** argv) {
  os::KeepMemoryPrivate();
  os::LookUpProcessors();
  os::SkipLockOrderChecks();
  os::RaiseOpenFiles();
  CLI::App app{"bailiwick-coordinator: keeps the catalog, enforces the signed policy, issues grants",
               "bailiwick-coordinator"};
  app.set_version_flag("--version", std::string("bailiwick-coordinator ") + std::string(kBuildVersion));
  app.require_subcommand(1);
  app.footer(
      "Start with:\n  bailiwick-coordinator init --data-dir /var/lib/bailiwick-coordinator --trust-domain acme.example "
      "--admin-dir "
      "~/.config/bailiwick/admin\n  bailiwick-coordinator serve --data-dir /var/lib/bailiwick-coordinator "
      "--control-listen "
      "0.0.0.0:7440 --join-listen 0.0.0.0:7441");

  std::string data_dir, trust_domain, admin_dir, admin_name = "admin";
  bool if_missing = false, dry_run = false;
  auto* init = app.add_subcommand("init", "make a new coordinator: its CA, keys and the first admin's credentials");
  init->add_option("--data-dir", data_dir, "directory of the coordinator")->required();
  init->add_option("--trust-domain", trust_domain, "name in every identity, e.g. acme.example")->required();
  init->add_option("--admin-dir", admin_dir, "where the admin's cert.pem, key.pem and ca.pem go")->required();
  init->add_option("--admin-name", admin_name, "name of the admin (default: admin)");
  init->add_flag(
      "--if-missing", if_missing,
      "leave a coordinator of this trust domain that is there already as it is; only its admin's credentials are "
      "made anew, when they are gone or half their life is over");
  cli::AddDryRun(init, &dry_run);
  init->footer(
      "Example:\n  bailiwick-coordinator init --data-dir /var/lib/bailiwick-coordinator --trust-domain acme.example "
      "--admin-dir "
      "~/.config/bailiwick/admin");

  ServeSettings settings;
  config::Settings table = SettingsTable(&settings);
  std::string config_file;
  auto* serve = app.add_subcommand("serve", "serve agents and admins until SIGTERM");
  config::AddFlags(serve, &table, &config_file);
  serve->footer(
      "Example:\n  bailiwick-coordinator serve --data-dir /var/lib/bailiwick-coordinator --control-listen 0.0.0.0:7440 "
      "--join-listen 0.0.0.0:7441 --advertise coordinator.acme.example");

  ServeSettings examined;
  config::Settings examined_table = SettingsTable(&examined);
  std::string examined_file, doctor_output = "table";
  auto* doctor = app.add_subcommand(
      "doctor", "looks for what is wrong with this machine, the coordinator's directory and its ports");
  config::AddFlags(doctor, &examined_table, &examined_file);
  doctor->add_option("-o,--output", doctor_output, "table, json, yaml, or name: only of what there is to look at")
      ->check(CLI::IsMember({"table", "json", "yaml", "name"}));
  doctor->footer(
      "Exit code 0: nothing fails; 6: all that fails is out of reach from here; 1: something else fails.\n"
      "Example:\n  bailiwick-coordinator doctor");

  std::string reason;
  auto* new_log = app.add_subcommand(
      "new-audit-log", "end the coordinator's audit log, which witnesses dispute, and begin another that names it");
  new_log->add_option("--data-dir", data_dir, "directory of the coordinator, which does not serve meanwhile")
      ->required();
  new_log->add_option("--reason", reason, "why, for the auditor: it becomes a record of the new log")->required();
  cli::AddDryRun(new_log, &dry_run);
  new_log->footer(
      "The old log stays where it is told, whole: keep it. Agents record the change in their own logs.\n"
      "Example:\n  bailiwick-coordinator new-audit-log --data-dir /var/lib/bailiwick-coordinator --reason 'put back "
      "the backup of May 3'");

  config::ServiceCommands shared(&app, &table, kConfigFile, [&settings] { return CheckSettings(settings); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    return cli::Complain(app, e, std::cerr);
  }
  if (*init) {
    if (if_missing) {
      absl::StatusOr<bool> there = HoldsCoordinator(os::Files::System(), data_dir, trust_domain);
      if (!there.ok()) return Report(there.status());
      if (*there && dry_run) {
        cli::SayTried(std::cout,
                      {absl::StrCat("a coordinator of ", trust_domain, " is in ", data_dir, " already, and stays"),
                       absl::StrCat("admin credentials are in ", admin_dir, ", new ones if those are gone or old")});
        return 0;
      }
      if (*there) {
        std::cout << "a coordinator of " << trust_domain << " is in " << data_dir << " already\n";
        return Report(KeepAdmin(os::Files::System(), os::Clock::System(), data_dir, admin_dir, admin_name));
      }
    }
    if (dry_run) {
      absl::Status may = CheckInit(os::Files::System(), data_dir, trust_domain, admin_dir, admin_name);
      if (!may.ok()) return Report(may);
      cli::SayTried(std::cout,
                    {absl::StrCat("a coordinator of ", trust_domain, " with a CA of its own is in ", data_dir),
                     absl::StrCat("credentials of admin ", admin_name, " are in ", admin_dir)});
      return 0;
    }
    absl::Status made =
        InitKeys(os::Files::System(), os::Clock::System(), data_dir, trust_domain, admin_dir, admin_name);
    if (made.ok()) {
      std::cout << "a coordinator of " << trust_domain << " is in " << data_dir << "; admin credentials are in "
                << admin_dir << "\n";
    }
    return Report(made);
  }
  if (*new_log) return Report(BeginAuditLog(data_dir, reason, dry_run));
  if (auto done = shared.Run(); done.has_value()) return Report(*done);
  if (*doctor) {
    if (examined_file.empty() && examined.data_dir.empty()) examined_file = kConfigFile;
    absl::Status settled = examined_table.Settle(os::Files::System(), examined_file);
    if (!settled.ok()) return Report(settled);
    const doctor::Report found = Examine(examined);
    found.Print(output::ParseFormat(doctor_output));
    return found.ExitCode();
  }
  absl::Status settled = table.Settle(os::Files::System(), config_file);
  return Report(settled.ok() ? Serve(settings) : settled);
}

}  // namespace
}  // namespace bailiwick::coordinator

int main(int argc, char** argv) {
  return bailiwick::cli::Delivered(bailiwick::coordinator::Main(argc, argv), "bailiwick-coordinator");
}
