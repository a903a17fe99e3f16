#include "services/cli/commands/new_file.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/files.h"

namespace bailiwick::cli {

absl::Status CheckNew(const std::string& path) {
  BW_ASSIGN_OR_RETURN(const bool exists, os::Files::System()->Exists(path));
  if (exists) return absl::AlreadyExistsError(absl::StrCat(path, " is there already; name a new file"));
  return absl::OkStatus();
}

absl::Status WriteNew(const std::string& path, std::string_view bytes) {
  BW_RETURN_IF_ERROR(CheckNew(path));
  return os::WriteFileAtomically(os::Files::System(), path, bytes);
}

}  // namespace bailiwick::cli
