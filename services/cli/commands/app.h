// The command line as a whole: parses it, runs the one command that was named, explains what was mistyped.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

using Register = std::function<void(CLI::App& app, Globals& globals)>;

// Every command of this folder, then those of `more`.
void BuildApp(CLI::App& app, Globals& globals, const std::vector<Register>& more);

// The exit code of the process. Help and version go to standard output; what is wrong with the command line is one
// sentence and a usage line on standard error, exit code 2.
int RunCommandLine(int argc, const char* const* argv, const std::vector<Register>& more);

}  // namespace bailiwick::cli
