#include "services/agent/home/consume.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/patterns.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/os/tree.h"
#include "services/agent/home/display_path.h"
#include "services/agent/home/scan_cache.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {
namespace {

constexpr absl::Duration kLeastRest = absl::Seconds(1);
constexpr const char* kGoing = ".bailiwick-consumed";  // beside the file, for the moment between rename and removal
constexpr size_t kMostAtOnce = 256;                    // files open, with leases
constexpr absl::Duration kLongestWait = absl::Seconds(1);  // of who opens one for writing meanwhile
constexpr absl::Duration kGrace = absl::Milliseconds(50);  // an open takes no longer from the name to the lease
constexpr uint64_t kLarge = 16 << 20;                      // reading it back takes a while, in which the others wait
constexpr size_t kLongestPath = 4000;                      // with the other name at its end

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

// What the version has in common with the one whose content was given up since others hold it, as they signed.
class GivenUp {
 public:
  GivenUp(DatasetHandle& dataset, const Digest& root) : dataset_(dataset), root_(root) {}

  absl::StatusOr<bool> Holds(const store::Entry& entry) {
    BW_RETURN_IF_ERROR(Look());
    if (!base_root_.has_value()) return false;
    BW_ASSIGN_OR_RETURN(const std::optional<store::Entry> there,
                        store::FindEntry(dataset_.nodes.get(), *base_root_, entry.path));
    return there.has_value() && there->type == store::EntryType::kFile && store::SameContent(*there, entry);
  }

 private:
  // A version may be given up while the walk goes on.
  absl::Status Look() {
    if (number_ == 0) {
      BW_ASSIGN_OR_RETURN(const std::vector<store::CatalogVersion> versions, dataset_.catalog->List(dataset_.id));
      for (const auto& version : versions) {
        if (version.record.manifest_root == root_) number_ = version.record.number;
      }
      if (number_ == 0) return absl::OkStatus();
    }
    const VersionNumber base = dataset_.dropped->BaseOf(number_);
    if (base == base_) return absl::OkStatus();
    base_root_.reset();
    if (base != 0) {
      BW_ASSIGN_OR_RETURN(const auto version, dataset_.catalog->Find(dataset_.id, base));
      if (version.has_value()) base_root_ = version->record.manifest_root;
    }
    base_ = base;
    return absl::OkStatus();
  }

  DatasetHandle& dataset_;
  const Digest root_;
  VersionNumber number_ = 0, base_ = 0;
  std::optional<Digest> base_root_;
};

// Whether these are the bytes that the version has, read and hashed once more. Not asked of files with holes.
absl::StatusOr<bool> IsContent(DatasetHandle& dataset, const store::Entry& entry, os::TreeFile& file) {
  if (!entry.holes.empty()) return false;
  bool same = true;
  uint64_t offset = 0;
  std::string bytes;
  BW_RETURN_IF_ERROR(
      store::ForEachChunk(dataset.nodes.get(), entry, [&](const store::Reference& chunk) -> absl::Status {
        if (!same) return absl::OkStatus();
        bytes.resize(chunk.length);
        BW_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(offset, bytes.data(), bytes.size()));
        same = read == bytes.size() && crypto::Sha256(bytes) == chunk.digest;
        offset += chunk.length;
        return absl::OkStatus();
      }));
  return same && offset == entry.size;
}

enum class Taking { kTaken, kStays, kDamaged };

// Files that lost their names and go once nobody can be on the way to them any more: an open that had found one before
// has it open for writing by then, or waits for the lease.
class Leaving {
 public:
  Leaving(os::TreeDir* root, const os::Clock* clock, Consumed* consumed)
      : root_(root), clock_(clock), consumed_(consumed) {}
  ~Leaving() { Settle().IgnoreError(); }

  // `safe`: what becomes of it by what is known of its content. `before`: asked right before it loses its name.
  absl::StatusOr<Taking> Take(const WalkItem& item, const std::function<absl::StatusOr<Taking>(os::TreeFile&)>& safe,
                              const std::function<absl::Status()>& before);
  absl::Status Settle();

 private:
  struct One {
    std::unique_ptr<os::TreeFile> file;  // with the lease
    std::string path, going;
    os::NodeStat stat;
  };
  std::string NameFor(const std::string& path);  // empty: all are taken
  absl::StatusOr<bool> Settle(const One& one);   // whether it is gone
  absl::Status GiveBack(const One& one);

  os::TreeDir* const root_;
  const os::Clock* const clock_;
  Consumed* const consumed_;
  std::vector<One> waiting_;
  absl::Duration since_;
};

std::string Leaving::NameFor(const std::string& path) {
  const std::string stem = absl::StrCat(path.substr(0, path.rfind('/') + 1), kGoing);
  if (absl::StartsWith(path, stem)) return path;  // left by a crash, and in a version under this name since
  for (size_t i = 0; i < kMostAtOnce; ++i) {
    std::string name = absl::StrCat(stem, "-", waiting_.size() + i);
    if (absl::IsNotFound(root_->Stat(name).status())) return name;
  }
  return "";
}

absl::StatusOr<Taking> Leaving::Take(const WalkItem& item,
                                     const std::function<absl::StatusOr<Taking>(os::TreeFile&)>& safe,
                                     const std::function<absl::Status()>& before) {
  const bool due = waiting_.size() >= kMostAtOnce || clock_->BootTime() - since_ > kLongestWait;
  if (!waiting_.empty() && (due || item.stat.size > kLarge)) BW_RETURN_IF_ERROR(Settle());
  auto file = root_->OpenRead(item.path);
  if (!file.ok()) {
    if (absl::IsNotFound(file.status())) return Taking::kStays;
    return file.status();
  }
  // Before the lease, which the kernel takes away from whoever keeps a writer waiting for long.
  BW_ASSIGN_OR_RETURN(const Taking may, safe(**file));
  if (may != Taking::kTaken) return may;
  if (absl::Status kept = (*file)->KeepUnwritten(); !kept.ok() && !absl::IsUnimplemented(kept)) {
    if (absl::IsUnavailable(kept)) return Taking::kStays;
    return kept;
  }
  BW_ASSIGN_OR_RETURN(const os::NodeStat now, (*file)->Stat());
  if (!Same(now, item.stat) || now.ctime_ns != item.stat.ctime_ns) return Taking::kStays;
  One one{*std::move(file), item.path, NameFor(item.path), item.stat};
  if (one.going.empty()) return Taking::kStays;
  BW_RETURN_IF_ERROR(before());
  if (one.going != one.path) BW_RETURN_IF_ERROR(root_->Rename(one.path, one.going));
  if (waiting_.empty()) since_ = clock_->BootTime();
  waiting_.push_back(std::move(one));
  return Taking::kTaken;
}

absl::Status Leaving::Settle() {
  if (waiting_.empty()) return absl::OkStatus();
  clock_->SleepFor(kGrace);
  absl::Status first;
  for (const One& one : waiting_) {
    const absl::StatusOr<bool> gone = Settle(one);
    if (first.ok()) first = gone.status();
    consumed_->files += gone.ok() && *gone;
    consumed_->bytes += gone.ok() && *gone ? one.stat.size : 0;
    consumed_->left += gone.ok() && !*gone;
  }
  waiting_.clear();
  return first;
}

absl::StatusOr<bool> Leaving::Settle(const One& one) {
  const absl::StatusOr<os::NodeStat> renamed = root_->Stat(one.going), open = one.file->Stat();
  const bool as_it_was = renamed.ok() && open.ok() && Same(*renamed, one.stat) && Same(*open, one.stat);
  if (as_it_was && !absl::IsUnavailable(one.file->KeepUnwritten())) {
    BW_RETURN_IF_ERROR(root_->RemoveFile(one.going));
    return true;
  }
  BW_RETURN_IF_ERROR(GiveBack(one));
  return false;
}

// Another file came to the name, or it is written to: it gets its name back, unless that is taken again.
absl::Status Leaving::GiveBack(const One& one) {
  if (one.going == one.path) return absl::OkStatus();
  absl::Status back = root_->RenameNew(one.going, one.path);
  if (absl::IsUnimplemented(back)) {
    back = root_->Link(*root_, one.going, one.path);
    if (back.ok()) return root_->RemoveFile(one.going);
  }
  return absl::IsAlreadyExists(back) ? absl::OkStatus() : back;
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
  Leaving leaving(dir.get(), clock, &consumed);
  GivenUp given_up(dataset, root);
  // One that waited here while the content of the version was given up goes as well, if it is what others hold.
  auto safe = [&](os::TreeFile& file) -> absl::StatusOr<Taking> {
    BW_ASSIGN_OR_RETURN(const bool whole, ReadsBack(dataset, entry));
    if (whole) return Taking::kTaken;
    BW_ASSIGN_OR_RETURN(const bool held, given_up.Holds(entry));
    if (!held) return Taking::kDamaged;
    BW_ASSIGN_OR_RETURN(const bool same, IsContent(dataset, entry, file));
    return same ? Taking::kTaken : Taking::kStays;
  };
  bool began = false;
  auto before = [&] { return std::exchange(began, true) ? absl::OkStatus() : before_first(); };
  WalkItem item;
  for (;;) {
    BW_ASSIGN_OR_RETURN(bool more, walker.Next(&item));
    if (!more) break;
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
    absl::StatusOr<Taking> taken = Taking::kStays;
    if (item.path.size() < kLongestPath) taken = leaving.Take(item, safe, before);
    if (IsKeptOut(taken.status())) {
      ++consumed.left;
      ++consumed.refused;
      continue;
    }
    if (!taken.ok()) return Annotate(taken.status(), absl::StrCat(source.path, "/", DisplayPath(item.path)));
    consumed.left += *taken != Taking::kTaken;
    consumed.damaged += *taken == Taking::kDamaged;
  }
  absl::Status settled = leaving.Settle();
  if (!settled.ok()) return Annotate(settled, source.path);
  return consumed;
}

}  // namespace bailiwick::agent
