#include "services/agent/settings/run_settings.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/host.h"

namespace bailiwick::agent {
namespace {

using Form = config::Setting::Form;

bool MeansAny(const std::string& address) {
  auto parsed = ParseHostPort(address);
  return parsed.ok() && IsAnyAddress(parsed->host);
}

}  // namespace

config::Settings SettingsTable(RunSettings* s) {
  return config::Settings(
      "bailiwick-agent", "run",
      WithProcessRows({{.flag = "data-dir",
                        .form = Form::kPath,
                        .value = &s->data_dir,
                        .help = "directory of this agent",
                        .shipped = "/var/lib/bailiwick-agent",
                        .required = true},
                       {.flag = "listen",
                        .form = Form::kHostPort,
                        .value = &s->listen,
                        .help = "HOST:PORT for peers and admins; port 0 is a free one",
                        .shipped = "127.0.0.1:7443"},
                       {.flag = "advertise",
                        .form = Form::kHostPort,
                        .value = &s->advertise,
                        .help = "HOST:PORT that others dial to reach this agent",
                        .otherwise = "what listen says"},
                       {.flag = "coordinator",
                        .form = Form::kHostPort,
                        .value = &s->coordinator,
                        .help = "HOST:PORT of the coordinator's control port",
                        .otherwise = "the one that was told at join"},
                       {.flag = "proxy",
                        .value = &s->way_out.proxy,
                        .help = "HOST:PORT of the HTTP proxy through which the coordinator and "
                                "peers are dialled; none: not even one of the environment",
                        .otherwise = "https_proxy of the environment"},
                       {.flag = "proxy-credentials",
                        .form = Form::kPath,
                        .value = &s->way_out.credentials,
                        .help = "file with USER:PASSWORD for the proxy, for this agent's eyes only"},
                       {.flag = "no-proxy",
                        .value = &s->way_out.exempt,
                        .help = "who is dialled without the proxy: names (and all below them), "
                                "addresses, networks, with commas"},
                       {.flag = "replica-path",
                        .form = Form::kPath,
                        .value = &s->replica_path,
                        .help = "where replicas are laid out",
                        .otherwise = "the Site's replicaPath, else DATA/replicas"},
                       {.flag = "key-dir",
                        .form = Form::kPath,
                        .value = &s->key_dir,
                        .help = "where the storage keys are",
                        .otherwise = "DATA/keys"},
                       {.flag = "disk-reserve",
                        .form = Form::kBytes,
                        .value = &s->disk_reserve,
                        .help = "space that commits, transfers and laid-out copies leave free where the data "
                                "directory lies, so that audit log and database can still be written",
                        .otherwise = "1 GiB, or a fiftieth of the file system where that is less"}},
                      s, "the coordinator renews it"));
}

// Peers dial what the agent says of itself: an address that means "any" says nothing.
absl::Status CheckSettings(const RunSettings& settings) {
  const bool heard_everywhere = MeansAny(settings.listen);
  if (MeansAny(settings.advertise) || (heard_everywhere && settings.advertise.empty())) {
    return absl::InvalidArgumentError(absl::StrCat(
        heard_everywhere ? "listening on " : "advertising ", heard_everywhere ? settings.listen : settings.advertise,
        " needs --advertise HOST:PORT with the name or address that others dial"));
  }
  return rpc::Proxy::Parse(os::Files::System(), settings.way_out).status();
}

absl::StatusOr<uint64_t> DiskReserve(const RunSettings& settings) {
  if (!settings.disk_reserve.empty()) return ParseBytes(settings.disk_reserve);
  BW_ASSIGN_OR_RETURN(const os::Space space, os::SpaceOf(settings.data_dir));
  return std::min(kGiB, space.total_bytes / 50);
}

absl::Status FindPlace(os::Files* files, const std::string& standard, Place* place) {
  if (place->config.empty() && !place->data_dir.empty()) return absl::OkStatus();
  RunSettings settings;
  config::Settings table = SettingsTable(&settings);
  absl::Status read = table.Read(files, place->config.empty() ? standard : place->config);
  if (place->config.empty() && absl::IsNotFound(read)) {
    return absl::InvalidArgumentError(
        absl::StrCat("where is this agent? --data-dir DIR says it, or --config FILE; there is no ", standard));
  }
  BW_RETURN_IF_ERROR(read);
  if (place->data_dir.empty()) BW_RETURN_IF_ERROR(table.RequireAll());
  for (auto [flag, setting] : {std::pair(&place->data_dir, &settings.data_dir),
                               {&place->key_dir, &settings.key_dir},
                               {&place->replica_path, &settings.replica_path},
                               {&place->way_out.proxy, &settings.way_out.proxy},
                               {&place->way_out.credentials, &settings.way_out.credentials},
                               {&place->way_out.exempt, &settings.way_out.exempt}}) {
    if (flag->empty()) *flag = *setting;
  }
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
