// What an agent is told about itself, by flags of `run` or by its configuration file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/config/process_settings.h"
#include "common/rpc/proxy.h"

namespace bailiwick::agent {

struct RunSettings : config::ProcessSettings {
  std::string data_dir;
  std::string listen = "127.0.0.1:0";
  std::string advertise;
  std::string coordinator;
  std::string replica_path;
  std::string key_dir;
  std::string disk_reserve;
  rpc::Proxy::Settings way_out;
};

inline constexpr const char* kConfigFile = "/etc/bailiwick/agent.yaml";  // where the packages put it

// Each setting once; `settings` outlives the table.
config::Settings SettingsTable(RunSettings* settings);
inline const std::vector<std::string> kJoinSettings = {"data-dir", "proxy", "proxy-credentials", "no-proxy"};
// What the table cannot say of one setting alone. INVALID_ARGUMENT.
absl::Status CheckSettings(const RunSettings& settings);

// Bytes that the data directory's file system keeps free; the directory exists. Errors of the file system.
absl::StatusOr<uint64_t> DiskReserve(const RunSettings& settings);

// Where an agent's things are, for the commands beside `run`.
struct Place {
  std::string config;  // a file, when a flag named one
  std::string data_dir, key_dir, replica_path;
  rpc::Proxy::Settings way_out;
};
// Takes what no flag gave from the file; where neither it nor the directory was given, from `standard` if that exists.
// Errors as those of Settings::Read; INVALID_ARGUMENT: nobody says where the agent is.
absl::Status FindPlace(os::Files* files, const std::string& standard, Place* place);

}  // namespace bailiwick::agent
