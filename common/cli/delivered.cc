#include "common/cli/delivered.h"

#include <iostream>

namespace bailiwick::cli {

int Delivered(int code, const std::string& program) {
  std::cout.flush();
  if (code != 0 || std::cout) return code;
  std::cerr << program << ": cannot write to standard output\n";
  return 1;
}

}  // namespace bailiwick::cli
