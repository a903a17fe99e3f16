#include "services/agent/home/commit_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/os/dir_watch.h"
#include "common/os/directories.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kListed = 100;  // names in an outcome; the counts are whole
constexpr size_t kShown = 1000;  // bytes of a path in an error

// Everything that decides what a commit makes of the source, but its content.
std::string Reading(const DatasetHandle& dataset, const SourceSpec& source, const os::NodeStat& root) {
  std::string reading =
      absl::StrCat(root.device, ":", root.inode, " ", source.chunk_average, " ", source.keep_absent, source.owner, " ",
                   absl::FormatDuration(source.settle), " ", dataset.redactions->additions());
  for (const auto* patterns : {&source.include, &source.ignore}) {
    absl::StrAppend(&reading, "\n", patterns->size());
    for (const std::string& pattern : *patterns) absl::StrAppend(&reading, "\n", pattern);
  }
  return reading;
}

}  // namespace

void NoteName(std::string_view path, std::vector<std::string>* list, uint64_t* count) {
  ++*count;
  if (list->size() < kListed) list->push_back(DisplayPath(path));
}

absl::Status CommitRun::CheckCancelled() const {
  if (context_.cancelled.load(std::memory_order_relaxed)) return absl::CancelledError("the commit was cancelled");
  return absl::OkStatus();
}

absl::Status CommitRun::CheckPath(const std::string& path) const {
  const absl::Status status = store::CheckPath(path);
  if (status.ok()) return status;
  std::string shown = Label(path);
  if (path.size() > kShown) {  // its beginning and its name tell which one it is
    const size_t top = path.rfind('/', kShown), name = path.rfind('/');
    if (top < name) shown = absl::StrCat(Label(path.substr(0, top)), "/…", DisplayPath(path.substr(name)));
  }
  return absl::Status(status.code(),
                      absl::StrCat(shown, " has ", status.message(),
                                   "; no version was made: shorten it, or leave it or a directory on the way to it out "
                                   "with an ignore pattern, and commit again"));
}

void CommitRun::Report() {
  if (!context_.progress) return;
  counts_.read_bytes = reader_ != nullptr ? reader_->read_bytes() : 0;
  counts_.new_bytes = writer_->stored_bytes();
  CommitProgress now = counts_;  // a file that is read twice, because it changed, counts once
  now.scanned_bytes += std::min(file_bytes_, counts_.read_bytes - read_before_);
  if (now.scanned_bytes > now.total_bytes) now.total_bytes = 0;  // it was no guess worth telling
  context_.progress(now);
}

absl::StatusOr<std::unique_ptr<os::TreeDir>> CommitRun::OpenSource() const {
  const std::string& path = context_.source.path;
  auto root = os::OpenTree(path);
  if (absl::IsNotFound(root.status())) {
    return absl::NotFoundError(
        absl::StrCat("source ", path, " does not exist; no version was made and nothing deleted"));
  }
  if (absl::IsFailedPrecondition(root.status())) {
    return absl::FailedPreconditionError(absl::StrCat("source ", path, " is not a directory"));
  }
  if (!root.ok()) return Annotate(root.status(), absl::StrCat("source ", path));
  return root;
}

absl::StatusOr<std::shared_ptr<const store::Node>> BaseNodes::Load(const Digest& digest) {
  auto node = nodes_->Load(digest);
  const absl::Status& status = node.status();
  if (absl::IsDataLoss(status) || absl::IsNotFound(status) || absl::IsInvalidArgument(status)) *damaged_ = true;
  return node;
}

absl::Status CommitRun::StoreNode(const Digest& digest, std::string_view encoded) {
  BW_ASSIGN_OR_RETURN(bool known, dataset_.store->Has(digest));
  if (known && context_.reread) {
    BW_ASSIGN_OR_RETURN(known, ReadsBack(*dataset_.store, digest));
  }
  if (known) return absl::OkStatus();
  return writer_->Put(digest, store::EncodeChunk(encoded)).status();
}

absl::Status CommitRun::Open(ChunkPipeline::EntrySink sink) {
  BW_ASSIGN_OR_RETURN(Selection selection, Selection::Parse(context_.source.include, context_.source.ignore));
  selection_ = std::make_shared<const Selection>(std::move(selection));
  BW_ASSIGN_OR_RETURN(root_, OpenSource());
  BW_ASSIGN_OR_RETURN(root_stat_, root_->Stat(""));
  BW_ASSIGN_OR_RETURN(link_, os::IsSymlink(context_.source.path));
  BW_ASSIGN_OR_RETURN(const std::vector<os::DirectoryId> up, os::DirectoriesUpFrom(*root_));
  for (size_t i = 0; i + 1 < up.size(); ++i) mounts_up_.push_back(up[i].device != up[i + 1].device);
  BW_ASSIGN_OR_RETURN(real_path_, os::RealPath(context_.source.path));
  remembered_ = LoadSourceMemory(dataset_.files, dataset_.directory);
  if (link_ && remembered_.path == context_.source.path && !remembered_.link) {
    // An admin's link was there from the start; this one is of whoever may write beside the source.
    return absl::FailedPreconditionError(
        absl::StrCat("source ", context_.source.path,
                     " was a directory and is a symbolic link now; no version was made: if that is meant, name the "
                     "directory that it leads to as the Dataset's path"));
  }
  BW_ASSIGN_OR_RETURN(own_, OwnDirectories::Find(context_.source.own));
  BW_RETURN_IF_ERROR(own_.CheckSource(*root_, context_.source.path, [this](std::string_view directory) {
    return selection_->Ignored(directory, true);
  }));
  const std::string mounts = os::MountsBelow(*root_).value_or("");  // without /proc nothing is watched anyway
  reading_ = absl::StrCat(Reading(dataset_, context_.source, root_stat_), "\n", link_, " ", context_.source.path, "\n",
                          mounts);
  started_ = context_.clock->Now();
  coarse_ = !os::SeesAllChanges(*root_);
  writer_ = dataset_.store->NewWriter();
  BW_ASSIGN_OR_RETURN(newest_, dataset_.catalog->Newest(dataset_.id));
  BW_RETURN_IF_ERROR(CheckMounts());
  BW_ASSIGN_OR_RETURN(chunk::Chunker chunker,
                      chunk::Chunker::Create({context_.source.chunk_average}, dataset_.id.view()));
  chunker_ = std::move(chunker);
  pipeline_ = std::make_unique<ChunkPipeline>(
      dataset_.store.get(), writer_.get(), &*chunker_,
      [this, sink = std::move(sink)](store::Entry entry) -> absl::Status {
        BW_RETURN_IF_ERROR(CheckNotRedacted(entry));
        return sink(std::move(entry));
      },
      [this] {
        Report();
        return CheckCancelled();
      });
  // The file that brings a chunk once more may be the last to have it whole, where it leaves the source after this.
  if (context_.reread || context_.source.consume) pipeline_->DistrustStore();
  reader_ = std::make_unique<ContentReader>(pipeline_.get(), context_.clock, &context_.cancelled);
  return absl::OkStatus();
}

std::optional<std::string> CommitRun::Mount() const {
  std::string at = real_path_;
  for (size_t up = 0; up < mounts_up_.size() && !at.empty(); ++up, at.resize(at.rfind('/'))) {
    if (mounts_up_[up]) return up == 0 ? "" : at;
  }
  return std::nullopt;
}

absl::StatusOr<bool> CommitRun::IsMounted(const std::string& path) {
  if (path.empty()) return !mounts_up_.empty() && mounts_up_[0];
  if (path[0] == '/') return Mount() == path;
  const size_t slash = path.rfind('/');
  BW_ASSIGN_OR_RETURN(const os::NodeStat above,
                      slash == std::string::npos ? root_stat_ : root_->Stat(path.substr(0, slash)));
  BW_ASSIGN_OR_RETURN(const os::NodeStat stat, root_->Stat(path));
  return stat.type == os::NodeType::kDirectory && (stat.device != above.device || stat.mount_root);
}

absl::StatusOr<bool> CommitRun::LacksSomethingOf(const std::string& directory) {
  store::ManifestCursor before(&base_, newest_->record.manifest_root, directory);
  for (store::Entry entry;;) {
    BW_RETURN_IF_ERROR(CheckCancelled());
    BW_ASSIGN_OR_RETURN(const bool more, before.Next(&entry));
    if (!more) return false;
    if (entry.path == directory) continue;
    if (!directory.empty() && !store::IsBelow(entry.path, directory)) return false;
    if (!root_->Stat(entry.path).ok()) return true;
  }
}

absl::Status CommitRun::CheckMounts() {
  if (!newest_ || remembered_.path != context_.source.path) return absl::OkStatus();
  for (const std::string& path : remembered_.mounts) {
    if (IsMounted(path).value_or(false)) {  // what cannot be looked at is as good as gone
      mounted_.push_back(path);
      continue;
    }
    mounts_changed_ = true;
    if (context_.options.allow_empty || context_.source.keep_absent) continue;
    // Where all of it is there still, it lies on the file system below now.
    const bool above = path.starts_with('/');
    BW_ASSIGN_OR_RETURN(const bool lacks, LacksSomethingOf(above ? "" : path));
    if (!lacks) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        above ? absl::StrCat(LabelOfMount(""), " lay on the file system mounted at ", path, " and does not any more")
              : absl::StrCat("a file system was mounted at ", LabelOfMount(path), " and is not there any more"),
        "; no version was made and nothing deleted: mount it, or if that is meant: --allow-empty"));
  }
  return absl::OkStatus();
}

std::string CommitRun::LabelOfMount(const std::string& path) const {
  if (path.empty()) return absl::StrCat("source ", context_.source.path);
  return path[0] == '/' ? path : Label(path);
}

bool CommitRun::StillMounted() {
  return std::all_of(mounted_.begin(), mounted_.end(),
                     [this](const std::string& path) { return IsMounted(path).value_or(false); });
}

absl::Status CommitRun::CheckNotRedacted(const store::Entry& entry) const {
  if (dataset_.redactions->empty()) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(auto redacted, dataset_.redactions->Find(&base_, entry));
  if (redacted == nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("file ", Label(entry.path), " holds content that is ",
                                                    store::RedactedBy(*redacted),
                                                    "; remove it or ignore it, then commit again"));
}

bool CommitRun::Unsettled(const os::NodeStat& stat) const {
  if (context_.source.settle <= absl::ZeroDuration()) return false;
  const absl::Time now = context_.clock->Now();
  return now - ChangedAt(stat, now) < context_.source.settle;
}

store::Entry CommitRun::MakeEntry(const WalkItem& item, store::EntryType type) const {
  store::Entry entry;
  entry.path = item.path;
  entry.type = type;
  entry.mode = item.stat.mode;
  entry.mtime_ns = item.stat.mtime_ns;
  if (context_.source.owner) entry.owner = {item.stat.uid, item.stat.gid};
  return entry;
}

store::Entry CommitRun::MakeDirectory(const WalkItem& item, const store::Entry* previous) const {
  store::Entry entry = MakeEntry(item, store::EntryType::kDirectory);
  // That files left it is our own doing, and no change that anybody wants a version of.
  if (context_.source.consume && previous != nullptr && previous->type == store::EntryType::kDirectory) {
    entry.mtime_ns = previous->mtime_ns;
  }
  return entry;
}

std::optional<ScanRecord> CommitRun::RecordOf(const std::string& path, const os::NodeStat& stat) const {
  return TrustedScanRecord(path, stat, started_, coarse_);
}

void CommitRun::WatchLinks(const std::string& path, const os::NodeStat& stat) {
  if (context_.watch != nullptr) context_.watch->LookAlways(path, RecordOf(path, stat));
}

absl::StatusOr<ReadResult> CommitRun::ReadContent(const WalkItem& item, os::NodeStat* stat) {
  *stat = item.stat;
  read_before_ = reader_->read_bytes();
  file_bytes_ = item.stat.size;
  auto result = reader_->Read({item.dir, item.name, Label(item.path), context_.options.allow_changing},
                              MakeEntry(item, store::EntryType::kFile), stat);
  counts_.scanned_bytes += std::exchange(file_bytes_, 0);
  read_before_ = reader_->read_bytes();
  return result;
}

absl::StatusOr<std::optional<store::Entry>> CommitRun::ReadSymlink(const WalkItem& item) const {
  absl::StatusOr<std::string> target = item.dir->ReadLink(item.name);
  if (!target.ok()) {
    auto now = item.dir->Stat(item.name);
    bool gone = absl::IsNotFound(now.status()) || (now.ok() && now->type != os::NodeType::kSymlink);
    if (!gone) return Annotate(target.status(), Label(item.path));
    return std::nullopt;
  }
  store::Entry entry = MakeEntry(item, store::EntryType::kSymlink);
  entry.target = *std::move(target);
  return entry;
}

absl::Status CommitRun::CheckSource() {
  auto again = OpenSource();
  if (again.ok()) {
    BW_ASSIGN_OR_RETURN(os::NodeStat stat, (*again)->Stat(""));
    if (stat.inode == root_stat_.inode && stat.device == root_stat_.device) return absl::OkStatus();
  }
  return absl::NotFoundError(
      absl::StrCat("source ", context_.source.path,
                   " vanished, or was unmounted or replaced, while it was read; no version was made"));
}

absl::Status CommitRun::Publish(const store::ManifestSummary& summary, uint64_t skipped) {
  outcome_.new_bytes = writer_->stored_bytes();
  outcome_.reread = context_.reread;
  if (newest_ && newest_->record.manifest_root == summary.root) {
    // The same content heals what it was committed as, also what was given up and is wanted back.
    if (outcome_.new_bytes > 0) BW_RETURN_IF_ERROR(writer_->Flush());
    outcome_.version = *newest_;
    outcome_.unchanged = true;
    return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(writer_->Flush());
  store::VersionRecord record;
  record.dataset_id = dataset_.id;
  record.dataset = dataset_.name;
  record.home_site = context_.home.site;
  record.home_incarnation = context_.home.incarnation;
  record.home_epoch = context_.home.epoch;
  record.number = newest_ ? newest_->record.number + 1 : 1;
  if (newest_) record.parent = newest_->identity;
  record.manifest_root = summary.root;
  record.entries = summary.entries;
  record.files = summary.files;
  record.logical_bytes = summary.logical_bytes;
  record.skipped = skipped;
  record.committed_at = context_.home.now ? context_.home.now() : context_.clock->Now();
  record.message = context_.options.message;
  crypto::Envelope envelope =
      crypto::SignEnvelope(crypto::kVersionType, store::EncodeVersionRecord(record), *context_.home.key);
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(dataset_.catalog->Add(envelope, &base_));
  outcome_.version.record = std::move(record);
  outcome_.version.identity = store::VersionIdentity(envelope);
  outcome_.version.envelope = std::move(envelope);
  return absl::OkStatus();
}

absl::Status CommitRun::Described(const absl::Status& status) const {
  if (!absl::IsResourceExhausted(status)) return status;
  return absl::ResourceExhaustedError(absl::StrCat("no space for new chunks in ", dataset_.directory,
                                                   "; no version was made, free some space and commit again (",
                                                   status.message(), ")"));
}

}  // namespace bailiwick::agent
