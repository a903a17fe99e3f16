// What this machine gives a process: space, kinds of file systems, owners, limits of the kernel. For who looks for what
// is wrong, not for hot paths. Thread-safe; nothing here changes anything but TryDirectory, which cleans up.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bailiwick::os {

// Of the file system that holds the path, as users without privileges may use it.
struct Space {
  uint64_t free_bytes = 0, total_bytes = 0;
  uint64_t free_inodes = 0, total_inodes = 0;  // 0 in all: it makes them as it needs them
};
absl::StatusOr<Space> SpaceOf(const std::string& path);

struct FileSystem {
  std::string type;      // "ext4", "nfs"; of one that is not known its number, "0x1234"
  bool network = false;  // its bytes lie on another machine, or may (FUSE)
};
absl::StatusOr<FileSystem> FileSystemOf(const std::string& path);

struct Owner {
  uint32_t uid = 0, gid = 0;
  uint32_t mode = 0;  // permission bits
};
absl::StatusOr<Owner> OwnerOf(const std::string& path);  // follows symlinks. NOT_FOUND
std::string UserName(uint32_t uid);                      // by /etc/passwd; its number where it has no name

// What the file system under a directory can do, found by doing it in a directory of its own there, which is removed.
struct Abilities {
  absl::Status write, sync, rename, hard_link;
  bool reflink = false;
};
Abilities TryDirectory(const std::string& directory);

inline constexpr uint64_t kNoLimit = UINT64_MAX;

// The hard limit of open files of a process (0: this one). UNAVAILABLE: not ours to ask, or gone.
absl::StatusOr<uint64_t> OpenFilesLimit(pid_t pid);
// The process that wrote its pid into this lock file, where one whose name begins so runs under it. The lock itself is
// left alone: whoever starts just now is to get it.
std::optional<pid_t> LockHolder(const std::string& path, const std::string& name);
// "fs.inotify.max_user_watches", from /proc/sys. UNAVAILABLE: the kernel has no such setting, or it is not a number.
absl::StatusOr<uint64_t> KernelSetting(const std::string& name);
// The least that the control groups of a process allow (version 2), of "memory.max", "pids.max". kNoLimit: they do not
// say.
uint64_t GroupLimit(pid_t pid, const std::string& file);
uint64_t MachineMemory();  // bytes; 0: not known
// Whether something keeps the kernel's clock right (NTP, PTP). Nothing: the kernel does not say.
std::optional<bool> ClockIsKept();

}  // namespace bailiwick::os
