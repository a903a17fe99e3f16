// What an agent is told about itself, by flags of `run` or by its configuration file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/config/settings.h"
#include "common/rpc/proxy.h"

namespace bailiwick::agent {

struct RunSettings {
  std::string data_dir;
  std::string listen = "127.0.0.1:0";
  std::string health_listen;
  std::string advertise;
  std::string coordinator;
  std::string replica_path;
  std::string key_dir;
  std::string tls_dir;
  std::string metrics_listen;
  rpc::Proxy::Settings way_out;
  std::string log_format = "text";
  std::string log_level = "info";
};

inline constexpr const char* kConfigFile = "/etc/bailiwick/agent.yaml";  // where the packages put it

// Each setting once; `settings` outlives the table.
config::Settings SettingsTable(RunSettings* settings);
inline const std::vector<std::string> kWayOutSettings = {"proxy", "proxy-credentials", "no-proxy"};  // of `join`, too
// What the table cannot say of one setting alone. INVALID_ARGUMENT.
absl::Status CheckSettings(const RunSettings& settings);
// `check-config`. Errors as those of `run --config FILE`.
absl::Status CheckConfigFile(os::Files* files, const std::string& path);

}  // namespace bailiwick::agent
