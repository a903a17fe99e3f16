#include "services/cli/commands/dry_run.h"

#include <iostream>

#include "common/base/status.h"

namespace bailiwick::cli {

std::shared_ptr<bool> DryRunFlag(CLI::App* command) {
  auto dry_run = std::make_shared<bool>(false);
  command->add_flag("--dry-run", *dry_run, "check and say what would change, change nothing");
  return dry_run;
}

absl::Status SayTried(const Globals& globals, const std::vector<std::string>& effects, const std::string& waits) {
  if (!globals.table()) {
    std::vector<Json> json;
    for (const std::string& effect : effects) json.push_back(Text(effect));
    PrintJson(globals.format(), {{"dryRun", Bool(true)}, {"effects", List(std::move(json))}, {"waits", Text(waits)}});
    return absl::OkStatus();
  }
  std::cout << "dry run: nothing was changed; it would be so:\n";
  for (const std::string& effect : effects) std::cout << "  " << FormatMessage(effect) << "\n";
  if (!waits.empty()) std::cout << "not at once: " << FormatMessage(waits) << "\n";
  return absl::OkStatus();
}

absl::Status TryAct(const Globals& globals, Admin& admin, const control::v1::DryRunRequest& request) {
  BW_ASSIGN_OR_RETURN(const control::v1::DryRunResponse tried, admin.Try(request));
  return SayTried(globals, {tried.effects().begin(), tried.effects().end()}, tried.waits());
}

}  // namespace bailiwick::cli
