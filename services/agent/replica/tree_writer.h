// Turns a directory that holds one manifest's tree into another one's, by their difference. Nothing here is durable:
// the caller syncs the file system once at the end. Every operation is beneath the target directory (os::TreeDir).
//
// A file that changes becomes a new inode, and one whose inode is shared never has its metadata changed in place: other
// slots may hold hard links to it. The calling thread walks the difference; a few others write files, large ones in
// parts. A directory gets its final mode and mtime when the walk has left it and all in it is finished. Memory: one
// level per component of the current path and kMaxWaiting pieces of work, each with a thread at work holding some MiB
// of content. One thread calls.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/os/tree.h"
#include "common/store/manifest.h"
#include "services/agent/replica/write_pool.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

struct TreeStyle {
  bool writable = false;  // else files lose their write bits
  bool owner = false;     // restore uid and gid where the manifest has them
};

// The mode that a laid-out entry has. Without their owner files lose setuid and setgid: what root's own program may do
// at the source must not become the agent's power here.
uint32_t LaidOutMode(const store::Entry& entry, const TreeStyle& style);

// Another whole tree of the same dataset and style, from which identical files are cloned or linked.
struct TreeDonor {
  os::TreeDir* dir = nullptr;
  Digest root;
  bool hard_links = false;
};

class TreeWriter {
 public:
  // Bytes of content that have been put in place. Called by one thread at a time, not always the same.
  using Advance = std::function<void(uint64_t bytes)>;

  TreeWriter(DatasetHandle* dataset, os::TreeDir* target, const TreeStyle& style, Advance advance,
             const std::atomic<bool>* cancelled);
  ~TreeWriter();
  void SetDonor(const TreeDonor& donor) { donor_ = donor; }

  // `before`: what the target holds, an empty digest for an empty directory. RESOURCE_EXHAUSTED: disk full. CANCELLED.
  // On any error the target holds neither tree.
  absl::Status Apply(const Digest& before, const Digest& after);
  uint64_t redacted() const { return redacted_; }  // files that were left out

 private:
  struct Level {
    std::string path;  // of the directory, "" for the target
    std::shared_ptr<Level> parent;
    std::unique_ptr<os::TreeDir> owned;
    os::TreeDir* dir = nullptr;  // names below are relative to it; an ancestor's, where the path is deep
    std::string prefix;          // from dir to this directory: "" or with a trailing '/'
    bool touched = false;        // its mode or mtime has to be set again
    std::optional<store::Entry> entry;
    std::atomic<int> open{1};  // the walk that is in it, and everything in it that is not finished
  };
  using LevelRef = std::shared_ptr<Level>;
  struct OpenFile;     // one that is written in parts
  struct SmallFile;    // one that is written with its neighbours
  struct DonorPlace {  // the directory in which the file before was looked for: its neighbours lie there too
    std::string path;
    std::unique_ptr<os::TreeDir> dir;
  };

  absl::Status Change(const store::Entry* before, const store::Entry* after);
  absl::Status Remove(const store::Entry& before);
  absl::Status Create(const store::Entry& entry);
  // `chunks`: the content of a file.
  absl::Status CreateNow(const store::Entry& entry, Level& level, const std::string& name,
                         std::span<const std::string_view> chunks);
  absl::Status CreateOnce(const store::Entry& entry, Level& level, const std::string& name,
                          std::span<const std::string_view> chunks);
  absl::Status CreateInParts(const store::Entry& entry, const LevelRef& level, const std::string& name);
  absl::Status UpdateDirectory(const store::Entry& entry);
  absl::StatusOr<bool> UpdateMetadata(const store::Entry& entry);
  absl::StatusOr<bool> TakeFromDonor(const store::Entry& entry, Level& level, const std::string& name,
                                     DonorPlace* place);
  void CreateSmall(std::vector<SmallFile> files);
  void HandOverSmall();
  absl::Status WriteFile(const store::Entry& entry, Level& level, const std::string& name,
                         std::span<const std::string_view> chunks);
  absl::Status FinishFile(const store::Entry& entry, os::TreeFile& file, uint64_t written_end);
  absl::Status SetMetadata(const store::Entry& entry, Level& level, const std::string& name);

  // Makes the parent of `path` the top level, leaving directories that do not lead there.
  absl::Status EnterParent(std::string_view path);
  absl::Status Push(std::string_view name);
  absl::Status Leave();
  void Close(LevelRef level);  // one thing less is open in it
  void ClosePart(const std::shared_ptr<OpenFile>& open);
  static std::string NameIn(const Level& level, std::string_view path);
  absl::Status CheckCancelled() const;
  absl::Status CheckRoom() const;  // RESOURCE_EXHAUSTED: what is written here would take the agent's reserve
  absl::Status Named(const absl::Status& status, std::string_view path) const;
  void Advanced(uint64_t bytes);
  void Fail(const absl::Status& status);  // of a thread that writes; the first error counts
  absl::Status Failure();

  DatasetHandle* const dataset_;
  os::TreeDir* const target_;
  const TreeStyle style_;
  const Advance advance_;
  const std::atomic<bool>* const cancelled_;
  TreeDonor donor_;
  bool shares_disk_ = false;        // with the agent's own records
  std::atomic<bool> clones_{true};  // until the file system says no
  Digest after_root_;
  std::vector<LevelRef> levels_;
  std::vector<SmallFile> small_;  // that wait to be handed over together
  uint64_t small_bytes_ = 0;
  size_t small_directories_ = 0;
  uint64_t redacted_ = 0;
  std::string removed_;  // the last directory that was removed with all it held
  absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex advance_mutex_;
  WritePool pool_;  // last: its threads end before what they use
};

// Removes everything in a directory, also where modes forbid it. The directory itself stays.
absl::Status EmptyDirectory(os::TreeDir& dir);
// Removes one name and all below it; OK when missing.
absl::Status RemoveAll(os::TreeDir& dir, const std::string& name);

}  // namespace bailiwick::agent
