// How a difference between versions is told.
#pragma once

#include <string>

#include "services/cli/commands/output.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

// "~ map.bin  modified (1.0 KiB -> 2.0 KiB)"
std::string ChangeLine(const agent::v1::DiffEntry& entry);
Json ChangeJson(const agent::v1::DiffEntry& entry);

}  // namespace bailiwick::cli
