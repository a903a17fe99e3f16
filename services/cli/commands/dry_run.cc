#include "services/cli/commands/dry_run.h"

#include <iostream>

#include "common/base/status.h"
#include "common/cli/dry_run.h"

namespace bailiwick::cli {

std::shared_ptr<bool> DryRunFlag(CLI::App* command) {
  auto dry_run = std::make_shared<bool>(false);
  AddDryRun(command, dry_run.get());
  return dry_run;
}

absl::Status SayTried(const Globals& globals, const std::vector<std::string>& effects, const std::string& waits) {
  if (globals.format() == Format::kName) return absl::OkStatus();  // sentences are nothing that a command takes
  if (!globals.table()) {
    PrintJson(globals.format(), {{"dryRun", Bool(true)}, {"effects", Texts(effects)}, {"waits", Text(waits)}});
    return absl::OkStatus();
  }
  std::vector<std::string> sentences;
  for (const std::string& effect : effects) sentences.push_back(FormatMessage(effect));
  SayTried(std::cout, sentences);
  if (!waits.empty()) std::cout << "not at once: " << FormatMessage(waits) << "\n";
  return absl::OkStatus();
}

absl::Status TryAct(const Globals& globals, Admin& admin, const control::v1::DryRunRequest& request) {
  BW_ASSIGN_OR_RETURN(const control::v1::DryRunResponse tried, admin.Try(request));
  return SayTried(globals, {tried.effects().begin(), tried.effects().end()}, tried.waits());
}

}  // namespace bailiwick::cli
