// A commit of what a watch saw change: each path is looked at, and what the version before said of it is edited.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "services/agent/home/commit_run.h"
#include "services/agent/home/scan_cache_changes.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kMaxEdits = 200'000;  // held in memory; with more a scan is as good

class ChangeRun : public CommitRun {
 public:
  explicit ChangeRun(const CommitContext& context) : CommitRun(context) {}
  absl::StatusOr<std::optional<CommitOutcome>> Run();

 private:
  void Expect(const PathChanges& changes);
  absl::Status Look(const PathChanges& changes);
  bool TouchesMounts(const PathChanges& changes) const;
  absl::Status LookAt(const std::string& path, ChangeKind kind);
  // Item of a path below the root; nothing: nothing of the source is there.
  absl::StatusOr<std::optional<WalkItem>> Find(const std::string& path);
  absl::Status Visit(const WalkItem& item, const store::Entry* previous);
  void VisitExcluded(const WalkItem& item, const store::Entry* previous);
  absl::Status VisitFile(const WalkItem& item, const store::Entry* previous);
  absl::Status VisitTree(const WalkItem& item);
  void Absent(const std::string& path);
  void Edit(store::Entry entry) {
    store::ManifestEdit& edit = edits_[entry.path];
    edit.entry = std::move(entry);
  }
  void LeaveForLater(const std::string& path);
  void KeepRecord(const std::string& path, const os::NodeStat& stat);
  // With include patterns: what they let through is in the version, and the directories that lead there.
  absl::Status LeadTo(const std::string& path);
  absl::StatusOr<bool> LeadsSomewhere(const std::string& directory);
  absl::Status DropWhatLeadsNowhere();
  absl::StatusOr<std::optional<CommitOutcome>> Commit(const PathChanges& changes);

  std::map<std::string, store::ManifestEdit, ManifestOrder> edits_;
  ScanCacheChanges records_;
  PathChanges later_;
  std::vector<std::pair<std::string, os::NodeStat>> links_;  // files of several names, as they were read
  bool clearing_ = false;                                    // of the tree that is looked at nothing stays by itself
  std::set<std::string, std::less<>> led_;                   // directories that LeadTo has seen to
  bool scan_ = false;                                        // there is something that only a scan gets right
};

void ChangeRun::LeaveForLater(const std::string& path) {
  NoteName(path, &outcome_.unsettled, &outcome_.unsettled_count);
  later_.emplace(path, ChangeKind::kItself);
}

void ChangeRun::KeepRecord(const std::string& path, const os::NodeStat& stat) {
  std::optional<ScanRecord> record = RecordOf(path, stat);
  if (!record && context_.source.consume) later_.emplace(path, ChangeKind::kItself);  // only with one is it consumed
  records_.Set(path, std::move(record));
  // The watch hears of it when it is in a version. One that had several names may still be written by a lost one.
  const bool had_more = context_.watch->LookAgain(MakeScanRecord(path, stat)) != SourceWatch::Link::kNew;
  if (HasOtherNames(stat) || had_more) links_.emplace_back(path, stat);
}

absl::Status ChangeRun::LeadTo(const std::string& path) {
  if (selection_->include.empty()) return absl::OkStatus();
  for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string directory = path.substr(0, slash);
    if (!led_.insert(directory).second) continue;
    if (auto edit = edits_.find(directory); edit == edits_.end()) {
      BW_ASSIGN_OR_RETURN(std::optional<store::Entry> previous,
                          store::FindEntry(&base_, newest_->record.manifest_root, directory));
      if (previous && previous->type == store::EntryType::kDirectory) continue;
    } else if (edit->second.entry) {
      continue;
    }
    WalkItem item;
    item.path = directory;
    absl::StatusOr<os::NodeStat> stat = root_->Stat(directory);
    if (!stat.ok() || stat->type != os::NodeType::kDirectory) {
      scan_ = true;  // it went meanwhile
      return absl::OkStatus();
    }
    item.stat = *stat;
    records_.Drop(directory);
    Edit(MakeDirectory(item, nullptr));
  }
  return absl::OkStatus();
}

// Something that the patterns let through is below it, by the edits or still from before.
absl::StatusOr<bool> ChangeRun::LeadsSomewhere(const std::string& directory) {
  auto leads = [&](const store::Entry& entry) {
    return entry.type != store::EntryType::kDirectory || selection_->Included(entry.path, true);
  };
  for (auto it = edits_.upper_bound(directory); it != edits_.end() && store::IsBelow(it->first, directory); ++it) {
    if (it->second.entry && leads(*it->second.entry)) return true;
  }
  auto clears = [&](std::string_view path) {
    auto edit = edits_.find(path);
    return edit != edits_.end() && (edit->second.clear_below || !edit->second.entry ||
                                    edit->second.entry->type != store::EntryType::kDirectory);
  };
  for (size_t slash = directory.find('/'); slash != std::string::npos; slash = directory.find('/', slash + 1)) {
    if (clears(std::string_view(directory).substr(0, slash))) return false;
  }
  if (clears(directory)) return false;
  store::ManifestCursor before(&base_, newest_->record.manifest_root, directory);
  std::string cleared;
  store::Entry entry;
  for (;;) {
    BW_ASSIGN_OR_RETURN(bool more, before.Next(&entry));
    if (!more) return false;
    if (entry.path == directory || (!cleared.empty() && store::IsBelow(entry.path, cleared))) continue;
    if (!store::IsBelow(entry.path, directory)) return false;
    if (clears(entry.path)) {
      cleared = entry.path;
    } else if (edits_.count(entry.path) == 0 && leads(entry)) {
      return true;
    }
  }
}

absl::Status ChangeRun::DropWhatLeadsNowhere() {
  std::set<std::string, ManifestOrder> doubtful;  // directories from which something went
  for (const auto& [path, edit] : edits_) {
    if (edit.entry && !edit.clear_below) continue;
    if (edit.entry && !selection_->Included(path, true)) doubtful.insert(path);
    for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      if (!selection_->Included(path.substr(0, slash), true)) doubtful.insert(path.substr(0, slash));
    }
  }
  for (auto directory = doubtful.rbegin(); directory != doubtful.rend(); ++directory) {  // the deepest first
    BW_ASSIGN_OR_RETURN(bool leads, LeadsSomewhere(*directory));
    if (!leads) edits_[*directory] = {};
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<WalkItem>> ChangeRun::Find(const std::string& path) {
  WalkItem item;
  absl::StatusOr<os::NodeStat> stat = root_->Stat(path);
  if (!stat.ok()) {
    // Anything but "it is not there" is no reason to let go of what was there: a scan finds out.
    scan_ = !absl::IsNotFound(stat.status());
    return std::nullopt;
  }
  if (selection_->Ignored(path, stat->type == os::NodeType::kDirectory)) return std::nullopt;
  item.path = item.name = path;
  item.stat = *stat;
  item.dir = root_.get();
  return item;
}

void ChangeRun::Absent(const std::string& path) {
  if (context_.watch != nullptr) context_.watch->LookNoMore(path);
  records_.Drop(path);
  if (context_.source.keep_absent) return;
  edits_[path];  // goes, with all below it
}

absl::Status ChangeRun::VisitFile(const WalkItem& item, const store::Entry* previous) {
  ++counts_.files;
  const SourceWatch::Link link = context_.watch->LookAgain(MakeScanRecord(item.path, item.stat));
  const bool stays = !clearing_ && previous != nullptr && previous->type == store::EntryType::kFile;
  if (link == SourceWatch::Link::kSame && stays) return absl::OkStatus();
  if (link == SourceWatch::Link::kNew && HasOtherNames(item.stat)) scan_ = true;  // its other names are not known
  if (Unsettled(item.stat)) {
    LeaveForLater(item.path);
    if (previous == nullptr || previous->type != store::EntryType::kFile) return Absent(item.path), absl::OkStatus();
    Edit(*previous);
    return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(LeadTo(item.path));
  os::NodeStat read;
  BW_ASSIGN_OR_RETURN(ReadResult result, ReadContent(item, &read));
  switch (result) {
    case ReadResult::kSteady:
      KeepRecord(item.path, read);
      break;
    case ReadResult::kChanging:
      records_.Drop(item.path);
      LeaveForLater(item.path);
      break;
    case ReadResult::kVanished:
    case ReadResult::kReplaced:  // what took its place is another change
      Absent(item.path);
      break;
  }
  return absl::OkStatus();
}

void ChangeRun::VisitExcluded(const WalkItem& item, const store::Entry* previous) {
  if (previous == nullptr) return;
  if (item.stat.type != os::NodeType::kDirectory) return Absent(item.path);
  records_.Drop(item.path);
  if (previous->type == store::EntryType::kDirectory) return Edit(MakeDirectory(item, previous));
  edits_[item.path];  // what was there goes
}

absl::Status ChangeRun::Visit(const WalkItem& item, const store::Entry* previous) {
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(CheckPath(item.path));
  if (edits_.size() + later_.size() > kMaxEdits) scan_ = true;
  if (!selection_->Included(item.path, item.stat.type == os::NodeType::kDirectory)) {
    VisitExcluded(item, previous);
    return absl::OkStatus();
  }
  switch (item.stat.type) {
    case os::NodeType::kDirectory:
      BW_RETURN_IF_ERROR(LeadTo(item.path));
      Edit(MakeDirectory(item, previous));
      return absl::OkStatus();
    case os::NodeType::kFile:
      return VisitFile(item, previous);
    case os::NodeType::kSymlink: {
      BW_ASSIGN_OR_RETURN(std::optional<store::Entry> entry, ReadSymlink(item));
      if (!entry) return Absent(item.path), absl::OkStatus();
      BW_RETURN_IF_ERROR(LeadTo(item.path));
      records_.Drop(item.path);
      return pipeline_->Add(*std::move(entry));
    }
    case os::NodeType::kOther:
      scan_ = true;  // the version says how many of them the source has
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status ChangeRun::VisitTree(const WalkItem& top) {
  store::ManifestEdit& edit = edits_[top.path];
  edit.clear_below = !context_.source.keep_absent;
  records_.DropBelow(top.path);
  absl::StatusOr<std::unique_ptr<os::TreeDir>> dir = root_->OpenDir(top.path);
  if (absl::IsNotFound(dir.status())) return absl::OkStatus();  // its going is a change as well
  if (!dir.ok()) return Annotate(dir.status(), Label(top.path));
  BW_ASSIGN_OR_RETURN(const os::NodeStat stat, (*dir)->Stat(""));
  BW_RETURN_IF_ERROR(Annotate(own_.Check(stat), Label(top.path)));
  context_.watch->Enter(**dir, top.path);
  const std::string prefix = top.path + "/";
  TreeWalker walker(dir->get(), context_.source.path + "/" + top.path,
                    [&](std::string_view path, const os::NodeStat& stat) {
                      return !selection_->Ignored(prefix + std::string(path), stat.type == os::NodeType::kDirectory);
                    });
  walker.Refuse([this](const os::NodeStat& below) { return own_.Check(below); });
  walker.BeforeListing(
      [&](os::TreeDir& below, std::string_view path) { context_.watch->Enter(below, prefix + std::string(path)); });
  clearing_ = edit.clear_below;
  WalkItem item;
  while (!scan_) {
    BW_ASSIGN_OR_RETURN(bool more, walker.Next(&item));
    if (!more) break;
    item.path.insert(0, prefix);
    BW_ASSIGN_OR_RETURN(std::optional<store::Entry> previous,
                        store::FindEntry(&base_, newest_->record.manifest_root, item.path));
    BW_RETURN_IF_ERROR(Visit(item, previous ? &*previous : nullptr));
  }
  clearing_ = false;
  return absl::OkStatus();
}

absl::Status ChangeRun::LookAt(const std::string& path, ChangeKind kind) {
  if (selection_->IgnoredAbove(path)) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(std::optional<WalkItem> item, Find(path));
  if (scan_) return absl::OkStatus();
  if (!item && kind != ChangeKind::kContent) return Absent(path), absl::OkStatus();
  BW_ASSIGN_OR_RETURN(std::optional<store::Entry> previous,
                      store::FindEntry(&base_, newest_->record.manifest_root, path));
  if (!item) {
    // Written through a descriptor that was opened by this name: what it leads to may have another by now. Not where
    // its directory went with it: that is a change of its own.
    const size_t slash = path.rfind('/');
    const bool went_alone = slash == std::string::npos || root_->Stat(path.substr(0, slash)).ok();
    scan_ = !previous && went_alone && absl::IsNotFound(root_->Stat(path).status());
    return Absent(path), absl::OkStatus();
  }
  const bool directory = item->stat.type == os::NodeType::kDirectory;
  const bool was_directory = previous && previous->type == store::EntryType::kDirectory;
  if (was_directory && !directory) records_.DropBelow(path);
  BW_RETURN_IF_ERROR(Visit(*item, previous ? &*previous : nullptr));
  if (!directory) return absl::OkStatus();
  // One that the patterns leave out is watched all the same: what came into it is a change of its own.
  if (!previous && kind != ChangeKind::kTree && !selection_->Included(path, true)) return absl::OkStatus();
  if (kind == ChangeKind::kTree || !was_directory) return VisitTree(*item);
  absl::Status readable = root_->OpenDir(path).status();
  return readable.ok() || absl::IsNotFound(readable) ? absl::OkStatus() : Annotate(readable, Label(path));
}

void ChangeRun::Expect(const PathChanges& changes) {
  if (!context_.options.count) return;
  uint64_t bytes = 0;
  for (const auto& [path, kind] : changes) {
    if (kind == ChangeKind::kTree) return;  // nobody has counted what is below
    absl::StatusOr<os::NodeStat> stat = root_->Stat(path);
    if (stat.ok() && stat->type == os::NodeType::kFile) bytes += stat->size;
  }
  counts_.total_bytes = bytes;
  counts_.total_estimated = true;
}

absl::Status ChangeRun::Look(const PathChanges& changes) {
  std::string done;  // a tree that was looked at as a whole
  for (const auto& [path, kind] : changes) {
    if (scan_) return absl::OkStatus();
    if (!done.empty() && store::IsBelow(path, done)) continue;
    BW_RETURN_IF_ERROR(LookAt(path, kind));
    auto edit = edits_.find(path);
    if (edit != edits_.end() && edit->second.clear_below) done = path;
  }
  return pipeline_->Finish();
}

// What was unmounted looks as if its owner had emptied it: a scan says more.
bool ChangeRun::TouchesMounts(const PathChanges& changes) const {
  return std::any_of(changes.begin(), changes.end(), [this](const auto& change) {
    if (change.second != ChangeKind::kTree) return false;
    return std::any_of(mounted_.begin(), mounted_.end(), [&](const std::string& mount) {
      return mount == change.first || change.first.empty() || store::IsBelow(mount, change.first);
    });
  });
}

absl::StatusOr<std::optional<CommitOutcome>> ChangeRun::Commit(const PathChanges& changes) {
  if (TouchesMounts(changes)) return std::nullopt;
  Expect(changes);
  if (absl::Status status = Look(changes); !status.ok()) {
    if (!absl::IsCancelled(status) && !absl::IsResourceExhausted(status)) BW_RETURN_IF_ERROR(CheckSource());
    return Described(status);
  }
  BW_RETURN_IF_ERROR(CheckSource());
  if (!StillMounted()) return std::nullopt;
  if (!scan_ && !selection_->include.empty()) BW_RETURN_IF_ERROR(DropWhatLeadsNowhere());
  if (scan_) return std::nullopt;
  std::vector<store::ManifestEdit> edits;
  edits.reserve(edits_.size());
  for (auto& [path, edit] : edits_) {
    edit.path = path;
    edits.push_back(std::move(edit));
  }
  const store::VersionRecord& before = newest_->record;
  absl::StatusOr<store::ManifestSummary> summary = store::EditManifest(
      &base_, before.manifest_root, before.files, edits,
      [this](const Digest& digest, std::string_view encoded) { return StoreNode(digest, encoded); });
  if (!summary.ok()) return Described(summary.status());
  // No file any more: is that meant?
  if (summary->entries == 0 || (summary->files == 0 && summary->entries < before.entries)) return std::nullopt;
  if (absl::Status status = Publish(*summary, before.skipped); !status.ok()) return Described(status);
  records_.Save(dataset_.files, ScanCachePath(dataset_.directory), before.manifest_root, summary->root);
  for (const auto& [path, stat] : links_) WatchLinks(path, stat);
  context_.watch->Rebind(Binding(summary->root));
  context_.watch->Return(std::move(later_));
  Report();
  return std::move(outcome_);
}

absl::StatusOr<std::optional<CommitOutcome>> ChangeRun::Run() {
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(Open([this](store::Entry entry) -> absl::Status {
    // It waits for the others: not with a reference for each chunk of a big file.
    BW_RETURN_IF_ERROR(store::FoldChunks(
        [this](const Digest& digest, std::string_view encoded) { return StoreNode(digest, encoded); }, &entry));
    Edit(std::move(entry));
    return absl::OkStatus();
  }));
  if (!newest_ || mounts_changed_) return std::nullopt;
  std::optional<PathChanges> changes = context_.watch->Take(Binding(newest_->record.manifest_root));
  if (!changes) return std::nullopt;
  absl::StatusOr<std::optional<CommitOutcome>> outcome = Commit(*changes);
  // Not in a version yet, whatever becomes of the scan that may follow.
  if (!outcome.ok() || !outcome->has_value()) context_.watch->Return(*std::move(changes));
  return outcome;
}

}  // namespace

absl::StatusOr<std::optional<CommitOutcome>> CommitByChanges(const CommitContext& context) {
  return ChangeRun(context).Run();
}

}  // namespace bailiwick::agent
