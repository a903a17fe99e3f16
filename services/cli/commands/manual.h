// Manual pages, made from the commands themselves.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

// {file name, text in man(7)}: bailiwick.1, and a page for each command with all that is below it. Pure function.
std::vector<std::pair<std::string, std::string>> ManualPages(const CLI::App& app);

// `bailiwick __manual DIR` writes them; for packagers.
void RegisterManual(CLI::App& app, Globals& globals);

}  // namespace bailiwick::cli
