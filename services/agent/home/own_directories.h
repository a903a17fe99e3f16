// The agent's own directories: its data, its keys, its credentials, what it lays out. Nothing of them is ever in a
// version, whatever path a Dataset names: keys would leave the machine, packs would feed on themselves, and a replica
// would go on under another dataset's labels. By device and inode: symlinks and bind mounts lead nowhere else.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/os/directories.h"
#include "common/os/tree.h"

namespace bailiwick::agent {

class OwnDirectories {
 public:
  OwnDirectories() = default;
  // Those of `paths` (absolute) that are there, and the directories in the first, as they are now.
  static absl::StatusOr<OwnDirectories> Find(const std::vector<std::string>& paths);
  // FAILED_PRECONDITION: the source is one of them, lies in one, or one lies in it that `ignored` (a directory's path
  // below the root) does not leave out.
  absl::Status CheckSource(os::TreeDir& root, const std::string& source,
                           const std::function<bool(std::string_view directory)>& ignored) const;
  // FAILED_PRECONDITION: a directory that was met on the way is one of them.
  absl::Status Check(const os::NodeStat& directory) const;

 private:
  std::vector<std::string> paths_;
  absl::btree_map<os::DirectoryId, std::string> known_;  // to the path by which the agent has it
};

}  // namespace bailiwick::agent
