// Files that a command makes where the user names: what lies there already may be all that there is of it, and stays.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace bailiwick::cli {

// ALREADY_EXISTS: something is there. For who has long work before there is anything to write.
absl::Status CheckNew(const std::string& path);
// Whole or not at all, durable on return. ALREADY_EXISTS likewise.
absl::Status WriteNew(const std::string& path, std::string_view bytes);

}  // namespace bailiwick::cli
