// Which directory a path leads to, and what it lies in. Thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/os/tree.h"

namespace bailiwick::os {

// A directory, by whatever path it is reached.
struct DirectoryId {
  uint64_t device = 0;
  uint64_t inode = 0;
  auto operator<=>(const DirectoryId&) const = default;
};
// The directory itself, then each one above it up to "/". Needs no right to read them. NOT_FOUND, FAILED_PRECONDITION
// when it is not a directory.
absl::StatusOr<std::vector<DirectoryId>> DirectoriesUpFrom(const std::string& absolute_path);
absl::StatusOr<std::vector<DirectoryId>> DirectoriesUpFrom(TreeDir& dir);
// Whether the last component of the path is a symlink itself. NOT_FOUND.
absl::StatusOr<bool> IsSymlink(std::string path);
// The path without symlinks on the way. NOT_FOUND.
absl::StatusOr<std::string> RealPath(const std::string& path);

}  // namespace bailiwick::os
