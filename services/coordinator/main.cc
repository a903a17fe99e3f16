// bailiwick-coordinator: init, serve. Wiring only.
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/audit/log.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/base/version.h"
#include "common/os/deadline.h"
#include "common/rpc/credentials.h"
#include "common/rpc/refusals.h"
#include "common/telemetry/log.h"
#include "services/coordinator/api/control_service.h"
#include "services/coordinator/ca/keeper.h"
#include "services/coordinator/core/core.h"
#include "services/coordinator/core/keys.h"
#include "services/coordinator/join/enroll_service.h"
#include "services/coordinator/sessions/session.h"

namespace bailiwick::coordinator {
namespace {

struct ServeFlags {
  std::string data_dir;
  std::string control = "127.0.0.1:7440";
  std::string join = "127.0.0.1:7441";
  std::string health;
  std::string advertise;
  std::string log_format = "text";
  std::string log_level = "info";
  std::string tls_dir;
  std::string certificate_life = "24h";
  std::string ca_rotate_every;
};

absl::StatusOr<Authority::Options> AuthorityOptions(const ServeFlags& flags) {
  Authority::Options options;
  BW_ASSIGN_OR_RETURN(options.leaf_life, ParseDuration(flags.certificate_life));
  if (options.leaf_life < absl::Seconds(5) || options.leaf_life > identity::kAgentCertificateLife) {
    return absl::InvalidArgumentError("--certificate-life is from 5s to 24h");
  }
  if (!flags.ca_rotate_every.empty()) {
    BW_ASSIGN_OR_RETURN(options.rotate_every, ParseDuration(flags.ca_rotate_every));
    if (options.rotate_every < options.leaf_life || options.rotate_every > Authority::kLife / 2) {
      return absl::InvalidArgumentError("--ca-rotate-every is from the life of a certificate to five years");
    }
  }
  return options;
}

std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

// Agents dial what the coordinator says of itself: an address that means "any" says nothing.
absl::Status CheckAddresses(const ServeFlags& flags) {
  for (const std::string& address : {flags.control, flags.join, flags.health}) {
    if (!address.empty() && (address.rfind(':') == std::string::npos || address.rfind(':') == 0)) {
      return absl::InvalidArgumentError(absl::StrCat(address, " is not HOST:PORT"));
    }
  }
  for (const std::string& address : {flags.control, flags.join}) {
    const std::string host = HostOf(address);
    if (flags.advertise.empty() && (host == "0.0.0.0" || host == "[::]")) {
      return absl::InvalidArgumentError(
          absl::StrCat("listening on ", address, " needs --advertise HOST: the name that agents dial"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<grpc::Server>> Listen(const std::string& address,
                                                     const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                                     const std::vector<grpc::Service*>& services, bool health,
                                                     int* port) {
  grpc::ServerBuilder builder;
  rpc::ApplyServerLimits(builder);
  grpc::EnableDefaultHealthCheckService(health);
  builder.AddListeningPort(address, credentials, port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  // A server with nothing but the health service has nobody to poll for it; this one answers UNIMPLEMENTED to all else.
  static grpc::CallbackGenericService nothing_else;
  if (health) builder.RegisterCallbackGenericService(&nothing_else);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  grpc::EnableDefaultHealthCheckService(false);
  if (server == nullptr || *port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address, "; is the port taken? choose another"));
  }
  return server;
}

absl::Status Serve(const ServeFlags& flags) {
  telemetry::Format format;
  telemetry::Level level;
  BW_RETURN_IF_ERROR(telemetry::ParseFormat(flags.log_format, &format));
  BW_RETURN_IF_ERROR(telemetry::ParseLevel(flags.log_level, &level));
  telemetry::InitLogging("coordinator", format, level);
  rpc::RouteGrpcLog();
  BW_RETURN_IF_ERROR(CheckAddresses(flags));
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  os::Files* files = os::Files::System();
  os::Clock* clock = os::Clock::System();
  BW_RETURN_IF_ERROR(CheckFormat(files, flags.data_dir));
  BW_ASSIGN_OR_RETURN(auto lock, files->Lock(os::JoinPath(flags.data_dir, "lock")));
  BW_ASSIGN_OR_RETURN(Keys keys, LoadKeys(files, flags.data_dir));
  BW_ASSIGN_OR_RETURN(Authority::Options authority_options, AuthorityOptions(flags));
  BW_ASSIGN_OR_RETURN(auto authority,
                      Authority::Open(files, clock, keys.ca_directory, keys.trust_domain, authority_options));
  OwnCertificate own(files, clock, authority.get(), keys.tls_directory, keys.trust_domain, flags.tls_dir);
  BW_ASSIGN_OR_RETURN(auto catalog, Catalog::Open(files, os::JoinPath(flags.data_dir, "catalog.db")));
  BW_ASSIGN_OR_RETURN(auto audit,
                      audit::Log::Open(files, clock, os::Random::System(), os::JoinPath(flags.data_dir, "audit")));
  // The timestamp key says what holds at a time, and the signed law names it: so whoever trusts the law can check the log.
  BW_RETURN_IF_ERROR(audit->SignAs(absl::StrCat(keys.trust_domain, "/coordinator"), *keys.timestamp_key));
  Core core(catalog.get(), audit.get(), keys.grant_key.get(), keys.timestamp_key.get(), clock, os::Random::System());
  rpc::Refusals refusals(audit.get(), clock);
  auto gate = std::make_shared<rpc::Gate>(rpc::Gate::Options{
      .trust_domain = keys.trust_domain,
      .now = [clock] { return clock->Now(); },
      .refused = [&](const std::string& peer, const absl::Status& why) { refusals.Record(peer, why); }});
  core.Prepare({keys.trust_domain, authority.get(), [&own] { return own.Roots(); }, gate});
  BW_RETURN_IF_ERROR(core.Load());
  Keeper keeper(authority.get(), &own, [&core] { core.TrustChanged(); }, [&refusals] { refusals.Flush(false); });
  BW_RETURN_IF_ERROR(keeper.Look());

  std::atomic<bool> stopping{false};
  SessionService sessions(gate,
                          {.hello = [&](const auto& s, const auto& hello) { return core.OnHello(s, hello); },
                           .message = [&](const auto& s, const auto& message) { core.OnMessage(s, message); },
                           .closed = [&](const auto& s) { core.OnClosed(s); },
                           .renew = [&](const auto& peer, const auto& request) { return core.Renew(peer, request); }});
  ControlService control(&core, gate, clock, &stopping);
  EnrollService enroll(&core, clock);

  const std::string endpoints = os::JoinPath(flags.data_dir, "endpoints.json");
  absl::Status stale = files->Remove(endpoints);
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  BW_ASSIGN_OR_RETURN(auto mutual, rpc::MutualServerCredentials({own.directory()}, gate));
  BW_ASSIGN_OR_RETURN(auto open, rpc::JoinServerCredentials({own.directory()}));
  int control_port = 0, join_port = 0, health_port = 0;
  std::unique_ptr<grpc::Server> health_server;
  if (!flags.health.empty()) {
    BW_ASSIGN_OR_RETURN(health_server, Listen(flags.health, grpc::InsecureServerCredentials(), {}, true, &health_port));
  }
  BW_ASSIGN_OR_RETURN(auto join_server, Listen(flags.join, open, {&enroll}, false, &join_port));
  BW_ASSIGN_OR_RETURN(auto control_server, Listen(flags.control, mutual, {&sessions, &control}, false, &control_port));
  const std::string host = flags.advertise.empty() ? HostOf(flags.control) : flags.advertise;
  const std::string join_host = flags.advertise.empty() ? HostOf(flags.join) : flags.advertise;
  core.Listening(absl::StrCat(host, ":", control_port), absl::StrCat(join_host, ":", join_port));
  core.Start();
  keeper.Start();
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(
      files, endpoints,
      absl::StrCat("{\"control\":\"", host, ":", control_port, "\",\"join\":\"", join_host, ":", join_port,
                   "\",\"health\":\"", health_port == 0 ? "" : absl::StrCat(HostOf(flags.health), ":", health_port),
                   "\"}\n")));
  telemetry::Log(telemetry::Level::kInfo, "serving",
                 {{"control", absl::StrCat(host, ":", control_port)},
                  {"join", absl::StrCat(join_host, ":", join_port)},
                  {"trust_domain", keys.trust_domain},
                  {"build", kBuildVersion}});

  int received = 0;
  sigwait(&signals, &received);
  telemetry::Log(telemetry::Level::kInfo, "stopping", {{"signal", received}});
  stopping = true;
  keeper.Stop();
  core.Stop();
  const auto deadline = os::DeadlineIn(absl::Seconds(2));
  control_server->Shutdown(deadline);
  join_server->Shutdown(deadline);
  if (health_server != nullptr) health_server->Shutdown(deadline);
  refusals.Flush(true);
  return absl::OkStatus();
}

int Report(const absl::Status& status) {
  if (!status.ok()) std::cerr << "bailiwick-coordinator: " << std::string(status.message()) << "\n";
  return ExitCode(status);
}

int Main(int argc, char** argv) {
  CLI::App app{"bailiwick-coordinator: keeps the catalog, enforces the signed policy, issues grants",
               "bailiwick-coordinator"};
  app.set_version_flag("--version", std::string("bailiwick-coordinator ") + std::string(kBuildVersion));
  app.require_subcommand(1);

  std::string data_dir, trust_domain, admin_dir, admin_name = "admin";
  auto* init = app.add_subcommand("init", "make a new coordinator: its CA, keys and the first admin's credentials");
  init->add_option("--data-dir", data_dir, "directory of the coordinator")->required();
  init->add_option("--trust-domain", trust_domain, "name in every identity, e.g. acme.example")->required();
  init->add_option("--admin-dir", admin_dir, "where the admin's cert.pem, key.pem and ca.pem go")->required();
  init->add_option("--admin-name", admin_name, "name of the admin (default: admin)");
  init->footer(
      "Example:\n  bailiwick-coordinator init --data-dir /var/lib/bailiwick --trust-domain acme.example --admin-dir "
      "~/.config/bailiwick/admin");

  ServeFlags flags;
  auto* serve = app.add_subcommand("serve", "serve agents and admins until SIGTERM");
  serve->add_option("--data-dir", flags.data_dir, "directory of the coordinator")->required();
  serve->add_option("--control-listen", flags.control,
                    "HOST:PORT for agents and admins, mTLS (default 127.0.0.1:7440)");
  serve->add_option("--join-listen", flags.join, "HOST:PORT for joining (default 127.0.0.1:7441)");
  serve->add_option("--health-listen", flags.health, "HOST:PORT for plaintext gRPC health checks only (default: none)");
  serve->add_option("--advertise", flags.advertise, "host that agents dial when it differs from the listen addresses");
  serve->add_option("--certificate-life", flags.certificate_life,
                    "how long certificates of agents and of the coordinator live, 5s to 24h (default 24h)");
  serve->add_option("--ca-rotate-every", flags.ca_rotate_every, "how long a CA signs before the next one does (default 5 years)");
  serve->add_option("--tls-dir", flags.tls_dir,
                    "the coordinator's own certificate is renewed there by somebody else (cert-manager, SPIRE)");
  serve->add_option("--log-format", flags.log_format, "text or json")->check(CLI::IsMember({"text", "json"}));
  serve->add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  serve->footer(
      "Example:\n  bailiwick-coordinator serve --data-dir /var/lib/bailiwick --control-listen 0.0.0.0:7440 "
      "--join-listen 0.0.0.0:7441 --advertise coordinator.acme.example");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::cerr << "bailiwick-coordinator: " << e.what() << "; see bailiwick-coordinator --help\n";
    return 2;
  }
  if (*init) {
    absl::Status made =
        InitKeys(os::Files::System(), os::Clock::System(), data_dir, trust_domain, admin_dir, admin_name);
    if (made.ok()) {
      std::cout << "a coordinator of " << trust_domain << " is in " << data_dir << "; admin credentials are in "
                << admin_dir << "\n";
    }
    return Report(made);
  }
  return Report(Serve(flags));
}

}  // namespace
}  // namespace bailiwick::coordinator

int main(int argc, char** argv) { return bailiwick::coordinator::Main(argc, argv); }
