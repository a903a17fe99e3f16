// bailiwick-agent: join, run, check-config, doctor, exec, key. Wiring only.
#include <grpcpp/grpcpp.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <iostream>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/units.h"
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
#include "common/rpc/invitation.h"
#include "common/rpc/refusals.h"
#include "common/telemetry/log.h"
#include "services/agent/api/admin_service.h"
#include "services/agent/api/agent_metrics.h"
#include "services/agent/api/local_service.h"
#include "services/agent/doctor/doctor.h"
#include "services/agent/keys/key_commands.h"
#include "services/agent/settings/run_settings.h"
#include "services/agent/state/agent_state.h"
#include "services/agent/state/identity.h"
#include "services/agent/transfer/frame.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

struct JoinFlags {
  std::string join, join_file, coordinator, token, token_file, ca_sha256, policy_root_sha256;
  bool if_needed = false, dry_run = false;
};

// What a list of processes must not show: from a file, or with "-" from standard input.
absl::StatusOr<std::string> ReadSecret(const std::string& file) {
  constexpr size_t kMaxSecret = 64 << 10;
  std::string text;
  if (file == "-") {
    for (char c; text.size() <= kMaxSecret && std::cin.get(c);) text.push_back(c);
    if (text.size() > kMaxSecret) return absl::OutOfRangeError("standard input is longer than a join string is");
  } else {
    BW_ASSIGN_OR_RETURN(text, os::ReadFile(os::Files::System(), file, kMaxSecret));
  }
  return std::string(absl::StripAsciiWhitespace(text));
}

absl::StatusOr<enroll::v1::JoinString> JoinStringOf(const JoinFlags& flags) {
  if (!flags.join_file.empty()) {
    auto text = ReadSecret(flags.join_file);
    if (!text.ok()) return Annotate(text.status(), "no join string (from: bailiwick site join-token SITE)");
    return rpc::ParseJoinString(*text);
  }
  if (!flags.join.empty()) return rpc::ParseJoinString(flags.join);
  std::string token = flags.token;
  if (!flags.token_file.empty()) {
    auto text = ReadSecret(flags.token_file);
    if (!text.ok()) return Annotate(text.status(), "no token (from: bailiwick site join-token SITE -o json)");
    token = *text;
  }
  return AgentIdentity::JoinOf(flags.coordinator, flags.ca_sha256, flags.policy_root_sha256, token);
}

// At every start of a machine: an agent that has an identity goes on with it when there is no join string any more,
// when this one was spent by it, and when it cannot be spent.
absl::Status JoinIfNeeded(AgentState* state, const std::string& spiffe_id,
                          const absl::StatusOr<enroll::v1::JoinString>& join, const rpc::Proxy& proxy) {
  if (absl::IsNotFound(join.status())) return absl::OkStatus();
  absl::Status again = join.status();
  if (join.ok()) {
    BW_ASSIGN_OR_RETURN(bool spent, AgentIdentity::Spent(state, *join));
    if (spent) return absl::OkStatus();
    again = AgentIdentity::Join(state, *join, proxy);
  }
  if (!again.ok()) {
    std::cerr << "bailiwick-agent: goes on as " << spiffe_id << ", without joining anew: " << again.message() << "\n";
  }
  return absl::OkStatus();
}

// All but the spending: whether the string is one, whether the coordinator that it pins answers, what is here already.
absl::Status TryJoin(const absl::StatusOr<enroll::v1::JoinString>& join, const Place& place, const rpc::Proxy& proxy) {
  BW_RETURN_IF_ERROR(join.status());
  os::Files* files = os::Files::System();
  const absl::Status found = AgentIdentity::CheckThere(files, place.data_dir);
  const bool there = found.ok();
  if (!there && !absl::IsNotFound(found)) return found;
  std::unique_ptr<os::FileLock> lock;
  if (there) {
    BW_ASSIGN_OR_RETURN(lock, files->Lock(os::JoinPath(place.data_dir, "lock")));
  }
  BW_RETURN_IF_ERROR(rpc::JoinChannel(join->join_address(), join->ca_sha256(), "", proxy).status());
  cli::SayTried(std::cout,
                {absl::StrCat("the string is spent at ", join->join_address(),
                              ", where the coordinator that it pins answers; whether it counts, the spending says"),
                 there ? absl::StrCat("the agent in ", place.data_dir, " becomes who the string says")
                       : absl::StrCat("an agent is made in ", place.data_dir)});
  return absl::OkStatus();
}

absl::Status Join(const JoinFlags& flags, const Place& place) {
  BW_ASSIGN_OR_RETURN(const rpc::Proxy proxy, rpc::Proxy::Parse(os::Files::System(), place.way_out));
  const auto join = JoinStringOf(flags);
  if (flags.dry_run) return TryJoin(join, place, proxy);
  if (!join.ok() && !flags.if_needed) return join.status();
  BW_ASSIGN_OR_RETURN(auto state, AgentState::Open(Environment{}, place.data_dir));
  BW_ASSIGN_OR_RETURN(std::string known, state->GetMeta("spiffe-id"));
  if (flags.if_needed && !known.empty()) {
    BW_RETURN_IF_ERROR(JoinIfNeeded(state.get(), known, join, proxy));
  } else {
    BW_RETURN_IF_ERROR(join.status());
    BW_RETURN_IF_ERROR(AgentIdentity::Join(state.get(), *join, proxy));
  }
  BW_ASSIGN_OR_RETURN(auto identity, AgentIdentity::Load(state.get()));
  std::cout << "joined as " << identity->spiffe_id() << "\n"
            << "with key " << std::string(absl::BytesToHexString(identity->enrolment_key().public_key())) << "\n"
            << "start it with: bailiwick-agent run --data-dir " << place.data_dir << "\n";
  return absl::OkStatus();
}

// Where replicas are laid out: the flag, the Site's replicaPath of the installed policy, or the data directory.
std::string ReplicaPath(const RunSettings& settings, const Law& law, const std::string& site) {
  if (!settings.replica_path.empty()) return settings.replica_path;
  const config::Catalog resources = law.resources();
  auto it = resources.find({"Site", site});
  if (it != resources.end() && !it->second.site().replica_path().empty()) return it->second.site().replica_path();
  return os::JoinPath(settings.data_dir, "replicas");
}

// `anew`: it ended so that the program starts anew.
absl::Status Run(const RunSettings& settings, bool* anew) {
  telemetry::Format format;
  telemetry::Level level;
  BW_RETURN_IF_ERROR(telemetry::ParseFormat(settings.log_format, &format));
  BW_RETURN_IF_ERROR(telemetry::ParseLevel(settings.log_level, &level));
  telemetry::InitLogging("agent", format, level);
  rpc::RouteGrpcLog();

  BW_RETURN_IF_ERROR(CheckSettings(settings));
  BW_ASSIGN_OR_RETURN(const rpc::Proxy proxy, rpc::Proxy::Parse(os::Files::System(), settings.way_out));
  os::HoldStopSignals();  // before there are other threads
  BW_ASSIGN_OR_RETURN(os::ServiceManager manager, os::ServiceManager::FromEnvironment());

  Environment env;
  env.key_directory = settings.key_dir;
  env.disk_reserve = DiskReserve(settings).value_or(kGiB);  // Open says what is wrong with the directory
  BW_RETURN_IF_ERROR(AgentIdentity::CheckThere(env.files, settings.data_dir));  // before anything is made there
  BW_ASSIGN_OR_RETURN(auto state, AgentState::Open(env, settings.data_dir));
  absl::StatusOr<std::unique_ptr<AgentIdentity>> loaded = AgentIdentity::Load(state.get());
  BW_RETURN_IF_ERROR(AgentState::WithRemedy(loaded.status(), settings.data_dir));
  const auto identity = *std::move(loaded);
  BW_RETURN_IF_ERROR(state->audit()->SignAs(absl::StrCat(identity->trust_domain(), "/site/", identity->site()),
                                            identity->enrolment_key()));
  Law law(identity->policy_root_sha256(), state->db(), env.clock);
  BW_RETURN_IF_ERROR(AgentState::WithRemedy(law.Load(), settings.data_dir));

  rpc::Refusals refusals(state->audit(), env.clock);
  const rpc::HandshakeWatch watch(
      [&](const absl::Status& why) { refusals.Record("unknown", why, rpc::Named::kProven); });
  auto gate = std::make_shared<rpc::Gate>(
      rpc::Gate::Options{.trust_domain = identity->trust_domain(),
                         .now = [&law] { return law.clock().Best(); },
                         .refused = [&](const std::string& peer, const absl::Status& why,
                                        rpc::Named named) { refusals.Record(peer, why, named); }});
  Agent agent(state.get(), identity.get(), &law,
              {.replicas = ReplicaPath(settings, law, identity->site()),
               .external_credentials = settings.tls_dir,
               .gate = gate,
               .refusals = &refusals,
               .proxy = proxy});
  TransferService transfers([&](std::shared_ptr<FrameStream> stream) { RunAcceptedFlow(agent.transfers(), stream); });
  AdminService admin(&agent, gate, env.clock);
  BW_ASSIGN_OR_RETURN(auto credentials, rpc::MutualServerCredentials({identity->credentials_directory()}, gate));
  grpc::ServerBuilder builder;
  rpc::ApplyServerLimits(builder);
  rpc::CountCalls(builder);
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMaxFrameBytes));
  auto entrance = rpc::Entrance::Open(settings.listen, credentials, &builder);
  if (!entrance.ok()) {
    return absl::Status(entrance.status().code(),
                        absl::StrCat(std::string(entrance.status().message()),
                                     "; is the port taken? choose another with --listen HOST:PORT"));
  }
  builder.RegisterService(&transfers);
  builder.RegisterService(&admin);
  const std::string endpoints = os::JoinPath(settings.data_dir, "endpoints.json");
  absl::Status stale = env.files->Remove(endpoints);
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("the server cannot be started");
  (*entrance)->Start();
  BW_ASSIGN_OR_RETURN(const HostPort heard, ParseHostPort(settings.listen));
  const std::string endpoint =
      settings.advertise.empty() ? JoinHostPort(heard.host, (*entrance)->port()) : settings.advertise;
  BW_RETURN_IF_ERROR(AgentState::WithRemedy(agent.Start(endpoint, settings.coordinator), settings.data_dir));
  LocalService local(&agent, gate);
  BW_RETURN_IF_ERROR(local.Start(settings.data_dir));
  std::unique_ptr<rpc::HealthServer> health;
  if (!settings.health_listen.empty()) {
    BW_ASSIGN_OR_RETURN(health, rpc::HealthServer::Start(settings.health_listen));
  }
  os::Pulse pulse(env.clock, [&agent] { return agent.TurnedSinceAsked(); });
  std::atomic<bool> stopping{false};
  http::StatusSource status{
      .metrics = [&](telemetry::Exposition* out) { CollectAgent(agent, law, *state, out); },
      .alive = [&] { return pulse.Check(); },
      .ready = [&] { return stopping ? absl::UnavailableError("the agent is stopping") : pulse.Check(); }};
  BW_ASSIGN_OR_RETURN(auto status_server, http::ServeStatus(settings.metrics_listen, std::move(status)));
  const absl::Status told = os::WriteFileAtomically(
      env.files, endpoints,
      absl::StrCat("{\"transfer\":\"", endpoint, "\",\"health\":\"", health == nullptr ? "" : health->endpoint(),
                   "\",\"metrics\":\"", status_server == nullptr ? "" : status_server->endpoint(), "\"}\n"));
  if (!told.ok()) {
    if (!absl::IsResourceExhausted(told)) return told;
    // What is here is served from a full disk as well.
    telemetry::Log(telemetry::Level::kError, "endpoints-not-written", {{"error", told}});
  }
  telemetry::Log(telemetry::Level::kInfo, "serving",
                 {{"site", identity->site()},
                  {"endpoint", endpoint},
                  {"identity", identity->spiffe_id()},
                  {"policy_revision", law.revision()},
                  {"build", kBuildVersion}});

  BW_RETURN_IF_ERROR(manager.Ready(absl::StrCat("serving site ", identity->site(), " at ", endpoint)));

  const int received = os::AwaitStopSignal(manager, [&pulse] { return pulse.TurnedSinceAsked(); });
  telemetry::Log(telemetry::Level::kInfo, "stopping", {{"signal", received}});
  *anew = agent.starts_anew();
  if (!*anew || manager.listens()) manager.Stopping().IgnoreError();  // it sees the end of the process as well
  stopping = true;
  if (health != nullptr) health->Draining();
  local.Stop();
  transfers.Shutdown();
  agent.Stop();
  (*entrance)->Stop();
  server->Shutdown(os::DeadlineIn(absl::Seconds(2)));
  refusals.Flush(true);
  // A manager watches how long a start takes: it makes that start itself.
  if (*anew && manager.listens()) return absl::UnavailableError("the chunk index is damaged; the next start makes it anew");
  return absl::OkStatus();
}

struct KeyFlags {
  std::string id, file, output = "table";
  bool dry_run = false;
};

// How it answers; --json is a word of before -o.
void AddOutput(CLI::App* command, std::string* format, bool names) {
  auto* option = command->add_option(
      "-o,--output", *format,
      names ? "table, json, yaml, or name: only what other commands take, a line each" : "table, json or yaml");
  option->check(names ? CLI::IsMember({"table", "json", "yaml", "name"}) : CLI::IsMember({"table", "json", "yaml"}));
  command
      ->add_flag_callback(
          "--json", [format] { *format = "json"; }, "as -o json")
      ->excludes(option);
}

// Where the agent is, for a command beside `run`.
void AddPlace(CLI::App* command, Place* place) {
  command->add_option("--data-dir", place->data_dir, "directory of this agent");
  command->add_option("--config", place->config,
                      absl::StrCat("file that says it in its place (default: ", kConfigFile, " when it is there)"));
}

// `key generate|list|rotate|export|import`; the one that was given runs through `run`.
void RegisterKeys(CLI::App& app, KeyFlags& flags, Place& place, std::function<absl::Status(KeyCommands&)>& run) {
  auto* key = app.add_subcommand("key", "the storage keys of this site, which protect data at rest");
  key->require_subcommand(1);
  key->footer("Example:\n  bailiwick-agent key list");
  auto add = [&](const char* verb, const char* help, std::function<absl::Status(KeyCommands&)> act) {
    auto* c = key->add_subcommand(verb, help);
    AddPlace(c, &place);
    c->add_option("--key-dir", place.key_dir, "where the keys are, when it is not DATA/keys");
    c->callback([&run, act = std::move(act)] { run = act; });
    if (std::string_view(verb) != "list") cli::AddDryRun(c, &flags.dry_run);
    return c;
  };
  add("generate", "make this site's first key", [](KeyCommands& keys) {
    return keys.Generate();
  })->footer("Example:\n  bailiwick-agent key generate");
  auto* list = add("list", "which keys there are, and how many datasets each protects",
                   [&flags](KeyCommands& keys) { return keys.List(output::ParseFormat(flags.output)); });
  AddOutput(list, &flags.output, true);
  list->footer("Example:\n  bailiwick-agent key list -o json");
  add("rotate", "make a further key; once it is declared the agent wraps its data keys under it",
      [](KeyCommands& keys) { return keys.Rotate(); })
      ->footer("Example:\n  bailiwick-agent key rotate");
  auto* out = add("export", "write a key to a new file, to be kept safe",
                  [&flags](KeyCommands& keys) { return keys.Export(flags.id, flags.file); });
  out->add_option("--id", flags.id, "the key, by how its id begins (not needed when there is one)");
  out->add_option("--to", flags.file, "the file, which must not exist")->required();
  out->footer("Example:\n  bailiwick-agent key export --to /media/safe/core.key");
  auto* in = add("import", "bring a key back from a file that export wrote",
                 [&flags](KeyCommands& keys) { return keys.Import(flags.file); });
  in->add_option("FILE", flags.file, "the file")->required();
  in->footer("Example:\n  bailiwick-agent key import /media/safe/core.key");
}

int Report(const absl::Status& status) {
  if (!status.ok()) std::cerr << "bailiwick-agent: " << std::string(status.message()) << "\n";
  return ExitCode(status);
}

// Buffers of some MiB come and go with every frame, batch and part, and often in another thread than they came in: the
// allocator keeps them in few places, instead of having them mapped and zeroed each time.
void KeepBuffers() {
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);  // the largest that an arena's heap becomes
  mallopt(M_ARENA_MAX, 2);
}

int Main(int argc, char** argv) {
  CLI::App app{"bailiwick-agent: serves one site: commits, sends and receives versions, lays them out",
               "bailiwick-agent"};
  app.set_version_flag("--version", std::string("bailiwick-agent ") + std::string(kBuildVersion));
  app.require_subcommand(1);
  app.footer("Start with:\n  bailiwick-agent join --join-file /etc/bailiwick/join-string\n  bailiwick-agent run");

  Place place;
  JoinFlags join_flags;
  auto* join = app.add_subcommand("join", "spend a join string once; makes this agent's keys and certificate");
  auto* whole = join->add_option("--join", join_flags.join, "the string from: bailiwick site join-token SITE");
  auto* file = join->add_option("--join-file", join_flags.join_file, "or a file that holds it (-: standard input)")
                   ->excludes(whole);
  join->add_option("--coordinator", join_flags.coordinator, "or its parts: HOST:PORT of the join port")
      ->excludes(whole)
      ->excludes(file);
  auto* token = join->add_option("--token", join_flags.token, "the token")->excludes(whole);
  join->add_option("--token-file", join_flags.token_file, "or a file that holds it (-: standard input)")
      ->excludes(whole)
      ->excludes(file)
      ->excludes(token);
  join->add_option("--ca-sha256", join_flags.ca_sha256, "hash of the CA's certificate, hex")->excludes(whole);
  join->add_option("--policy-root-sha256", join_flags.policy_root_sha256, "hash of the root that signs the law, hex")
      ->excludes(whole);
  join->add_flag(
      "--if-needed", join_flags.if_needed,
      "join unless this very string was spent here; an agent that joined before goes on as it is when it cannot");
  cli::AddDryRun(join, &join_flags.dry_run);
  RunSettings settings;
  config::Settings table = SettingsTable(&settings);
  std::string config_file;
  config::AddFlags(join, &table, &config_file, kJoinSettings);
  join->footer("Example:\n  bailiwick-agent join --join-file /etc/bailiwick/join-string");

  auto* run = app.add_subcommand("run", "serve the site until SIGTERM");
  config::AddFlags(run, &table, &config_file);
  run->footer(
      "Example:\n  bailiwick-agent run --data-dir /var/lib/bailiwick-agent --listen 0.0.0.0:7443 --advertise "
      "core.example:7443");

  config::ServiceCommands shared(&app, &table, kConfigFile, [&settings] { return CheckSettings(settings); });

  std::string dataset;
  auto* exec = app.add_subcommand("exec", "run a command on one whole version that stays put while it runs");
  exec->add_option("DATASET", dataset, "name of the dataset")->required();
  AddPlace(exec, &place);
  exec->add_option("--replica-path", place.replica_path, "where replicas are laid out, when it is not DATA/replicas");
  exec->footer(
      "The command follows a --; it starts in the tree, with BAILIWICK_TREE and BAILIWICK_VERSION set.\n"
      "Example:\n  bailiwick-agent exec planner -- python3 infer.py");

  RunSettings examined;
  config::Settings examined_table = SettingsTable(&examined);
  std::string examined_file, doctor_output = "table";
  auto* doctor = app.add_subcommand(
      "doctor", "looks for what is wrong with this machine, the agent's directory and the way to its coordinator");
  config::AddFlags(doctor, &examined_table, &examined_file);
  doctor->add_option("-o,--output", doctor_output, "table, json, yaml, or name: only of what there is to look at")
      ->check(CLI::IsMember({"table", "json", "yaml", "name"}));
  doctor->footer(
      "Exit code 0: nothing fails; 6: all that fails is out of reach from here; 1: something else fails.\n"
      "Example:\n  bailiwick-agent doctor");

  std::string status_output = "table";
  auto* status = app.add_subcommand("status", "whether the coordinator is in reach, and what goes on without it");
  AddPlace(status, &place);
  AddOutput(status, &status_output, false);
  status->footer("Example:\n  bailiwick-agent status");

  bool renew = false, try_renew = false;
  std::string certificate_output = "table";
  auto* certificate = app.add_subcommand("certificate", "asks the running agent until when its certificate is valid");
  AddPlace(certificate, &place);
  auto* renew_flag = certificate->add_flag("--renew", renew, "have it renewed now");
  cli::AddDryRun(certificate, &try_renew)->needs(renew_flag);
  AddOutput(certificate, &certificate_output, false);
  certificate->footer("Example:\n  bailiwick-agent certificate --renew");

  KeyFlags key_flags;
  std::function<absl::Status(KeyCommands&)> key_command;
  RegisterKeys(app, key_flags, place, key_command);

  // What follows "--" is the command of exec, never ours to parse.
  std::vector<std::string> command;
  int own = argc;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--") {
      own = i;
      for (int j = i + 1; j < argc; ++j) command.emplace_back(argv[j]);
      break;
    }
  }
  try {
    app.parse(own, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    return cli::Complain(app, e, std::cerr);
  }
  if (!*exec) os::KeepMemoryPrivate();  // what exec becomes is not ours
  os::LookUpProcessors();
  os::SkipLockOrderChecks();
  if (*run) {
    os::RaiseOpenFiles();
    KeepBuffers();
    absl::Status settled = table.Settle(os::Files::System(), config_file);
    bool anew = false;
    absl::Status ran = settled.ok() ? Run(settings, &anew) : settled;
    if (ran.ok() && anew) ran = os::StartAnew(argv);
    return Report(ran);
  }
  if (auto done = shared.Run(); done.has_value()) return Report(*done);
  if (*doctor) {
    if (examined_file.empty() && examined.data_dir.empty()) {
      if (absl::Status found = FindPlace(os::Files::System(), kConfigFile, &place); !found.ok()) return Report(found);
      examined_file = kConfigFile;
    }
    absl::Status settled = examined_table.Settle(os::Files::System(), examined_file);
    if (!settled.ok()) return Report(settled);
    const doctor::Report found = Examine(examined);
    found.Print(output::ParseFormat(doctor_output));
    return found.ExitCode();
  }
  if (*exec && command.empty()) return Report(absl::InvalidArgumentError("exec needs a command after --"));
  if (*join) place = {.config = config_file, .data_dir = settings.data_dir, .way_out = settings.way_out};
  if (!*exec || place.replica_path.empty()) {
    if (absl::Status found = FindPlace(os::Files::System(), kConfigFile, &place); !found.ok()) return Report(found);
  }
  if (*join) return Report(Join(join_flags, place));
  if (*status) {
    Environment env;
    absl::Status said =
        PrintLocalStatus(env.files, env.clock, place.data_dir, output::ParseFormat(status_output), &std::cout);
    if (said.ok() && absl::IsUnavailable(CheckRuns(place.data_dir))) {
      said = absl::UnavailableError(
          absl::StrCat("no agent runs in ", place.data_dir, ": above is what the last one said; start it"));
    }
    return Report(said);
  }
  if (*certificate) {
    const Renewal renewal = try_renew ? Renewal::kTry : renew ? Renewal::kNow : Renewal::kNone;
    return Report(AskCertificate(place.data_dir, renewal, output::ParseFormat(certificate_output), &std::cout));
  }
  if (key_command) {
    Environment env;
    KeyCommands keys(env.files, env.random, env.clock, place.data_dir, place.key_dir, &std::cout, key_flags.dry_run);
    return Report(key_command(keys));
  }
  if (place.replica_path.empty()) place.replica_path = os::JoinPath(place.data_dir, "replicas");
  absl::StatusOr<int> code = ExecWithLease(place.replica_path, dataset, command);
  return code.ok() ? *code : Report(code.status());
}

}  // namespace
}  // namespace bailiwick::agent

int main(int argc, char** argv) {
  bailiwick::os::HideArguments(argc, argv, {"--join", "--token"});
  return bailiwick::cli::Delivered(bailiwick::agent::Main(argc, argv), "bailiwick-agent");
}
