// --dry-run of the services' own commands: what would be so is said, and nothing done.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace bailiwick::cli {

void AddDryRun(CLI::App* command, bool* dry_run);
// On standard output, as `bailiwick --dry-run` says it.
void SayTried(const std::vector<std::string>& effects);

}  // namespace bailiwick::cli
