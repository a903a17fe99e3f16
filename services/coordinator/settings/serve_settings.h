// What a coordinator is told about itself, by flags of `serve` or by its configuration file.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config/process_settings.h"
#include "services/coordinator/ca/authority.h"

namespace bailiwick::coordinator {

struct ServeSettings : config::ProcessSettings {
  std::string data_dir;
  std::string control_listen = "127.0.0.1:7440";
  std::string join_listen = "127.0.0.1:7441";
  std::string advertise;
  std::string certificate_life = "24h";
  std::string ca_rotate_every;
};

inline constexpr const char* kConfigFile = "/etc/bailiwick/coordinator.yaml";  // where the packages put it

// Each setting once; `settings` outlives the table.
config::Settings SettingsTable(ServeSettings* settings);
// What the table cannot say of one setting alone. INVALID_ARGUMENT.
absl::Status CheckSettings(const ServeSettings& settings);
absl::StatusOr<Authority::Options> AuthorityOptions(const ServeSettings& settings);

// What agents dial where this address is listened on, without brackets.
std::string AdvertisedHost(const ServeSettings& settings, const std::string& listen);

}  // namespace bailiwick::coordinator
