// The targets that are linked into this program, by name. Filled before main.
#pragma once

#include <map>
#include <string>

#include "tests/fuzz/fuzz.h"

namespace bailiwick::fuzz {

std::map<std::string, Target>& Targets();

}  // namespace bailiwick::fuzz
