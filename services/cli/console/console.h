// `bailiwick console`: a web console on loopback, with the identity of whoever started it.
#pragma once

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

void RegisterConsole(CLI::App& app, Globals& globals);

}  // namespace bailiwick::cli
