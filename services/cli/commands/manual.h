// `bailiwick __manual DIR` writes the manual pages (common/cli/manual.h); for packagers.
#pragma once

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

void RegisterManual(CLI::App& app, Globals& globals);

}  // namespace bailiwick::cli
