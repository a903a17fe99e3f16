#include "services/agent/home/consume.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/patterns.h"
#include "common/base/status.h"
#include "common/os/tree.h"
#include "services/agent/home/display_path.h"
#include "services/agent/home/scan_cache.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {
namespace {

constexpr absl::Duration kLeastRest = absl::Seconds(1);
constexpr const char* kGoing = ".bailiwick-consumed";  // beside the file, for the moment between rename and removal

constexpr uint64_t kReadBack = 4 << 20;  // bytes at a time

bool Same(const os::NodeStat& a, const os::NodeStat& b) {
  return a.inode == b.inode && a.device == b.device && a.size == b.size && a.mtime_ns == b.mtime_ns;
}

// Whether the store gives back all of a file: its bytes may have been here already when it was committed, and have gone
// bad since they came.
absl::StatusOr<bool> ReadsBack(DatasetHandle& dataset, const store::Entry& entry) {
  std::vector<Digest> chunks;
  uint64_t bytes = 0;
  bool whole = true;
  auto read = [&]() -> absl::Status {
    for (const auto& chunk : dataset.store->ReadMany(chunks)) {
      if (chunk.ok()) continue;
      if (!absl::IsDataLoss(chunk.status()) && !absl::IsNotFound(chunk.status())) return chunk.status();
      whole = false;
    }
    chunks.clear();
    bytes = 0;
    return absl::OkStatus();
  };
  BW_RETURN_IF_ERROR(store::ForEachChunk(dataset.nodes.get(), entry, [&](const store::Reference& chunk) {
    chunks.push_back(chunk.digest);
    bytes += chunk.length;
    return bytes < kReadBack ? absl::OkStatus() : read();
  }));
  BW_RETURN_IF_ERROR(read());
  return whole;
}

enum class Taking { kGone, kStays, kDamaged };

absl::StatusOr<Taking> Take(const WalkItem& item, const std::function<absl::StatusOr<bool>()>& stored) {
  auto file = item.dir->OpenRead(item.name);
  if (!file.ok()) {
    if (absl::IsNotFound(file.status())) return Taking::kStays;
    return file.status();
  }
  // Before the lease, which the kernel takes away from whoever keeps a writer waiting for long.
  BW_ASSIGN_OR_RETURN(const bool whole, stored());
  if (!whole) return Taking::kDamaged;
  if (absl::Status kept = (*file)->KeepUnwritten(); !kept.ok() && !absl::IsUnimplemented(kept)) {
    if (absl::IsUnavailable(kept)) return Taking::kStays;
    return kept;
  }
  BW_ASSIGN_OR_RETURN(os::NodeStat now, (*file)->Stat());
  if (!Same(now, item.stat) || now.ctime_ns != item.stat.ctime_ns) return Taking::kStays;
  // Who opens it for writing from here on waits for the lease to end, and would write into nothing.
  auto awaited = [&] { return absl::IsUnavailable((*file)->KeepUnwritten()); };
  const std::string going = absl::StrCat(item.name.substr(0, item.name.rfind('/') + 1), kGoing);
  if (item.name == going) {  // left by a crash, and in a version under this name since
    if (awaited()) return Taking::kStays;
    BW_RETURN_IF_ERROR(item.dir->RemoveFile(going));
    return Taking::kGone;
  }
  if (item.dir->Stat(going).ok()) return Taking::kStays;  // that one first
  BW_RETURN_IF_ERROR(item.dir->Rename(item.name, going));
  BW_ASSIGN_OR_RETURN(os::NodeStat renamed, item.dir->Stat(going));
  BW_ASSIGN_OR_RETURN(os::NodeStat open, (*file)->Stat());
  if (Same(renamed, item.stat) && Same(open, item.stat) && !awaited()) {
    BW_RETURN_IF_ERROR(item.dir->RemoveFile(going));
    return Taking::kGone;
  }
  // Another file came to the name, or it is written to: it gets its name back, unless that is taken again.
  absl::Status back = item.dir->Link(*item.dir, going, item.name);
  if (absl::IsAlreadyExists(back)) return Taking::kStays;
  BW_RETURN_IF_ERROR(back);
  BW_RETURN_IF_ERROR(item.dir->RemoveFile(going));
  return Taking::kStays;
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
  BW_RETURN_IF_ERROR(dataset.store->MissRemovedPacks());  // which may be open still, for as long as this agent runs
  store::ManifestCursor cursor(dataset.nodes.get(), root);
  store::Entry entry;  // the first of the version that is not before where the walk is
  bool has_entry = true;
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
    const absl::Time now = clock->Now();
    if (!held || now - ChangedAt(item.stat, now) < rest) {
      ++consumed.left;
      continue;
    }
    while (has_entry && store::ComparePaths(entry.path, item.path) < 0) {
      BW_ASSIGN_OR_RETURN(has_entry, cursor.Next(&entry));
    }
    if (!has_entry || entry.path != item.path) {
      ++consumed.left;
      continue;
    }
    if (!std::exchange(began, true)) BW_RETURN_IF_ERROR(before_first());
    absl::StatusOr<Taking> taken = Take(item, [&] { return ReadsBack(dataset, entry); });
    if (absl::IsPermissionDenied(taken.status())) {
      ++consumed.left;
      ++consumed.refused;
      continue;
    }
    if (!taken.ok()) return Annotate(taken.status(), absl::StrCat(source.path, "/", DisplayPath(item.path)));
    const bool gone = *taken == Taking::kGone;
    consumed.files += gone;
    consumed.bytes += gone ? item.stat.size : 0;
    consumed.left += !gone;
    consumed.damaged += *taken == Taking::kDamaged && dataset.dropped->empty();  // else it may have been given up
  }
}

}  // namespace bailiwick::agent
