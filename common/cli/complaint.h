// What a program says of a command line that it cannot take: what is wrong, what may have been meant, how it is used.
#pragma once

#include <CLI/CLI.hpp>
#include <ostream>

namespace bailiwick::cli {

// Two lines, and the exit code of usage errors (2). `app`: the program, named as it is called, after it threw `error`.
int Complain(const CLI::App& app, const CLI::ParseError& error, std::ostream& out);

}  // namespace bailiwick::cli
