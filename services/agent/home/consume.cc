#include "services/agent/home/consume.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/tree.h"
#include "services/agent/home/display_path.h"
#include "services/agent/home/patterns.h"
#include "services/agent/home/scan_cache.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {
namespace {

constexpr absl::Duration kLeastRest = absl::Seconds(1);
constexpr const char* kGoing = ".bailiwick-consumed";  // beside the file, for the moment between rename and removal

bool Same(const os::NodeStat& a, const os::NodeStat& b) {
  return a.inode == b.inode && a.device == b.device && a.size == b.size && a.mtime_ns == b.mtime_ns;
}

// False: it stays.
absl::StatusOr<bool> Take(const WalkItem& item) {
  auto file = item.dir->OpenRead(item.name);
  if (!file.ok()) return absl::IsNotFound(file.status()) ? absl::StatusOr<bool>(false) : file.status();
  if (absl::Status kept = (*file)->KeepUnwritten(); !kept.ok() && !absl::IsUnimplemented(kept)) {
    return absl::IsUnavailable(kept) ? absl::StatusOr<bool>(false) : kept;
  }
  BW_ASSIGN_OR_RETURN(os::NodeStat now, (*file)->Stat());
  if (!Same(now, item.stat) || now.ctime_ns != item.stat.ctime_ns) return false;
  const std::string going = absl::StrCat(item.name.substr(0, item.name.rfind('/') + 1), kGoing);
  if (item.name == going) {  // left by a crash, and in a version under this name since
    BW_RETURN_IF_ERROR(item.dir->RemoveFile(going));
    return true;
  }
  if (item.dir->Stat(going).ok()) return false;  // that one first
  BW_RETURN_IF_ERROR(item.dir->Rename(item.name, going));
  BW_ASSIGN_OR_RETURN(os::NodeStat renamed, item.dir->Stat(going));
  BW_ASSIGN_OR_RETURN(os::NodeStat open, (*file)->Stat());
  if (Same(renamed, item.stat) && Same(open, item.stat)) {
    BW_RETURN_IF_ERROR(item.dir->RemoveFile(going));
    return true;
  }
  // Another file came to the name, or it was written to: it gets its name back, unless that is taken again.
  absl::Status back = item.dir->Link(*item.dir, going, item.name);
  if (!back.ok()) return absl::IsAlreadyExists(back) ? absl::StatusOr<bool>(false) : back;
  BW_RETURN_IF_ERROR(item.dir->RemoveFile(going));
  return false;
}

}  // namespace

absl::StatusOr<Consumed> ConsumeSource(DatasetHandle& dataset, const SourceSpec& source, const Digest& root,
                                       const os::Clock* clock, const std::function<absl::Status()>& before_first,
                                       const std::atomic<bool>& cancelled) {
  BW_ASSIGN_OR_RETURN(PatternList ignore, PatternList::Parse(source.ignore));
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> dir, os::OpenTree(source.path));
  ScanCache cache(dataset.files, ScanCachePath(dataset.directory), root);
  TreeWalker walker(dir.get(), source.path, [&](std::string_view path, const os::NodeStat& stat) {
    return ignore.Match(path, stat.type == os::NodeType::kDirectory) != PatternList::Verdict::kMatch;
  });
  const absl::Duration rest = std::max(source.settle, kLeastRest);
  Consumed consumed;
  bool began = false;
  WalkItem item;
  for (;;) {
    BW_ASSIGN_OR_RETURN(bool more, walker.Next(&item));
    if (!more) return consumed;
    if (cancelled.load(std::memory_order_relaxed)) return absl::CancelledError("stopped");
    if (item.stat.type != os::NodeType::kFile) continue;
    // Looked up for every file: the cache is read in step with the walk.
    const bool held = cache.Unchanged(item.path, item.stat);
    if (!held || clock->Now() - absl::FromUnixNanos(item.stat.mtime_ns) < rest) {
      ++consumed.left;
      continue;
    }
    if (!std::exchange(began, true)) BW_RETURN_IF_ERROR(before_first());
    absl::StatusOr<bool> gone = Take(item);
    if (!gone.ok()) return Annotate(gone.status(), absl::StrCat(source.path, "/", DisplayPath(item.path)));
    consumed.files += *gone;
    consumed.bytes += *gone ? item.stat.size : 0;
    consumed.left += !*gone;
  }
}

}  // namespace bailiwick::agent
