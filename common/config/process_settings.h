// The settings that agent and coordinator have alike: each row once.
#pragma once

#include <string>
#include <vector>

#include "common/config/settings.h"

namespace bailiwick::config {

struct ProcessSettings {
  std::string tls_dir;
  std::string health_listen;
  std::string metrics_listen;
  std::string log_format = "text";
  std::string log_level = "info";
};

// `table` with the rows of `settings` behind its own. `renewal`: who renews the certificate without a tls-dir.
std::vector<Setting> WithProcessRows(std::vector<Setting> table, ProcessSettings* settings, std::string renewal);

}  // namespace bailiwick::config
