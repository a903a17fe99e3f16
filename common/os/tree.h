// The door to user trees: what a commit reads and what a materializer lays out. Every path is relative to an open root
// and resolved with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS): no "..", no absolute name,
// no symlink on the way can lead out, whatever else happens to the tree meanwhile. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bailiwick::os {

enum class NodeType : uint8_t { kFile = 1, kDirectory = 2, kSymlink = 3, kOther = 4 /* device, socket, FIFO */ };

struct NodeStat {
  NodeType type = NodeType::kOther;
  uint32_t mode = 0;  // permission bits incl. setuid, setgid, sticky: 07777
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t inode = 0;
  uint64_t device = 0;
  bool mount_root = false;  // something is mounted here, also from the same file system (Linux 5.8; false before)
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t links = 1;
  uint64_t blocks_bytes = 0;  // allocated
};

struct Extent {  // a run of data in a sparse file
  uint64_t offset = 0;
  uint64_t length = 0;
};

// An open regular file in a tree.
class TreeFile {
 public:
  virtual ~TreeFile() = default;
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) = 0;  // short only at the end
  virtual absl::Status WriteAt(uint64_t offset, std::string_view data) = 0;
  // One after the other from `offset` on.
  virtual absl::Status WriteParts(uint64_t offset, std::span<const std::string_view> parts) = 0;
  virtual absl::Status Truncate(uint64_t size) = 0;
  virtual absl::Status SetMode(uint32_t mode) = 0;
  virtual absl::Status SetMtime(int64_t mtime_ns) = 0;
  virtual absl::Status SetOwner(uint32_t uid, uint32_t gid) = 0;
  virtual absl::Status Sync() = 0;
  virtual absl::StatusOr<NodeStat> Stat() = 0;
  // From OK until this is closed nobody writes to the file: who opens it for writing waits, for some seconds at most.
  // UNAVAILABLE: somebody has it open for writing, or waits to; to be asked again. UNIMPLEMENTED: the file system, or
  // who owns the file, does not let this process know (fcntl(2), F_SETLEASE).
  virtual absl::Status KeepUnwritten() = 0;
  virtual int fd() const = 0;
};

// A directory handle. Names given to methods are relative paths ("a/b/c") unless said to be single components. Paths of
// up to PATH_MAX bytes and 255-byte components; deeper trees are walked with OpenDir.
class TreeDir {
 public:
  virtual ~TreeDir() = default;
  // Names in the directory itself, unsorted as the kernel gives them, without . and ..; any bytes but '/' and NUL. On
  // an error what `each` got is not all.
  virtual absl::Status List(const std::function<void(std::string_view name)>& each) = 0;
  absl::StatusOr<std::vector<std::string>> List();
  virtual absl::StatusOr<std::unique_ptr<TreeDir>> OpenDir(const std::string& path) = 0;
  virtual absl::StatusOr<NodeStat> Stat(const std::string& path) = 0;  // does not follow a symlink; "" is the directory
  virtual absl::StatusOr<std::string> ReadLink(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<TreeFile>> OpenRead(const std::string& path) = 0;  // regular files only
  virtual absl::StatusOr<std::unique_ptr<TreeFile>> CreateFile(
      const std::string& path) = 0;                           // ALREADY_EXISTS; mode 0600
  virtual absl::Status MakeDir(const std::string& path) = 0;  // ALREADY_EXISTS; mode 0700
  virtual absl::Status MakeSymlink(const std::string& path, const std::string& target) = 0;          // ALREADY_EXISTS
  virtual absl::Status Link(TreeDir& from_dir, const std::string& from, const std::string& to) = 0;  // hard link
  virtual absl::Status Reflink(TreeDir& from_dir, const std::string& from, const std::string& to) = 0;  // UNIMPLEMENTED
  virtual absl::Status RemoveFile(const std::string& path) = 0;
  virtual absl::Status RemoveDir(const std::string& path) = 0;   // empty ones only
  virtual absl::Status RemoveTree(const std::string& path) = 0;  // OK when missing; never follows a symlink
  // Never over what is there: ALREADY_EXISTS. UNIMPLEMENTED where the file system cannot tell.
  virtual absl::Status RenameNew(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status SetMode(const std::string& path, uint32_t mode) = 0;      // not for symlinks
  virtual absl::Status SetMtime(const std::string& path, int64_t mtime_ns) = 0;  // symlinks too
  virtual absl::Status SetOwner(const std::string& path, uint32_t uid, uint32_t gid) = 0;
  virtual absl::Status SyncDir(const std::string& path) = 0;  // "" is the directory
  virtual int fd() const = 0;
};

// Opens an absolute path as a root, following symlinks in the path itself (an admin gave it). NOT_FOUND,
// FAILED_PRECONDITION when it is not a directory, UNKNOWN (IsKeptOut).
absl::StatusOr<std::unique_ptr<TreeDir>> OpenTree(const std::string& absolute_path);

// syncfs(2) of the file system that holds the directory: one barrier for many files.
absl::Status SyncFileSystem(TreeDir& dir);

// What of the range is data, in order, by SEEK_DATA/SEEK_HOLE as a hint only: callers read what it names and must treat
// a hole as zeros they have not verified (OpenZFS #15526), so use it only on files whose allocated size is smaller than
// their length.
absl::Status DataExtents(TreeFile& file, uint64_t begin, uint64_t end, const std::function<void(const Extent&)>& found);

// A shared or exclusive flock on a directory; dies with the process. UNAVAILABLE when it would block.
class DirLock {
 public:
  virtual ~DirLock() = default;
};
absl::StatusOr<std::unique_ptr<DirLock>> TryLockDir(const std::string& absolute_path, bool exclusive);

}  // namespace bailiwick::os
