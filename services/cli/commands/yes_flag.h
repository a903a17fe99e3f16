// The flag of commands that ask before they act.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

namespace bailiwick::cli {

// A flag --yes; what it says is for Confirm. To be read once the command runs.
inline std::shared_ptr<bool> YesFlag(CLI::App* command) {
  auto yes = std::make_shared<bool>(false);
  command->add_flag("--yes", *yes, "do not ask");
  return yes;
}

}  // namespace bailiwick::cli
