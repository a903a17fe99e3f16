// Files for tests: fails chosen operations and simulates power loss. Works on a real directory through another Files.
//
//   FaultFiles faults(Files::System(), temp_dir);   // what is below temp_dir now counts as durable
//   faults.StopAfter(7);                            // power goes after the 7th mutating operation
//   RunTheThing(&faults);                           // sees errors from then on; destroy all it opened
//   faults.DropUnsynced();                          // the disk as it is after the restart; power is back
//   ReopenAndCheck(&faults);
//
// Mutating operations are CreateNew, OpenReadWrite(create) of a missing file, WriteAt, Truncate, Sync, Rename, Remove,
// RemoveTree, SyncDir and MakeDirs (one operation however many directories). They count from 1, also when they fail.
// Reading, listing, locking and opening what exists do not count.
//
// What survives DropUnsynced, the harshest that POSIX allows:
//   - contents: a file's bytes at its last successful Sync; a file never synced is empty.
//   - names: a directory's entries at its last successful SyncDir. Creating, renaming and removing a file are undone
//   otherwise,
//     each side on its own: after a rename between two directories of which only the target was synced, both names are
//     there.
//   - MakeDirs is durable when it returns OK, as Files promises; RemoveTree only after SyncDir of the parent.
// KeepUnsynced is the kindest: all that was done is there, as if the kernel had written everything back just in time.
// A correct component survives both at every operation.
//
// Paths must lie below the root and be plain (no "." or ".."). Every file and name below the root must be changed
// through this object alone. Sync copies the whole file into memory, so keep files small. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/os/files.h"

namespace bailiwick::os {

class FaultFiles : public Files {
 public:
  FaultFiles(Files* base, const std::string& root);  // root exists
  ~FaultFiles() override;

  uint64_t operations() const ABSL_LOCKS_EXCLUDED(mutex_);  // mutating ones so far
  // What they were, "sync /dir/file" for the n-th at index n - 1: to aim a fault, and to read a failing test.
  std::vector<std::string> history() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The n-th operation (counted from construction or the last ResetOperations) fails with `error`, and with
  // `from_then_on` every later one too. A failing WriteAt has written the first half; a failing Sync leaves the file
  // failed and its bytes unsynced.
  void FailAt(uint64_t n, absl::Status error, bool from_then_on = false) ABSL_LOCKS_EXCLUDED(mutex_);
  // The next operation whose entry in history() would start with `prefix`, such as "sync ", fails once.
  void FailNext(const std::string& prefix, absl::Status error) ABSL_LOCKS_EXCLUDED(mutex_);
  // Power loss after n operations: all later calls fail, reads too.
  void StopAfter(uint64_t n) ABSL_LOCKS_EXCLUDED(mutex_);
  void ClearFaults() ABSL_LOCKS_EXCLUDED(mutex_);      // none of the above; files failed by a Sync stay failed
  void ResetOperations() ABSL_LOCKS_EXCLUDED(mutex_);  // counts from 0 again, faults cleared

  // Both: files opened before are dead (every call fails), faults are cleared, counting starts from 0.
  absl::Status DropUnsynced() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status KeepUnsynced() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::unique_ptr<File>> OpenRead(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenReadWrite(const std::string& path, bool create) override;
  absl::StatusOr<std::unique_ptr<File>> CreateNew(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status RemoveTree(const std::string& path) override;
  absl::Status SyncDir(const std::string& path) override;
  absl::Status MakeDirs(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  class FaultFile;
  struct Node;  // a file or directory, live and durable
  using NodePtr = std::shared_ptr<Node>;

  // Counts a mutating operation; the error that it must fail with, if any.
  absl::Status Count(const std::string& what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Powered() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<NodePtr> Adopt(const std::string& path);  // what is on disk, as durable
  absl::StatusOr<std::vector<std::string>> Split(const std::string& path) const;
  NodePtr Find(const std::vector<std::string>& parts) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  NodePtr FindParent(const std::vector<std::string>& parts) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Restore(const NodePtr& node, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool write, bool create, bool exclusive);
  void Restarted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Files* const base_;
  const std::string root_;
  mutable absl::Mutex mutex_;
  NodePtr tree_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> history_ ABSL_GUARDED_BY(mutex_);
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;  // of open files; a restart ends it
  uint64_t fail_at_ ABSL_GUARDED_BY(mutex_) = 0;     // 0: never
  bool fail_on_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status fail_with_ ABSL_GUARDED_BY(mutex_);
  std::string fail_prefix_ ABSL_GUARDED_BY(mutex_);  // empty: none
  absl::Status fail_prefix_with_ ABSL_GUARDED_BY(mutex_);
  std::optional<uint64_t> stop_after_ ABSL_GUARDED_BY(mutex_);
  bool off_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bailiwick::os
