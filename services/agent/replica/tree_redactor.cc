#include "services/agent/replica/tree_redactor.h"

#include "common/base/status.h"

namespace bailiwick::agent {
namespace {

constexpr uint32_t kOwnerAll = 0700;

absl::Status RemoveFrom(os::TreeDir& tree, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
  absl::StatusOr<os::NodeStat> stat = tree.Stat(path);
  if (absl::IsNotFound(stat.status())) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(const os::NodeStat directory, tree.Stat(parent));
  const bool locked = (directory.mode & kOwnerAll) != kOwnerAll;
  if (locked) BW_RETURN_IF_ERROR(tree.SetMode(parent, directory.mode | kOwnerAll));
  absl::Status removed = tree.RemoveTree(path);  // whatever lies there now
  if (locked) BW_RETURN_IF_ERROR(tree.SetMode(parent, directory.mode));
  BW_RETURN_IF_ERROR(removed);
  return parent.empty() ? absl::OkStatus() : tree.SetMtime(parent, directory.mtime_ns);
}

}  // namespace

absl::Status RedactTree(DatasetHandle& dataset, os::TreeDir& tree, const Digest& manifest) {
  store::ManifestCursor cursor(dataset.nodes.get(), manifest);
  store::Entry entry;
  while (true) {
    BW_ASSIGN_OR_RETURN(bool more, cursor.Next(&entry));
    if (!more) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(auto redacted, dataset.redactions->Find(dataset.nodes.get(), entry));
    if (redacted != nullptr) BW_RETURN_IF_ERROR(RemoveFrom(tree, entry.path));
  }
}

}  // namespace bailiwick::agent
