// SQLite's door to files, over os::Files. Belongs to one connection: not thread-safe, like it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/os/files.h"

struct sqlite3_vfs;

namespace bailiwick::sql {

// Registered with SQLite under a name of its own from construction to destruction; outlives the connection that uses
// it. Locks are no-ops: the connection is in exclusive locking mode and the data directory is locked by its process.
class Vfs {
 public:
  explicit Vfs(os::Files* files);  // files outlives it
  ~Vfs();
  Vfs(const Vfs&) = delete;
  Vfs& operator=(const Vfs&) = delete;

  const char* name() const { return name_.c_str(); }
  os::Files* files() const { return files_; }

  // The last error that a file operation met since the last call; SQLite's own codes keep no reason.
  absl::Status TakeError();
  void SetError(const absl::Status& status) { error_ = status; }

  // Not OK from the first failed sync on, for ever: what SQLite believes to be on disk may not be there.
  const absl::Status& broken() const { return broken_; }
  void SetBroken(const absl::Status& status);

 private:
  os::Files* const files_;
  const std::string name_;
  std::unique_ptr<sqlite3_vfs> vfs_;
  absl::Status error_;
  absl::Status broken_;
};

}  // namespace bailiwick::sql
