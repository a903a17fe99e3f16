#include "services/agent/home/committer.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "services/agent/home/commit_run.h"

namespace bailiwick::agent {
namespace {

constexpr int kMaxWalks = 3;
constexpr absl::Duration kCounting = absl::Milliseconds(500);  // a count that takes longer is not worth its wait

class ScanRun : public CommitRun {
 public:
  explicit ScanRun(const CommitContext& context) : CommitRun(context) {}
  // Nothing: while it was walked something was renamed, and something is missing; only with `doubt`.
  absl::StatusOr<std::optional<CommitOutcome>> Run(bool doubt);

 private:
  absl::Status Prepare();
  // What there is to scan, for who watches the progress: by the version before, else counted.
  void Expect();
  uint64_t Count();  // bytes of files; 0: not in time
  TreeWalker::Filter Ignore();
  absl::Status Scan();
  absl::Status Visit(WalkItem& item);
  absl::Status VisitFile(WalkItem& item, const store::Entry* previous);
  absl::Status Foresee(const WalkItem& item, const store::Entry* previous);
  absl::Status VisitSymlink(const WalkItem& item, const store::Entry* previous);
  // The file of this path as the version before has it, where that one is not read as a whole.
  absl::Status AsBefore(const std::string& path);
  void KeepRecord(const std::string& path, const os::NodeStat& stat);
  // What is left at its previous content is a change that the next commit looks at.
  void LeaveForLater(const std::string& path);

  // The previous version's entry of this path; entries before it that the source lacks are kept or gone.
  absl::StatusOr<const store::Entry*> Previous(std::string_view path);
  absl::Status NextPrevious();
  absl::Status Absent(const store::Entry& entry);
  // Directories that wait for something included in them come first.
  absl::Status Emit(store::Entry entry);
  absl::Status FlushPending(std::string_view path);
  bool Included(const WalkItem& item);
  void NoteMount(const WalkItem& directory);
  absl::Status CheckNotEmpty();
  absl::Status CheckMountsStayed();
  bool preview() const { return context_.preview != nullptr; }

  std::unique_ptr<store::ManifestCursor> cursor_;
  store::Entry previous_;
  bool has_previous_ = false;
  std::unique_ptr<ScanCache> cache_;
  std::unique_ptr<store::ManifestBuilder> builder_;
  std::vector<store::Entry> pending_;  // directories on the way that nothing included was found in yet
  std::vector<bool> included_above_;   // by depth, of the current path
  std::string last_leaf_;              // path of the last entry that is no directory
  uint64_t taken_ = 0;                 // entries from the source, not from the previous version; no directories
  uint64_t directories_ = 0;           // the same
  bool had_files_ = false;             // or symlinks: the previous version
  bool lacks_some_ = false;            // of what the previous version has
  std::vector<uint64_t> devices_;      // by depth, of the current path's directories
  SourceMemory seen_;
  PathChanges later_;
};

absl::Status ScanRun::Prepare() {
  BW_RETURN_IF_ERROR(Open([this](store::Entry entry) {
    return preview() ? context_.preview->Add(entry) : builder_->Add(std::move(entry));
  }));
  if (preview()) {
    context_.preview->forecast().newest = newest_ ? newest_->record.number : 0;
    BW_RETURN_IF_ERROR(context_.preview->Begin(&base_, newest_ ? newest_->record.manifest_root : Digest()));
  }
  builder_ = std::make_unique<store::ManifestBuilder>(
      [this](const Digest& digest, std::string_view encoded) { return StoreNode(digest, encoded); });
  cache_ = std::make_unique<ScanCache>(dataset_.files, ScanCachePath(dataset_.directory),
                                       newest_ ? newest_->record.manifest_root : Digest());
  if (context_.watch != nullptr) context_.watch->Begin(*root_, selection_);
  if (!newest_) return absl::OkStatus();
  if (context_.reread && !context_.source.keep_absent) {  // nothing is compared, so nothing is known to be there still
    lacks_some_ = true;
    store::ManifestCursor before(&base_, newest_->record.manifest_root);
    while (!had_files_) {
      const absl::StatusOr<bool> more = before.Next(&previous_);
      had_files_ =
          !more.ok() || (*more && previous_.type != store::EntryType::kDirectory);  // what is damaged may be one
      if (more.ok() && !*more) break;
    }
    return absl::OkStatus();
  }
  cursor_ = std::make_unique<store::ManifestCursor>(&base_, newest_->record.manifest_root);
  return NextPrevious();
}

void ScanRun::Expect() {
  counts_.total_estimated = newest_.has_value() && !context_.source.keep_absent;
  if (counts_.total_estimated) {
    counts_.total_bytes = newest_->record.logical_bytes;
  } else if (context_.options.count) {
    counts_.total_bytes = Count();
  }
}

uint64_t ScanRun::Count() {
  const absl::Duration deadline = context_.clock->BootTime() + kCounting;
  TreeWalker walker(root_.get(), context_.source.path, Ignore());
  walker.Refuse([this](const os::NodeStat& stat) { return own_.Check(stat); });
  uint64_t bytes = 0;
  for (WalkItem item;;) {
    absl::StatusOr<bool> more = walker.Next(&item);
    const bool in_vain = !more.ok() || CheckCancelled() != absl::OkStatus() || context_.clock->BootTime() > deadline;
    if (in_vain) bytes = 0;  // what is wrong, the scan says
    if (in_vain || !*more) break;
    if (Included(item) && item.stat.type == os::NodeType::kFile) bytes += item.stat.size;
  }
  included_above_.clear();
  return bytes;
}

absl::Status ScanRun::NextPrevious() {
  absl::StatusOr<bool> more = cursor_->Next(&previous_);
  if (!more.ok()) {
    return Annotate(more.status(), absl::StrCat("reading the manifest of version ", newest_->record.number));
  }
  has_previous_ = *more;
  had_files_ |= *more && previous_.type != store::EntryType::kDirectory;
  return absl::OkStatus();
}

absl::StatusOr<const store::Entry*> ScanRun::Previous(std::string_view path) {
  while (has_previous_) {
    int order = store::ComparePaths(previous_.path, path);
    if (order == 0) return &previous_;
    if (order > 0) break;
    BW_RETURN_IF_ERROR(Absent(previous_));
    BW_RETURN_IF_ERROR(NextPrevious());
  }
  return nullptr;
}

absl::Status ScanRun::Absent(const store::Entry& entry) {
  if (!context_.source.keep_absent) {
    lacks_some_ = true;
    return absl::OkStatus();
  }
  // Where a directory became something else, what it held has no place any more.
  if (!last_leaf_.empty() && store::IsBelow(entry.path, last_leaf_)) return absl::OkStatus();
  if (!CheckNotRedacted(entry).ok()) return absl::OkStatus();  // not kept: there is nothing left of it to keep
  return Emit(entry);
}

absl::Status ScanRun::FlushPending(std::string_view path) {
  while (!pending_.empty() && !store::IsBelow(path, pending_.back().path)) pending_.pop_back();
  for (store::Entry& directory : pending_) BW_RETURN_IF_ERROR(pipeline_->Add(std::move(directory)));
  pending_.clear();
  return absl::OkStatus();
}

absl::Status ScanRun::Emit(store::Entry entry) {
  if (!pending_.empty()) BW_RETURN_IF_ERROR(FlushPending(entry.path));
  if (entry.type != store::EntryType::kDirectory) last_leaf_ = entry.path;
  return pipeline_->Add(std::move(entry));
}

bool ScanRun::Included(const WalkItem& item) {
  if (selection_->include.empty()) return true;
  size_t depth = static_cast<size_t>(std::count(item.path.begin(), item.path.end(), '/'));
  bool directory = item.stat.type == os::NodeType::kDirectory;
  PatternList::Verdict verdict = selection_->include.Match(item.path, directory);
  bool included = verdict == PatternList::Verdict::kMatch;
  if (verdict == PatternList::Verdict::kNone) included = depth > 0 && included_above_[depth - 1];
  included_above_.resize(depth);
  included_above_.push_back(included);
  return included;
}

void ScanRun::NoteMount(const WalkItem& directory) {
  const size_t depth = static_cast<size_t>(std::count(directory.path.begin(), directory.path.end(), '/'));
  const uint64_t above = depth == 0 ? root_stat_.device : devices_[depth - 1];
  devices_.resize(depth);
  devices_.push_back(directory.stat.device);
  if (directory.stat.device == above && !directory.stat.mount_root) return;
  seen_.mounts.insert(directory.path);
  auto inside = directory.dir->OpenDir(directory.name);
  if (!inside.ok() || os::SeesAllChanges(**inside)) return;
  coarse_ = true;
  if (context_.watch != nullptr) context_.watch->RefuseInside();
}

void ScanRun::KeepRecord(const std::string& path, const os::NodeStat& stat) {
  if (preview()) return;
  if (std::optional<ScanRecord> record = RecordOf(path, stat)) {
    cache_->Keep(*record);
  } else if (context_.source.consume && context_.watch != nullptr) {
    later_.emplace(path, ChangeKind::kItself);  // only a file with a record is consumed
  }
  if (HasOtherNames(stat)) WatchLinks(path, stat);
}

void ScanRun::LeaveForLater(const std::string& path) {
  NoteName(path, &outcome_.unsettled, &outcome_.unsettled_count);
  if (context_.watch != nullptr) later_.emplace(path, ChangeKind::kItself);
}

// What a commit would read.
absl::Status ScanRun::Foresee(const WalkItem& item, const store::Entry* previous) {
  absl::Status readable = item.dir->OpenRead(item.name).status();
  if (absl::IsNotFound(readable)) return previous != nullptr ? Absent(*previous) : absl::OkStatus();
  if (!readable.ok()) return Annotate(readable, Label(item.path));
  ++context_.preview->forecast().to_read_files;
  context_.preview->forecast().to_read_bytes += item.stat.size;
  ++taken_;
  store::Entry entry = MakeEntry(item, store::EntryType::kFile);
  entry.size = item.stat.size;
  if (previous != nullptr && previous->type == store::EntryType::kFile && previous->size == entry.size &&
      previous->mtime_ns == entry.mtime_ns) {  // most likely as it was
    entry.holes = previous->holes;
    entry.chunks = previous->chunks;
    entry.list_height = previous->list_height;
  }
  return Emit(std::move(entry));
}

absl::Status ScanRun::VisitFile(WalkItem& item, const store::Entry* previous) {
  ++counts_.files;
  const bool was_file = previous != nullptr && previous->type == store::EntryType::kFile;
  // Looked up for every file: the cache is read in step with the walk.
  const bool unchanged = cache_->Unchanged(item.path, item.stat);
  const bool same = unchanged && !context_.reread && was_file && previous->size == item.stat.size;
  if (same) {
    counts_.scanned_bytes += item.stat.size;
    store::Entry entry = MakeEntry(item, store::EntryType::kFile);
    entry.size = previous->size;
    entry.holes = previous->holes;
    entry.chunks = previous->chunks;
    entry.list_height = previous->list_height;
    KeepRecord(item.path, item.stat);
    ++taken_;
    return Emit(std::move(entry));
  }
  if (Unsettled(item.stat)) {
    counts_.scanned_bytes += item.stat.size;
    LeaveForLater(item.path);
    ++taken_;
    if (cursor_ == nullptr && newest_) return AsBefore(item.path);
    return was_file ? Emit(*previous) : absl::OkStatus();
  }
  if (preview()) return Foresee(item, previous);
  if (!pending_.empty()) BW_RETURN_IF_ERROR(FlushPending(item.path));
  os::NodeStat read;
  BW_ASSIGN_OR_RETURN(ReadResult result, ReadContent(item, &read));
  switch (result) {
    case ReadResult::kSteady:
      KeepRecord(item.path, read);
      break;
    case ReadResult::kChanging:
      LeaveForLater(item.path);
      break;
    case ReadResult::kVanished:
    case ReadResult::kReplaced:  // between the listing and now: what took its place is for the next commit
      return previous != nullptr ? Absent(*previous) : absl::OkStatus();
  }
  last_leaf_ = item.path;
  ++taken_;
  return absl::OkStatus();
}

absl::Status ScanRun::AsBefore(const std::string& path) {
  auto before = store::FindEntry(&base_, newest_->record.manifest_root, path);
  if (!before.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("file ", Label(path), " has not settled, and what version ",
                                                      newest_->record.number,
                                                      " has of it is damaged here; commit again once it has settled"));
  }
  return *before && (*before)->type == store::EntryType::kFile ? Emit(**std::move(before)) : absl::OkStatus();
}

absl::Status ScanRun::VisitSymlink(const WalkItem& item, const store::Entry* previous) {
  BW_ASSIGN_OR_RETURN(std::optional<store::Entry> entry, ReadSymlink(item));
  if (!entry) return previous != nullptr ? Absent(*previous) : absl::OkStatus();
  ++taken_;
  return Emit(*std::move(entry));
}

absl::Status ScanRun::Visit(WalkItem& item) {
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(CheckPath(item.path));
  BW_ASSIGN_OR_RETURN(const store::Entry* previous, Previous(item.path));
  bool included = Included(item);
  absl::Status status;
  if (item.stat.type == os::NodeType::kDirectory) {
    NoteMount(item);
    store::Entry entry = MakeDirectory(item, previous);
    if (included) {
      ++directories_;
      status = Emit(std::move(entry));
    } else {
      while (!pending_.empty() && !store::IsBelow(item.path, pending_.back().path)) pending_.pop_back();
      pending_.push_back(std::move(entry));
    }
  } else if (!included) {
    if (previous != nullptr) status = Absent(*previous);
  } else if (item.stat.type == os::NodeType::kFile) {
    status = VisitFile(item, previous);
  } else if (item.stat.type == os::NodeType::kSymlink) {
    status = VisitSymlink(item, previous);
  } else {
    NoteName(item.path, &outcome_.skipped, &outcome_.skipped_count);
    if (previous != nullptr) status = Absent(*previous);
  }
  BW_RETURN_IF_ERROR(status);
  return previous != nullptr ? NextPrevious() : absl::OkStatus();
}

TreeWalker::Filter ScanRun::Ignore() {
  return [this](std::string_view path, const os::NodeStat& stat) {
    return !selection_->Ignored(path, stat.type == os::NodeType::kDirectory);
  };
}

absl::Status ScanRun::Scan() {
  TreeWalker walker(root_.get(), context_.source.path, Ignore());
  walker.Refuse([this](const os::NodeStat& stat) { return own_.Check(stat); });
  if (context_.watch != nullptr) {
    walker.BeforeListing([this](os::TreeDir& dir, std::string_view path) { context_.watch->Enter(dir, path); });
  }
  WalkItem item;
  for (;;) {
    BW_ASSIGN_OR_RETURN(bool more, walker.Next(&item));
    if (!more) break;
    BW_RETURN_IF_ERROR(Visit(item));
  }
  while (has_previous_) {
    BW_RETURN_IF_ERROR(Absent(previous_));
    BW_RETURN_IF_ERROR(NextPrevious());
  }
  return pipeline_->Finish();
}

// One that went while it was read looks as if its owner had emptied it, also when it is back by now.
absl::Status ScanRun::CheckMountsStayed() {
  if (context_.options.allow_empty || context_.source.keep_absent) return absl::OkStatus();
  auto ignored = [this](const std::string& path) {
    return selection_->Ignored(path, true) || selection_->IgnoredAbove(path);
  };
  for (const std::string& path : mounted_) {
    const bool there = IsMounted(path).value_or(false);
    if (there && (path.empty() || path[0] == '/' || seen_.mounts.count(path) != 0 || ignored(path))) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the file system at ", LabelOfMount(path),
        " was unmounted while it was read; no version was made and nothing deleted: mount it and commit again"));
  }
  return absl::OkStatus();
}

absl::Status ScanRun::CheckNotEmpty() {
  if (taken_ > 0 || context_.options.allow_empty) return absl::OkStatus();
  if (newest_ && newest_->record.entries == 0) return absl::OkStatus();  // it was meant before
  if (newest_ && context_.source.consume) return absl::OkStatus();       // that is how commits leave it
  if (directories_ > 0) {
    if (!had_files_ || context_.source.keep_absent) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("source ", context_.source.path,
                     " holds directories and no file any more; no version was made and "
                     "nothing deleted; if that is meant: --allow-empty"));
  }
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, root_->List());
  if (names.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("source ", context_.source.path, " is empty; if that is meant: --allow-empty"));
  }
  return absl::FailedPreconditionError(absl::StrCat("source ", context_.source.path,
                                                    " holds nothing that its include and ignore patterns let through; "
                                                    "correct the patterns, or if that is meant: --allow-empty"));
}

absl::StatusOr<std::optional<CommitOutcome>> ScanRun::Run(bool doubt) {
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(Prepare());
  Expect();
  if (absl::Status status = Scan(); !status.ok()) {
    // If the source went away meanwhile, that is the cause, not the odd error it gave.
    if (!absl::IsCancelled(status) && !absl::IsResourceExhausted(status)) BW_RETURN_IF_ERROR(CheckSource());
    return Described(status);
  }
  BW_RETURN_IF_ERROR(CheckSource());
  BW_RETURN_IF_ERROR(CheckMountsStayed());
  if (doubt && lacks_some_ && context_.watch != nullptr && context_.watch->Renamed()) return std::nullopt;
  BW_RETURN_IF_ERROR(CheckNotEmpty());
  if (preview()) {
    BW_RETURN_IF_ERROR(context_.preview->Finish());
    return std::optional<CommitOutcome>(std::move(outcome_));
  }
  seen_.link = link_;
  if (std::optional<std::string> mount = Mount()) seen_.mounts.insert(*std::move(mount));
  seen_.path = context_.source.path;  // before the version: it is what the next commit compares the source with
  if (absl::Status kept = KeepSourceMemory(dataset_.files, dataset_.directory, seen_); !kept.ok())
    return Described(kept);
  absl::StatusOr<store::ManifestSummary> summary = builder_->Finish();
  if (!summary.ok()) return Described(summary.status());
  if (absl::Status status = Publish(*summary, outcome_.skipped_count); !status.ok()) return Described(status);
  cache_->Finish(summary->root);
  if (context_.watch != nullptr) {
    context_.watch->Return(std::move(later_));
    context_.watch->Complete(Binding(summary->root));
  }
  outcome_.scanned = true;
  Report();
  return std::optional<CommitOutcome>(std::move(outcome_));
}

}  // namespace

// What is renamed while it is walked may be met under neither name, and would be deleted from the version. Where that
// never stops, what the last walk misses is a change that the watch saw, for the next commit.
absl::StatusOr<CommitOutcome> CommitByScan(const CommitContext& context) {
  for (int walks = 1;; ++walks) {
    ScanRun run(context);
    BW_ASSIGN_OR_RETURN(std::optional<CommitOutcome> outcome, run.Run(/*doubt=*/walks < kMaxWalks));
    if (outcome) return *std::move(outcome);
  }
}

namespace {

std::string DamagedBase(const DatasetHandle& dataset, const absl::Status& why) {
  auto newest = dataset.catalog->Newest(dataset.id);
  const VersionNumber number = newest.ok() && newest->has_value() ? (*newest)->record.number : 0;
  return absl::StrCat("version ", number, " of ", dataset.name, " is damaged here (", why.message(), ")");
}

}  // namespace

absl::StatusOr<CommitForecast> ForecastCommit(DatasetHandle& dataset, const SourceSpec& source,
                                              const CommitOptions& options, const os::Clock* clock,
                                              const ForecastVisitor& visit, const std::atomic<bool>& cancelled) {
  const HomeIdentity nobody;  // signs nothing
  const std::function<void(const CommitProgress&)> untold;
  CommitPreview preview(visit);
  bool damaged = false;
  const CommitContext context{dataset,   source,  nobody,   options, clock,   untold,
                              cancelled, nullptr, &preview, false,   &damaged};
  absl::StatusOr<CommitOutcome> scanned = CommitByScan(context);
  if (!scanned.ok() && damaged) {
    return absl::DataLossError(
        absl::StrCat("what a commit would change cannot be told: ", DamagedBase(dataset, scanned.status()),
                     source.keep_absent ? "" : "; a commit reads every file and stores anew what is damaged"));
  }
  BW_ASSIGN_OR_RETURN(CommitOutcome outcome, std::move(scanned));
  CommitForecast forecast = std::move(preview.forecast());
  forecast.skipped = std::move(outcome.skipped);
  forecast.skipped_count = outcome.skipped_count;
  forecast.unsettled = std::move(outcome.unsettled);
  forecast.unsettled_count = outcome.unsettled_count;
  return forecast;
}

absl::Status CheckCommitMessage(std::string_view message) {
  if (message.size() <= kMaxCommitMessage) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the message of a version has at most ", kMaxCommitMessage, " bytes, not ", message.size()));
}

absl::StatusOr<CommitOutcome> Commit(DatasetHandle& dataset, const SourceSpec& source, const HomeIdentity& home,
                                     const CommitOptions& options, const os::Clock* clock,
                                     const std::function<void(const CommitProgress&)>& progress,
                                     const std::atomic<bool>& cancelled, SourceWatch* watch) {
  BW_RETURN_IF_ERROR(CheckCommitMessage(options.message));
  bool damaged = false;
  CommitContext context{dataset, source, home, options, clock, progress, cancelled, watch, nullptr, false, &damaged};
  absl::Status why;
  if (!options.reread) {
    if (watch != nullptr && !options.scan) {
      absl::StatusOr<std::optional<CommitOutcome>> outcome = CommitByChanges(context);
      if (!outcome.ok() && !damaged) return outcome.status();
      if (outcome.ok() && outcome->has_value()) return **std::move(outcome);
      why = outcome.status();
    }
    if (!damaged) {
      absl::StatusOr<CommitOutcome> outcome = CommitByScan(context);
      if (outcome.ok() || !damaged) return outcome;
      why = outcome.status();
    }
  }
  // The source is all that a version needs, but for what is kept of the one before.
  if (!damaged || !source.keep_absent) {
    damaged = false;
    context.reread = true;
    absl::StatusOr<CommitOutcome> outcome = CommitByScan(context);
    if (outcome.ok() || !damaged || !source.keep_absent) return outcome;
    why = outcome.status();
  }
  return absl::DataLossError(
      absl::StrCat(DamagedBase(dataset, why),
                   ", and with absent: keep the next version is made from it; no version was made. Bring ",
                   "the agent's data back from a backup, or make a site that `bailiwick dataset verify ", dataset.name,
                   "` finds whole the home; with absent: delete the next version is what the source has"));
}

}  // namespace bailiwick::agent
