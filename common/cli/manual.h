// Manual pages in man(7), made from the commands themselves. Pure functions.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace bailiwick::cli {

// Of the command line, {file name, text}: bailiwick.1, and a page for each command with all that is below it.
std::vector<std::pair<std::string, std::string>> ManualPages(const CLI::App& app);
// Of a service: one page of section 8 with its commands and the file of its settings (see Settings::Annotated).
std::string ServiceManualPage(const CLI::App& app, const std::string& file, const std::string& settings);

}  // namespace bailiwick::cli
