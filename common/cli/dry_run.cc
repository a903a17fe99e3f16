#include "common/cli/dry_run.h"

namespace bailiwick::cli {

CLI::Option* AddDryRun(CLI::App* command, bool* dry_run) {
  return command->add_flag("--dry-run", *dry_run, "check and say what would change, change nothing");
}

void SayTried(std::ostream& out, const std::vector<std::string>& effects) {
  out << "dry run: nothing was changed; it would be so:\n";
  for (const std::string& effect : effects) out << "  " << effect << "\n";
}

}  // namespace bailiwick::cli
