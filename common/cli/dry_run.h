// --dry-run: what would be so is said, and nothing done.
#pragma once

#include <CLI/CLI.hpp>
#include <ostream>
#include <string>
#include <vector>

namespace bailiwick::cli {

CLI::Option* AddDryRun(CLI::App* command, bool* dry_run);
void SayTried(std::ostream& out, const std::vector<std::string>& effects);

}  // namespace bailiwick::cli
