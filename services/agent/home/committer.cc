#include "services/agent/home/committer.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/chunk/fastcdc.h"
#include "common/crypto/digest.h"
#include "common/os/tree.h"
#include "services/agent/home/chunk_pipeline.h"
#include "services/agent/home/content_reader.h"
#include "services/agent/home/display_path.h"
#include "services/agent/home/patterns.h"
#include "services/agent/home/scan_cache.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kListed = 100;  // names in an outcome; the counts are whole
// A file written this shortly before the scan, or during it, can be written again without its times moving: file
// systems stamp with the kernel's tick, at most 10 ms long.
constexpr absl::Duration kRacy = absl::Milliseconds(20);

bool IsAbove(std::string_view directory, std::string_view path) {
  return path.size() > directory.size() && path[directory.size()] == '/' &&
         path.substr(0, directory.size()) == directory;
}

class CommitRun {
 public:
  CommitRun(DatasetHandle& dataset, const SourceSpec& source, const HomeIdentity& home, const CommitOptions& options,
            const os::Clock* clock, const std::function<void(const CommitProgress&)>& progress,
            const std::atomic<bool>& cancelled)
      : dataset_(dataset),
        source_(source),
        home_(home),
        options_(options),
        clock_(clock),
        progress_(progress),
        cancelled_(cancelled) {}

  absl::StatusOr<CommitOutcome> Run();

 private:
  absl::Status Prepare();
  absl::Status Scan();
  absl::Status Visit(WalkItem& item);
  absl::Status VisitFile(WalkItem& item, const store::Entry* previous);
  absl::Status VisitSymlink(const WalkItem& item, const store::Entry* previous);
  void KeepRecord(const std::string& path, const os::NodeStat& stat);

  // The previous version's entry of this path; entries before it that the source lacks are kept or gone.
  absl::StatusOr<const store::Entry*> Previous(std::string_view path);
  absl::Status NextPrevious();
  absl::Status Absent(const store::Entry& entry);
  // Directories that wait for something included in them come first.
  absl::Status Emit(store::Entry entry);
  absl::Status FlushPending(std::string_view path);

  bool Included(const WalkItem& item);
  bool Unsettled(const os::NodeStat& stat) const;
  store::Entry MakeEntry(const WalkItem& item, store::EntryType type) const;
  std::string Label(std::string_view path) const { return source_.path + "/" + DisplayPath(path); }
  absl::Status CheckCancelled() const;
  absl::Status CheckSource();
  absl::Status CheckNotEmpty();
  // What was redacted does not come back because the source still has it.
  absl::Status CheckNotRedacted(const store::Entry& entry);
  absl::StatusOr<std::unique_ptr<os::TreeDir>> OpenSource() const;
  absl::StatusOr<CommitOutcome> Publish(const store::ManifestSummary& summary);
  absl::Status StoreNode(const Digest& digest, std::string_view encoded);
  absl::Status Described(const absl::Status& status) const;
  void Report();

  DatasetHandle& dataset_;
  const SourceSpec& source_;
  const HomeIdentity& home_;
  const CommitOptions& options_;
  const os::Clock* const clock_;
  const std::function<void(const CommitProgress&)>& progress_;
  const std::atomic<bool>& cancelled_;

  PatternList include_;
  PatternList ignore_;
  std::unique_ptr<os::TreeDir> root_;
  os::NodeStat root_stat_;
  absl::Time started_;

  // One writer from before the first look at the store to after the catalog row: garbage collection waits for it.
  std::unique_ptr<store::DatasetStore::Writer> writer_;
  std::optional<chunk::Chunker> chunker_;
  std::optional<store::CatalogVersion> newest_;
  std::unique_ptr<store::ManifestCursor> cursor_;
  store::Entry previous_;
  bool has_previous_ = false;
  std::unique_ptr<ScanCache> cache_;
  std::unique_ptr<store::ManifestBuilder> builder_;
  std::unique_ptr<ChunkPipeline> pipeline_;
  std::unique_ptr<ContentReader> reader_;

  std::vector<store::Entry> pending_;  // directories on the way that nothing included was found in yet
  std::vector<bool> included_above_;   // by depth, of the current path
  std::string last_leaf_;              // path of the last entry that is no directory
  uint64_t taken_ = 0;                 // entries from the source, not from the previous version
  CommitProgress counts_;
  CommitOutcome outcome_;
};

void Note(std::string_view path, std::vector<std::string>* list, uint64_t* count) {
  ++*count;
  if (list->size() < kListed) list->push_back(DisplayPath(path));
}

absl::Status CommitRun::CheckCancelled() const {
  if (cancelled_.load(std::memory_order_relaxed)) return absl::CancelledError("the commit was cancelled");
  return absl::OkStatus();
}

void CommitRun::Report() {
  if (!progress_) return;
  counts_.read_bytes = reader_ != nullptr ? reader_->read_bytes() : 0;
  counts_.new_bytes = writer_->stored_bytes();
  progress_(counts_);
}

absl::StatusOr<std::unique_ptr<os::TreeDir>> CommitRun::OpenSource() const {
  auto root = os::OpenTree(source_.path);
  if (absl::IsNotFound(root.status())) {
    return absl::NotFoundError(
        absl::StrCat("source ", source_.path, " does not exist; no version was made and nothing deleted"));
  }
  if (absl::IsFailedPrecondition(root.status())) {
    return absl::FailedPreconditionError(absl::StrCat("source ", source_.path, " is not a directory"));
  }
  if (!root.ok()) return Annotate(root.status(), absl::StrCat("source ", source_.path));
  return root;
}

absl::Status CommitRun::StoreNode(const Digest& digest, std::string_view encoded) {
  BW_ASSIGN_OR_RETURN(bool known, dataset_.store->Has(digest));
  if (known) return absl::OkStatus();
  return writer_->Put(digest, store::EncodeChunk(encoded)).status();
}

absl::Status CommitRun::Prepare() {
  BW_ASSIGN_OR_RETURN(include_, PatternList::Parse(source_.include));
  BW_ASSIGN_OR_RETURN(ignore_, PatternList::Parse(source_.ignore));
  BW_ASSIGN_OR_RETURN(root_, OpenSource());
  BW_ASSIGN_OR_RETURN(root_stat_, root_->Stat(""));
  started_ = clock_->Now();
  writer_ = dataset_.store->NewWriter();
  BW_ASSIGN_OR_RETURN(newest_, dataset_.catalog->Newest(dataset_.id));
  BW_ASSIGN_OR_RETURN(chunk::Chunker chunker, chunk::Chunker::Create({source_.chunk_average}, dataset_.id.view()));
  chunker_ = std::move(chunker);
  builder_ = std::make_unique<store::ManifestBuilder>(
      [this](const Digest& digest, std::string_view encoded) { return StoreNode(digest, encoded); });
  pipeline_ = std::make_unique<ChunkPipeline>(
      dataset_.store.get(), writer_.get(), &*chunker_,
      [this](store::Entry entry) -> absl::Status {
        BW_RETURN_IF_ERROR(CheckNotRedacted(entry));
        return builder_->Add(std::move(entry));
      },
      [this] {
        Report();
        return CheckCancelled();
      });
  reader_ = std::make_unique<ContentReader>(pipeline_.get(), clock_, &cancelled_);
  cache_ = std::make_unique<ScanCache>(dataset_.files, os::JoinPath(dataset_.directory, "scan-cache"),
                                       newest_ ? newest_->record.manifest_root : Digest());
  if (newest_) {
    cursor_ = std::make_unique<store::ManifestCursor>(dataset_.nodes.get(), newest_->record.manifest_root);
    BW_RETURN_IF_ERROR(NextPrevious());
  }
  return absl::OkStatus();
}

absl::Status CommitRun::NextPrevious() {
  absl::StatusOr<bool> more = cursor_->Next(&previous_);
  if (!more.ok()) {
    return Annotate(more.status(), absl::StrCat("reading the manifest of version ", newest_->record.number));
  }
  has_previous_ = *more;
  return absl::OkStatus();
}

absl::StatusOr<const store::Entry*> CommitRun::Previous(std::string_view path) {
  while (has_previous_) {
    int order = store::ComparePaths(previous_.path, path);
    if (order == 0) return &previous_;
    if (order > 0) break;
    BW_RETURN_IF_ERROR(Absent(previous_));
    BW_RETURN_IF_ERROR(NextPrevious());
  }
  return nullptr;
}

absl::Status CommitRun::Absent(const store::Entry& entry) {
  if (!source_.keep_absent) return absl::OkStatus();
  // Where a directory became something else, what it held has no place any more.
  if (!last_leaf_.empty() && IsAbove(last_leaf_, entry.path)) return absl::OkStatus();
  if (!CheckNotRedacted(entry).ok()) return absl::OkStatus();  // not kept: there is nothing left of it to keep
  return Emit(entry);
}

absl::Status CommitRun::CheckNotRedacted(const store::Entry& entry) {
  if (dataset_.redactions->empty()) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(auto redacted, dataset_.redactions->Find(dataset_.nodes.get(), entry));
  if (redacted == nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("file ", Label(entry.path), " holds content that is ",
                                                    store::RedactedBy(*redacted),
                                                    "; remove it or ignore it, then commit again"));
}

absl::Status CommitRun::FlushPending(std::string_view path) {
  while (!pending_.empty() && !IsAbove(pending_.back().path, path)) pending_.pop_back();
  for (store::Entry& directory : pending_) BW_RETURN_IF_ERROR(pipeline_->Add(std::move(directory)));
  pending_.clear();
  return absl::OkStatus();
}

absl::Status CommitRun::Emit(store::Entry entry) {
  if (!pending_.empty()) BW_RETURN_IF_ERROR(FlushPending(entry.path));
  if (entry.type != store::EntryType::kDirectory) last_leaf_ = entry.path;
  return pipeline_->Add(std::move(entry));
}

bool CommitRun::Included(const WalkItem& item) {
  if (include_.empty()) return true;
  size_t depth = static_cast<size_t>(std::count(item.path.begin(), item.path.end(), '/'));
  bool directory = item.stat.type == os::NodeType::kDirectory;
  PatternList::Verdict verdict = include_.Match(item.path, directory);
  bool included = verdict == PatternList::Verdict::kMatch;
  if (verdict == PatternList::Verdict::kNone) included = depth > 0 && included_above_[depth - 1];
  included_above_.resize(depth);
  included_above_.push_back(included);
  return included;
}

bool CommitRun::Unsettled(const os::NodeStat& stat) const {
  if (source_.settle <= absl::ZeroDuration()) return false;
  absl::Time now = clock_->Now();
  absl::Time changed = absl::FromUnixNanos(stat.mtime_ns);
  if (changed > now) changed = absl::FromUnixNanos(stat.ctime_ns);  // an mtime set into the future would never settle
  return now - changed < source_.settle;
}

store::Entry CommitRun::MakeEntry(const WalkItem& item, store::EntryType type) const {
  store::Entry entry;
  entry.path = item.path;
  entry.type = type;
  entry.mode = item.stat.mode;
  entry.mtime_ns = item.stat.mtime_ns;
  if (source_.owner) entry.owner = {item.stat.uid, item.stat.gid};
  return entry;
}

void CommitRun::KeepRecord(const std::string& path, const os::NodeStat& stat) {
  absl::Time limit = started_ - kRacy;
  if (absl::FromUnixNanos(stat.mtime_ns) >= limit || absl::FromUnixNanos(stat.ctime_ns) >= limit) return;
  cache_->Keep(MakeScanRecord(path, stat));
}

absl::Status CommitRun::VisitFile(WalkItem& item, const store::Entry* previous) {
  ++counts_.files;
  counts_.scanned_bytes += item.stat.size;
  const bool was_file = previous != nullptr && previous->type == store::EntryType::kFile;
  // Looked up for every file: the cache is read in step with the walk.
  const bool same = cache_->Unchanged(item.path, item.stat) && was_file && previous->size == item.stat.size;
  if (same) {
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
    Note(item.path, &outcome_.unsettled, &outcome_.unsettled_count);
    ++taken_;
    return was_file ? Emit(*previous) : absl::OkStatus();
  }
  if (!pending_.empty()) BW_RETURN_IF_ERROR(FlushPending(item.path));
  ReadRequest request{item.dir, item.name, Label(item.path), options_.allow_changing};
  os::NodeStat read = item.stat;
  BW_ASSIGN_OR_RETURN(ReadResult result, reader_->Read(request, MakeEntry(item, store::EntryType::kFile), &read));
  switch (result) {
    case ReadResult::kSteady:
      KeepRecord(item.path, read);
      break;
    case ReadResult::kChanging:
      Note(item.path, &outcome_.unsettled, &outcome_.unsettled_count);
      break;
    case ReadResult::kVanished:
    case ReadResult::kReplaced:  // between the listing and now: what took its place is for the next commit
      return previous != nullptr ? Absent(*previous) : absl::OkStatus();
  }
  last_leaf_ = item.path;
  ++taken_;
  return absl::OkStatus();
}

absl::Status CommitRun::VisitSymlink(const WalkItem& item, const store::Entry* previous) {
  absl::StatusOr<std::string> target = item.dir->ReadLink(item.name);
  if (!target.ok()) {
    auto now = item.dir->Stat(item.name);
    bool gone = absl::IsNotFound(now.status()) || (now.ok() && now->type != os::NodeType::kSymlink);
    if (!gone) return Annotate(target.status(), Label(item.path));
    return previous != nullptr ? Absent(*previous) : absl::OkStatus();
  }
  store::Entry entry = MakeEntry(item, store::EntryType::kSymlink);
  entry.target = *std::move(target);
  ++taken_;
  return Emit(std::move(entry));
}

absl::Status CommitRun::Visit(WalkItem& item) {
  BW_RETURN_IF_ERROR(CheckCancelled());
  if (absl::Status path = store::CheckPath(item.path); !path.ok()) return Annotate(path, Label(item.path));
  BW_ASSIGN_OR_RETURN(const store::Entry* previous, Previous(item.path));
  bool included = Included(item);
  absl::Status status;
  if (item.stat.type == os::NodeType::kDirectory) {
    store::Entry entry = MakeEntry(item, store::EntryType::kDirectory);
    if (included) {
      ++taken_;
      status = Emit(std::move(entry));
    } else {
      while (!pending_.empty() && !IsAbove(pending_.back().path, item.path)) pending_.pop_back();
      pending_.push_back(std::move(entry));
    }
  } else if (!included) {
    if (previous != nullptr) status = Absent(*previous);
  } else if (item.stat.type == os::NodeType::kFile) {
    status = VisitFile(item, previous);
  } else if (item.stat.type == os::NodeType::kSymlink) {
    status = VisitSymlink(item, previous);
  } else {
    Note(item.path, &outcome_.skipped, &outcome_.skipped_count);
    if (previous != nullptr) status = Absent(*previous);
  }
  BW_RETURN_IF_ERROR(status);
  return previous != nullptr ? NextPrevious() : absl::OkStatus();
}

absl::Status CommitRun::Scan() {
  TreeWalker walker(root_.get(), source_.path, [this](std::string_view path, const os::NodeStat& stat) {
    return ignore_.empty() ||
           ignore_.Match(path, stat.type == os::NodeType::kDirectory) != PatternList::Verdict::kMatch;
  });
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

// A disk that was unmounted, or a directory that was swapped, while it was read is not what the owner meant to commit.
absl::Status CommitRun::CheckSource() {
  auto again = OpenSource();
  if (again.ok()) {
    BW_ASSIGN_OR_RETURN(os::NodeStat stat, (*again)->Stat(""));
    if (stat.inode == root_stat_.inode && stat.device == root_stat_.device) return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat(
      "source ", source_.path, " vanished, or was unmounted or replaced, while it was read; no version was made"));
}

absl::Status CommitRun::CheckNotEmpty() {
  if (taken_ > 0 || options_.allow_empty) return absl::OkStatus();
  if (newest_ && newest_->record.entries == 0) return absl::OkStatus();  // it was meant before
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, root_->List());
  if (names.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("source ", source_.path, " is empty; if that is meant: --allow-empty"));
  }
  return absl::FailedPreconditionError(absl::StrCat("source ", source_.path,
                                                    " holds nothing that its include and ignore patterns let through; "
                                                    "correct the patterns, or if that is meant: --allow-empty"));
}

absl::StatusOr<CommitOutcome> CommitRun::Publish(const store::ManifestSummary& summary) {
  if (newest_ && newest_->record.manifest_root == summary.root) {
    outcome_.version = *newest_;
    outcome_.unchanged = true;
    cache_->Finish(summary.root);
    return std::move(outcome_);
  }
  BW_RETURN_IF_ERROR(writer_->Flush());
  store::VersionRecord record;
  record.dataset_id = dataset_.id;
  record.dataset = dataset_.name;
  record.home_site = home_.site;
  record.home_incarnation = home_.incarnation;
  record.home_epoch = home_.epoch;
  record.number = newest_ ? newest_->record.number + 1 : 1;
  if (newest_) record.parent = newest_->identity;
  record.manifest_root = summary.root;
  record.entries = summary.entries;
  record.files = summary.files;
  record.logical_bytes = summary.logical_bytes;
  record.skipped = outcome_.skipped_count;
  record.committed_at = clock_->Now();
  record.message = options_.message;
  crypto::Envelope envelope =
      crypto::SignEnvelope(crypto::kVersionType, store::EncodeVersionRecord(record), *home_.key);
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(dataset_.catalog->Add(envelope, dataset_.nodes.get()));
  outcome_.version.record = std::move(record);
  outcome_.version.identity = store::VersionIdentity(envelope);
  outcome_.version.envelope = std::move(envelope);
  cache_->Finish(summary.root);
  return std::move(outcome_);
}

absl::Status CommitRun::Described(const absl::Status& status) const {
  if (!absl::IsResourceExhausted(status)) return status;
  return absl::ResourceExhaustedError(absl::StrCat("no space for new chunks in ", dataset_.directory,
                                                   "; no version was made, free some space and commit again (",
                                                   status.message(), ")"));
}

absl::StatusOr<CommitOutcome> CommitRun::Run() {
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(Prepare());
  if (absl::Status status = Scan(); !status.ok()) {
    // If the source went away meanwhile, that is the cause, not the odd error it gave.
    if (!absl::IsCancelled(status) && !absl::IsResourceExhausted(status)) BW_RETURN_IF_ERROR(CheckSource());
    return Described(status);
  }
  BW_RETURN_IF_ERROR(CheckSource());
  BW_RETURN_IF_ERROR(CheckNotEmpty());
  absl::StatusOr<store::ManifestSummary> summary = builder_->Finish();
  if (!summary.ok()) return Described(summary.status());
  outcome_.new_bytes = writer_->stored_bytes();
  absl::StatusOr<CommitOutcome> outcome = Publish(*summary);
  if (!outcome.ok()) return Described(outcome.status());
  Report();
  return outcome;
}

}  // namespace

absl::StatusOr<CommitOutcome> Commit(DatasetHandle& dataset, const SourceSpec& source, const HomeIdentity& home,
                                     const CommitOptions& options, const os::Clock* clock,
                                     const std::function<void(const CommitProgress&)>& progress,
                                     const std::atomic<bool>& cancelled) {
  return CommitRun(dataset, source, home, options, clock, progress, cancelled).Run();
}

}  // namespace bailiwick::agent
