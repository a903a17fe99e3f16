// What a command line says of itself in one line; for help, errors and manual pages. Pure functions of the commands.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace bailiwick::cli {

// "bailiwick dataset diff"
std::string CommandLine(const CLI::App& command);
// Those that help shows, in the order in which they were added.
std::vector<const CLI::App*> VisibleCommands(const CLI::App& app);
// "bailiwick dataset diff [OPTIONS] NAME N M"
std::string UsageLine(const CLI::App& command);

}  // namespace bailiwick::cli
