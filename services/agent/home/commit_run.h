// What every commit does, whichever way it finds what changed: the source opened below an open root, files read through
// the pipeline, the checks before a version counts, the version itself. Used by one thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/patterns.h"
#include "common/chunk/fastcdc.h"
#include "common/os/tree.h"
#include "services/agent/home/chunk_pipeline.h"
#include "services/agent/home/commit_preview.h"
#include "services/agent/home/committer.h"
#include "services/agent/home/content_reader.h"
#include "services/agent/home/display_path.h"
#include "services/agent/home/own_directories.h"
#include "services/agent/home/scan_cache.h"
#include "services/agent/home/source_memory.h"
#include "services/agent/home/source_watch.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {

struct CommitContext {  // all outlive the run
  DatasetHandle& dataset;
  const SourceSpec& source;
  const HomeIdentity& home;
  const CommitOptions& options;
  const os::Clock* clock;
  const std::function<void(const CommitProgress&)>& progress;
  const std::atomic<bool>& cancelled;
  SourceWatch* watch;                // may be null
  CommitPreview* preview = nullptr;  // only told what there is: nothing is read, written or watched
  // Every file is read, every chunk that is built on is read back, and what is damaged is stored anew. The version
  // before counts only where what the source lacks is kept.
  bool reread = false;
  bool* damaged = nullptr;  // becomes true where a node of the version before cannot be read
};

// The nodes of the version before.
class BaseNodes : public store::NodeSource {
 public:
  BaseNodes(store::NodeSource* nodes, bool* damaged) : nodes_(nodes), damaged_(damaged) {}
  absl::StatusOr<std::shared_ptr<const store::Node>> Load(const Digest& digest) override;

 private:
  store::NodeSource* const nodes_;
  bool* const damaged_;
};

class CommitRun {
 protected:
  explicit CommitRun(const CommitContext& context)
      : context_(context), dataset_(context.dataset), base_(context.dataset.nodes.get(), context.damaged) {}
  ~CommitRun() = default;

  // Opens the source and a writer; entries reach `sink` in the order in which they are handed to the pipeline.
  absl::Status Open(ChunkPipeline::EntrySink sink);
  absl::StatusOr<std::unique_ptr<os::TreeDir>> OpenSource() const;

  bool Unsettled(const os::NodeStat& stat) const;
  store::Entry MakeEntry(const WalkItem& item, store::EntryType type) const;
  // `previous`: what the version before has there, or null.
  store::Entry MakeDirectory(const WalkItem& item, const store::Entry* previous) const;
  // Nothing: it may be written to again without its times moving.
  std::optional<ScanRecord> RecordOf(const std::string& path, const os::NodeStat& stat) const;
  // A watch of a directory is not told what is written by a name elsewhere: of another hard link, of a bind mount.
  static bool HasOtherNames(const os::NodeStat& stat) { return stat.links > 1 || stat.mount_root; }
  // Files that have them are looked at by every commit.
  void WatchLinks(const std::string& path, const os::NodeStat& stat);
  // `stat` becomes what was read.
  absl::StatusOr<ReadResult> ReadContent(const WalkItem& item, os::NodeStat* stat);
  // Nothing: it is no symlink any more.
  absl::StatusOr<std::optional<store::Entry>> ReadSymlink(const WalkItem& item) const;

  // FAILED_PRECONDITION: a file system that was mounted at the source, or in it, is gone, and with it something that
  // the newest version has.
  absl::Status CheckMounts();
  absl::StatusOr<bool> IsMounted(const std::string& path);
  bool StillMounted();                                                  // all that CheckMounts found mounted
  absl::StatusOr<bool> LacksSomethingOf(const std::string& directory);  // of what the newest version has below it
  absl::Status CheckCancelled() const;
  // A version can hold it; else what can be done.
  absl::Status CheckPath(const std::string& path) const;
  // A disk that was unmounted, or a directory that was swapped, while it was read is not what the owner meant to
  // commit.
  absl::Status CheckSource();
  // What was redacted does not come back because the source still has it.
  absl::Status CheckNotRedacted(const store::Entry& entry) const;
  absl::Status StoreNode(const Digest& digest, std::string_view encoded);
  // The version, durable; or the newest one, when this is no other.
  absl::Status Publish(const store::ManifestSummary& summary, uint64_t skipped);
  absl::Status Described(const absl::Status& status) const;
  WatchBinding Binding(const Digest& manifest) const { return {reading_, manifest}; }
  std::string Label(std::string_view path) const { return context_.source.path + "/" + DisplayPath(path); }
  std::string LabelOfMount(const std::string& path) const;  // as SourceMemory names it
  // Where the file system that the source lies on is mounted, as SourceMemory names it; nothing: at /.
  std::optional<std::string> Mount() const;
  void Report();

  const CommitContext context_;
  DatasetHandle& dataset_;
  mutable BaseNodes base_;
  std::shared_ptr<const Selection> selection_;
  OwnDirectories own_;
  std::unique_ptr<os::TreeDir> root_;
  os::NodeStat root_stat_;
  std::string reading_;  // of WatchBinding
  SourceMemory remembered_;
  bool link_ = false;                 // the source's path is a symlink
  std::string real_path_;             // of the source
  std::vector<bool> mounts_up_;       // whether it, the directory above it, ... is the root of a file system
  bool mounts_changed_ = false;       // since it was
  std::vector<std::string> mounted_;  // still, when the commit began, of what was remembered
  absl::Time started_;
  bool coarse_ = false;  // the times of its files may be another machine's, or of a kind that is not known here
  // One writer from before the first look at the store to after the catalog row: garbage collection waits for it.
  std::unique_ptr<store::DatasetStore::Writer> writer_;
  std::optional<chunk::Chunker> chunker_;
  std::optional<store::CatalogVersion> newest_;
  std::unique_ptr<ChunkPipeline> pipeline_;
  std::unique_ptr<ContentReader> reader_;
  CommitProgress counts_;
  uint64_t file_bytes_ = 0;   // of the file that is being read; 0: none is
  uint64_t read_before_ = 0;  // bytes read when it was begun
  CommitOutcome outcome_;
};

// Counts a name and lists the first ones.
void NoteName(std::string_view path, std::vector<std::string>* list, uint64_t* count);

// The whole source beside the scan cache. What it saw, `context.watch` watches from now on.
absl::StatusOr<CommitOutcome> CommitByScan(const CommitContext& context);

// Only what changed since the newest version, as the watch knows it. Nothing: only a scan can tell.
absl::StatusOr<std::optional<CommitOutcome>> CommitByChanges(const CommitContext& context);

}  // namespace bailiwick::agent
