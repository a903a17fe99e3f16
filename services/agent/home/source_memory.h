// What a dataset remembers of its source since the last scan that made a version, beside what is in the version: with
// it a commit tells what was taken away by a disk that is not there from what its owner deleted.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "common/os/files.h"

namespace bailiwick::agent {

struct SourceMemory {
  std::string path;              // of the source, as the Dataset named it; empty: nothing is remembered
  bool link = false;             // a symlink, which was followed
  // Directories on another file system than the one above them: in the source, there also those mounted from the same
  // one; "": the source itself; else the absolute path of the one above the source that it lies on.
  std::set<std::string> mounts;
  bool operator==(const SourceMemory&) const = default;
};

// <directory of the dataset>/source. One that is missing, or cannot be read, remembers nothing.
SourceMemory LoadSourceMemory(os::Files* files, const std::string& directory);
// Durable on OK; nothing is written when that is what it says.
absl::Status KeepSourceMemory(os::Files* files, const std::string& directory, const SourceMemory& memory);

}  // namespace bailiwick::agent
