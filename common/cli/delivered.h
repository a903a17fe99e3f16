// The end of a program that answers on standard output.
#pragma once

#include <string>

namespace bailiwick::cli {

// The exit code; but 1, with a sentence on standard error, when what was printed could not be written: an answer that
// nobody got is no success. `program`: how its errors begin.
int Delivered(int code, const std::string& program);

}  // namespace bailiwick::cli
