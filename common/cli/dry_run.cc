#include "common/cli/dry_run.h"

#include <iostream>

namespace bailiwick::cli {

void AddDryRun(CLI::App* command, bool* dry_run) {
  command->add_flag("--dry-run", *dry_run, "check and say what would change, change nothing");
}

void SayTried(const std::vector<std::string>& effects) {
  std::cout << "dry run: nothing was changed; it would be so:\n";
  for (const std::string& effect : effects) std::cout << "  " << effect << "\n";
}

}  // namespace bailiwick::cli
