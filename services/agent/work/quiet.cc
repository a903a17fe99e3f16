#include "services/agent/work/quiet.h"

#include <algorithm>

#include "common/base/status.h"
#include "common/os/tree.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {

absl::StatusOr<absl::Time> NewestChange(const SourceSpec& source) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> root, os::OpenTree(source.path));
  BW_ASSIGN_OR_RETURN(os::NodeStat stat, root->Stat(""));
  int64_t newest = std::max(stat.mtime_ns, stat.ctime_ns);
  TreeWalker walker(root.get(), source.path, [](std::string_view, const os::NodeStat&) { return true; });
  WalkItem item;
  while (true) {
    BW_ASSIGN_OR_RETURN(bool more, walker.Next(&item));
    if (!more) return absl::FromUnixNanos(newest);
    newest = std::max({newest, item.stat.mtime_ns, item.stat.ctime_ns});
  }
}

}  // namespace bailiwick::agent
