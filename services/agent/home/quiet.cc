#include "services/agent/home/quiet.h"

#include <algorithm>

#include "common/base/patterns.h"
#include "common/base/status.h"
#include "common/os/tree.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {

absl::StatusOr<absl::Time> NewestChange(const SourceSpec& source) {
  BW_ASSIGN_OR_RETURN(const Selection selection, Selection::Parse(source.include, source.ignore));
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> root, os::OpenTree(source.path));
  BW_ASSIGN_OR_RETURN(os::NodeStat stat, root->Stat(""));
  int64_t newest = std::max(stat.mtime_ns, stat.ctime_ns);
  TreeWalker walker(root.get(), source.path, [&](std::string_view path, const os::NodeStat& stat) {
    return !selection.Ignored(path, stat.type == os::NodeType::kDirectory);
  });
  WalkItem item;
  while (true) {
    BW_ASSIGN_OR_RETURN(bool more, walker.Next(&item));
    if (!more) return absl::FromUnixNanos(newest);
    if (!selection.Included(item.path, item.stat.type == os::NodeType::kDirectory)) continue;
    newest = std::max({newest, item.stat.mtime_ns, item.stat.ctime_ns});
  }
}

}  // namespace bailiwick::agent
