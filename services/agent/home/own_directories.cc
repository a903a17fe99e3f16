#include "services/agent/home/own_directories.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::agent {
namespace {

absl::Status Refused(const std::string& source, const char* how, const std::string& own, const std::string& remedy) {
  return absl::FailedPreconditionError(absl::StrCat(
      "source ", source, how, own, ", a directory of the agent's own (its data, keys and replicas); ", remedy));
}

// Below the root of a source: `real` without its first components.
std::string_view Last(std::string_view real, size_t components) {
  size_t at = real.size();
  for (; components > 0 && at != std::string_view::npos && at > 0; --components) at = real.rfind('/', at - 1);
  return at == std::string_view::npos ? real : real.substr(at + 1);
}

bool LeftOut(std::string_view path, const std::function<bool(std::string_view)>& ignored) {
  for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    if (ignored(path.substr(0, slash))) return true;
  }
  return ignored(path);
}

}  // namespace

absl::StatusOr<OwnDirectories> OwnDirectories::Find(const std::vector<std::string>& paths) {
  OwnDirectories own;
  for (const std::string& path : paths) {
    auto line = os::DirectoriesUpFrom(path);
    if (absl::IsNotFound(line.status())) continue;  // not made yet
    if (!line.ok()) return line.status();
    own.known_.try_emplace(line->front(), path);
    own.paths_.push_back(path);
  }
  if (own.paths_.empty() || own.paths_.front() != paths.front()) return own;
  // A bind mount of a part has nothing of the whole above it.
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> data, os::OpenTree(paths.front()));
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, data->List());
  for (const std::string& name : names) {
    auto stat = data->Stat(name);
    if (!stat.ok() || stat->type != os::NodeType::kDirectory) continue;
    own.known_.try_emplace({stat->device, stat->inode}, absl::StrCat(paths.front(), "/", name));
  }
  return own;
}

absl::Status OwnDirectories::CheckSource(os::TreeDir& root, const std::string& source,
                                         const std::function<bool(std::string_view)>& ignored) const {
  if (known_.empty()) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(std::vector<os::DirectoryId> above, os::DirectoriesUpFrom(root));
  for (const os::DirectoryId& id : above) {
    auto found = known_.find(id);
    if (found == known_.end()) continue;
    return Refused(source, id == above.front() ? " is " : " lies in ", found->second,
                   "name another one in the Dataset");
  }
  for (const std::string& path : paths_) {
    BW_ASSIGN_OR_RETURN(std::vector<os::DirectoryId> line, os::DirectoriesUpFrom(path));
    const auto at = std::find(line.begin(), line.end(), above.front());
    if (at == line.end()) continue;
    BW_ASSIGN_OR_RETURN(const std::string real, os::RealPath(path));
    const std::string_view below = Last(real, static_cast<size_t>(at - line.begin()));
    if (LeftOut(below, ignored)) continue;
    return Refused(
        source, " holds ", path,
        absl::StrCat("name another one in the Dataset, or ignore it there (\"/", std::string(below), "/\")"));
  }
  return absl::OkStatus();
}

absl::Status OwnDirectories::Check(const os::NodeStat& directory) const {
  auto found = known_.find({directory.device, directory.inode});
  if (found == known_.end()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("this is ", found->second,
                                                    ", a directory of the agent's own (its data, keys and replicas); "
                                                    "ignore it in the Dataset, or name another source"));
}

}  // namespace bailiwick::agent
