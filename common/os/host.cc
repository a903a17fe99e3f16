#include "common/os/host.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"
#include "common/os/files.h"
#include "common/os/random.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

using internal::UniqueFd;

struct Kind {
  uint64_t magic;
  const char* name;
  bool network;
};
// linux/magic.h, and of those that it does not have the source of the file system.
constexpr Kind kKinds[] = {{EXT4_SUPER_MAGIC, "ext4", false},
                           {BTRFS_SUPER_MAGIC, "btrfs", false},
                           {0x58465342, "xfs", false},
                           {TMPFS_MAGIC, "tmpfs", false},
                           {OVERLAYFS_SUPER_MAGIC, "overlay", false},
                           {F2FS_SUPER_MAGIC, "f2fs", false},
                           {0x2fc12fc1, "zfs", false},
                           {0xca451a4e, "bcachefs", false},
                           {MSDOS_SUPER_MAGIC, "vfat", false},
                           {NFS_SUPER_MAGIC, "nfs", true},
                           {0xff534d42, "cifs", true},
                           {0xfe534d42, "smb", true},
                           {0x517b, "smb", true},
                           {0x01021997, "9p", true},
                           {0x00c36400, "ceph", true},
                           {0x0bd00bd0, "lustre", true},
                           {0x47504653, "gpfs", true},
                           {0x7461636f, "ocfs2", true},
                           {0x65735546, "fuse", true}};

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// As a hard link of one file to another name; a rename over it; clones by FICLONE.
void TryNames(const std::string& directory, Abilities* can) {
  const std::string a = JoinPath(directory, "a"), b = JoinPath(directory, "b"), c = JoinPath(directory, "c");
  UniqueFd file(::open(a.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.ok()) {
    can->write = ErrnoStatus(errno, absl::StrCat("cannot make a file in ", directory));
    return;
  }
  can->write = internal::PwriteAll(file.get(), 0, "x", a);
  if (::fsync(file.get()) != 0) can->sync = ErrnoStatus(errno, "cannot sync a file");
  UniqueFd folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.ok() || ::fsync(folder.get()) != 0) can->sync = ErrnoStatus(errno, "cannot sync a directory");
  if (::link(a.c_str(), b.c_str()) != 0) can->hard_link = ErrnoStatus(errno, "cannot make a hard link");
  UniqueFd clone(::open(c.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  can->reflink = clone.ok() && ::ioctl(clone.get(), FICLONE, file.get()) == 0;
  if (::rename(a.c_str(), c.c_str()) != 0) can->rename = ErrnoStatus(errno, "cannot rename a file over another");
}

std::string ProcPath(pid_t pid, absl::string_view name) {
  return pid == 0 ? absl::StrCat("/proc/self/", name) : absl::StrCat("/proc/", pid, "/", name);
}

}  // namespace

absl::StatusOr<Space> SpaceOf(const std::string& path) {
  struct statvfs fs;
  if (::statvfs(path.c_str(), &fs) != 0) return ErrnoStatus(errno, absl::StrCat("cannot look at ", path));
  return Space{.free_bytes = uint64_t{fs.f_bavail} * fs.f_frsize,
               .total_bytes = uint64_t{fs.f_blocks} * fs.f_frsize,
               .free_inodes = fs.f_favail,
               .total_inodes = fs.f_files};
}

absl::StatusOr<FileSystem> FileSystemOf(const std::string& path) {
  struct statfs fs;
  if (::statfs(path.c_str(), &fs) != 0) return ErrnoStatus(errno, absl::StrCat("cannot look at ", path));
  const auto magic = static_cast<uint64_t>(fs.f_type) & 0xffffffff;
  const auto* kind =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& k) { return k.magic == magic; });
  if (kind == std::end(kKinds)) return FileSystem{absl::StrCat("0x", absl::Hex(magic)), false};
  return FileSystem{kind->name, kind->network};
}

absl::StatusOr<Owner> OwnerOf(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return ErrnoStatus(errno, absl::StrCat("cannot look at ", path));
  return Owner{st.st_uid, st.st_gid, st.st_mode & 07777};
}

std::string UserName(uint32_t uid) {
  // Read here: what getpwuid would load at run time does not fit into a static program.
  std::ifstream users("/etc/passwd");
  for (std::string line; std::getline(users, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ':');
    if (fields.size() > 2 && fields[2] == absl::StrCat(uid)) return fields[0];
  }
  return absl::StrCat(uid);
}

Abilities TryDirectory(const std::string& directory) {
  Abilities can;
  uint64_t nonce = 0;
  const std::string bytes = Random::System()->Bytes(sizeof nonce);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(&nonce));
  const std::string own = JoinPath(directory, absl::StrCat(".doctor-", absl::Hex(nonce)));
  if (::mkdir(own.c_str(), 0700) != 0) {
    can.write = ErrnoStatus(errno, absl::StrCat("cannot make a directory in ", directory));
    return can;
  }
  TryNames(own, &can);
  absl::Status removed = Files::System()->RemoveTree(own);
  if (can.write.ok()) can.write = removed;
  return can;
}

absl::StatusOr<uint64_t> OpenFilesLimit(pid_t pid) {
  rlimit limit{};
  if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0) {
    return absl::UnavailableError(absl::StrCat("the limits of process ", pid, " cannot be read"));
  }
  return limit.rlim_max == RLIM_INFINITY ? kNoLimit : uint64_t{limit.rlim_max};
}

std::optional<pid_t> LockHolder(const std::string& path, const std::string& name) {
  pid_t pid = 0;
  if (!absl::SimpleAtoi(FirstLine(path), &pid) || pid <= 0) return std::nullopt;
  // One that ended and that nobody has asked about yet still has a name, but no command line.
  if (!absl::StartsWith(FirstLine(ProcPath(pid, "comm")), name)) return std::nullopt;
  if (FirstLine(ProcPath(pid, "cmdline")).empty()) return std::nullopt;
  return pid;
}

absl::StatusOr<uint64_t> KernelSetting(const std::string& name) {
  uint64_t value = 0;
  const std::string path = absl::StrCat("/proc/sys/", absl::StrReplaceAll(name, {{".", "/"}}));
  if (absl::SimpleAtoi(FirstLine(path), &value)) return value;
  return absl::UnavailableError(absl::StrCat("the kernel does not say ", name));
}

uint64_t GroupLimit(pid_t pid, const std::string& file) {
  std::ifstream groups(ProcPath(pid, "cgroup"));
  std::string group;
  for (std::string line; std::getline(groups, line);) {
    absl::string_view rest = line;
    if (absl::ConsumePrefix(&rest, "0::")) group = std::string(rest);
  }
  uint64_t least = kNoLimit;
  // From the process's own group up to the root: each may allow less. In a namespace the root is what is seen of it.
  while (true) {
    uint64_t limit = 0;
    if (absl::SimpleAtoi(FirstLine(absl::StrCat("/sys/fs/cgroup", group, "/", file)), &limit)) {
      least = std::min(least, limit);
    }
    const size_t cut = group.rfind('/');
    if (cut == std::string::npos) return least;
    group.resize(cut);
  }
}

uint64_t MachineMemory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), size = ::sysconf(_SC_PAGESIZE);
  return pages <= 0 || size <= 0 ? 0 : static_cast<uint64_t>(pages) * static_cast<uint64_t>(size);
}

std::optional<bool> ClockIsKept() {
  timex state{};
  const int now = ::adjtimex(&state);
  if (now < 0) return std::nullopt;
  return now != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

}  // namespace bailiwick::os
