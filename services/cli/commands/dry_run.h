// --dry-run: an act is tried at the coordinator, by all of its checks, and what it would do is told; nothing is done.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

std::shared_ptr<bool> DryRunFlag(CLI::App* command);
inline Extent ExtentOf(bool dry_run) { return dry_run ? Extent::kTry : Extent::kApply; }

absl::Status TryAct(const Globals& globals, Admin& admin, const control::v1::DryRunRequest& request);
// Tells what was found otherwise. `waits`: for whom it would wait; empty: nobody.
absl::Status SayTried(const Globals& globals, const std::vector<std::string>& effects, const std::string& waits);

}  // namespace bailiwick::cli
