// `bailiwick dev`: a fleet on this machine.
#pragma once

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

void RegisterDev(CLI::App& app, Globals& globals);

}  // namespace bailiwick::cli
