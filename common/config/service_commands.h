// What the command line of every service has besides its own commands: check-config, and the manual page for packagers.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/config/settings.h"

namespace bailiwick::config {

class ServiceCommands {
 public:
  // `app`, `table` and what `whole` refers to outlive this. `file`: where the packages put the settings. `whole`: what
  // the table cannot say of one setting alone, once they have been read.
  ServiceCommands(CLI::App* app, Settings* table, std::string file, std::function<absl::Status()> whole);

  // The end of the one that was given, with what it says on standard output; nothing when it was none of these.
  // check-config: the errors of starting the service by that file. Manual page: those of writing it.
  std::optional<absl::Status> Run();

 private:
  absl::Status CheckConfig();

  CLI::App* const app_;
  Settings* const table_;
  const std::string installed_file_;
  const std::function<absl::Status()> whole_;
  CLI::App* check_ = nullptr;
  CLI::App* manual_ = nullptr;
  std::string file_, directory_;
  bool example_ = false;
};

}  // namespace bailiwick::config
