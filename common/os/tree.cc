#include "common/os/tree.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

using internal::Printable;
using internal::UniqueFd;

// A rename elsewhere can make openat2 give up with EAGAIN; bounded, so that a hostile tree cannot hold a thread.
constexpr int kResolveTries = 128;

absl::Status CheckPath(std::string_view path) {
  auto refuse = [&](const char* why) {
    return absl::InvalidArgumentError(absl::StrCat("the path \"", Printable(path), "\" ", why));
  };
  if (path.empty()) return refuse("is empty where a name is needed");
  if (path.find('\0') != std::string_view::npos) return refuse("contains a NUL byte");
  if (path.front() == '/') return refuse("is absolute; only paths inside the tree are allowed");
  for (size_t start = 0; start <= path.size();) {
    size_t end = std::min(path.find('/', start), path.size());
    std::string_view part = path.substr(start, end - start);
    if (part.empty()) return refuse("has an empty component");
    if (part == "..") return refuse("contains \"..\"");
    if (part == ".") return refuse("contains \".\"");
    start = end + 1;
  }
  return absl::OkStatus();
}

absl::Status PathError(int error, std::string_view what, std::string_view path) {
  if (error == ELOOP || error == EXDEV) {
    return absl::UnknownError(
        absl::StrCat(std::string(what), " ", Printable(path), ": a symbolic link on the way leads out of the tree"));
  }
  if (error == ENOSYS) {
    return absl::FailedPreconditionError(
        "the kernel has no openat2; Bailiwick needs Linux 5.6 or newer to read trees safely");
  }
  return ErrnoStatus(error, absl::StrCat(std::string(what), " ", Printable(path)));
}

// Without O_NOFOLLOW: RESOLVE_NO_SYMLINKS then refuses a link in the last place too, with the telling ELOOP.
int OpenBeneath(int dir, const std::string& path, uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  int fd = -1;
  for (int tries = 0; tries < kResolveTries; ++tries) {
    fd = static_cast<int>(::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return fd;
}

// The directory that holds the last component, and that component.
struct Place {
  int dir = -1;
  std::string name;
  UniqueFd owned;
};

absl::StatusOr<Place> Resolve(int root, const std::string& path, std::string_view what) {
  BW_RETURN_IF_ERROR(CheckPath(path));
  Place place;
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) {
    place.dir = root;
    place.name = path;
    return place;
  }
  place.owned = UniqueFd(OpenBeneath(root, path.substr(0, slash), O_PATH | O_DIRECTORY));
  if (!place.owned.ok()) return PathError(errno, what, path);
  place.dir = place.owned.get();
  place.name = path.substr(slash + 1);
  return place;
}

// Times before 1678 and after 2262 have no such number: the nearest that there is.
int64_t Nanoseconds(const struct statx_timestamp& time) {
  int64_t out = 0;
  if (__builtin_mul_overflow(static_cast<int64_t>(time.tv_sec), int64_t{1'000'000'000}, &out) ||
      __builtin_add_overflow(out, static_cast<int64_t>(time.tv_nsec), &out)) {
    return time.tv_sec < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
  }
  return out;
}

// As statx(2) does; an empty name is the descriptor itself. 0, or -1 and errno.
int LookAt(int fd, const char* name, NodeStat* out) {
  struct statx st;
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name == '\0' ? AT_EMPTY_PATH : 0);
  if (::statx(fd, name, flags, STATX_BASIC_STATS, &st) != 0) return -1;
  out->type = S_ISREG(st.stx_mode)   ? NodeType::kFile
              : S_ISDIR(st.stx_mode) ? NodeType::kDirectory
              : S_ISLNK(st.stx_mode) ? NodeType::kSymlink
                                     : NodeType::kOther;
  out->mode = st.stx_mode & 07777;
  out->size = st.stx_size;
  out->mtime_ns = Nanoseconds(st.stx_mtime);
  out->ctime_ns = Nanoseconds(st.stx_ctime);
  out->inode = st.stx_ino;
  out->device = makedev(st.stx_dev_major, st.stx_dev_minor);
  out->mount_root = (st.stx_attributes_mask & st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  out->uid = st.stx_uid;
  out->gid = st.stx_gid;
  out->links = st.stx_nlink;
  out->blocks_bytes = st.stx_blocks * 512;
  return 0;
}

// O_NONBLOCK: opening a FIFO must not wait for a writer. O_NOATIME only where we own the file.
int OpenForRead(const Place& place) {
  const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  int fd = ::openat(place.dir, place.name.c_str(), flags | O_NOATIME);
  if (fd < 0 && errno == EPERM) fd = ::openat(place.dir, place.name.c_str(), flags);
  return fd;
}

struct MtimeOnly {
  explicit MtimeOnly(int64_t mtime_ns) {
    constexpr int64_t kBillion = 1'000'000'000;
    int64_t seconds = mtime_ns / kBillion, nanos = mtime_ns % kBillion;
    if (nanos < 0) {
      --seconds;
      nanos += kBillion;
    }
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_sec = static_cast<time_t>(seconds);
    times[1].tv_nsec = static_cast<long>(nanos);
  }
  timespec times[2] = {};
};

class SystemTreeFile : public TreeFile {
 public:
  SystemTreeFile(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) override {
    return internal::PreadAll(fd_.get(), offset, out, n, name_);
  }
  absl::Status WriteAt(uint64_t offset, std::string_view data) override {
    BW_RETURN_IF_ERROR(Usable());
    return internal::PwriteAll(fd_.get(), offset, data, name_);
  }
  absl::Status WriteParts(uint64_t offset, std::span<const std::string_view> parts) override {
    BW_RETURN_IF_ERROR(Usable());
    return internal::PwritevAll(fd_.get(), offset, parts, name_);
  }
  absl::Status Truncate(uint64_t size) override {
    BW_RETURN_IF_ERROR(Usable());
    while (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return ErrnoStatus(errno, absl::StrCat("cannot set the size of ", name_));
    }
    return absl::OkStatus();
  }
  absl::Status SetMode(uint32_t mode) override {
    if (mode > 07777) return absl::InvalidArgumentError(absl::StrCat("mode ", mode, " has bits beyond 07777"));
    return Set(::fchmod(fd_.get(), mode), "cannot set the mode of ");
  }
  absl::Status SetMtime(int64_t mtime_ns) override {
    return Set(::futimens(fd_.get(), MtimeOnly(mtime_ns).times), "cannot set the time of ");
  }
  absl::Status SetOwner(uint32_t uid, uint32_t gid) override {
    return Set(::fchown(fd_.get(), uid, gid), "cannot set the owner of ");
  }
  absl::Status Sync() override {
    BW_RETURN_IF_ERROR(Usable());
    if (::fsync(fd_.get()) == 0) return absl::OkStatus();
    failed_.store(true, std::memory_order_release);
    return ErrnoStatus(errno, absl::StrCat("cannot sync ", name_));
  }
  absl::Status KeepUnwritten() override {
    // The kernel tells by signal that somebody waits, which without a handler would end the process.
    static const bool ignored = ::signal(SIGIO, SIG_IGN) != SIG_ERR;
    if (!ignored) return ErrnoStatus(errno, "ignoring SIGIO");
    if (::fcntl(fd_.get(), F_SETLEASE, F_RDLCK) == 0) return absl::OkStatus();
    if (errno == EAGAIN) return absl::UnavailableError(absl::StrCat(name_, " is open for writing"));
    if (errno == EACCES || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOLCK) {
      return absl::UnimplementedError(absl::StrCat("who writes to ", name_, " cannot be known here"));
    }
    return ErrnoStatus(errno, absl::StrCat("cannot lease ", name_));
  }
  absl::StatusOr<NodeStat> Stat() override {
    NodeStat stat;
    if (LookAt(fd_.get(), "", &stat) != 0) return ErrnoStatus(errno, absl::StrCat("cannot stat ", name_));
    return stat;
  }
  int fd() const override { return fd_.get(); }

 private:
  absl::Status Set(int result, const char* what) const {
    return result == 0 ? absl::OkStatus() : ErrnoStatus(errno, absl::StrCat(what, name_));
  }
  absl::Status Usable() const {
    if (!failed_.load(std::memory_order_acquire)) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(name_, " failed to sync before and is not used any more; write it anew"));
  }

  const UniqueFd fd_;
  const std::string name_;  // printable
  std::atomic<bool> failed_{false};
};

class SystemTreeDir : public TreeDir {
 public:
  explicit SystemTreeDir(UniqueFd fd) : fd_(std::move(fd)) {}

  absl::Status List(const std::function<void(std::string_view)>& each) override {
    return internal::ListFd(fd_.get(), "the directory", each);
  }

  absl::StatusOr<std::unique_ptr<TreeDir>> OpenDir(const std::string& path) override {
    int flags = O_RDONLY | O_DIRECTORY | O_NOCTTY;
    int raw;
    if (path.empty()) {
      raw = ::openat(fd_.get(), ".", flags | O_CLOEXEC);
    } else {
      BW_RETURN_IF_ERROR(CheckPath(path));
      raw = path.find('/') == std::string::npos ? ::openat(fd_.get(), path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC)
                                                : OpenBeneath(fd_.get(), path, static_cast<uint64_t>(flags));
    }
    if (raw >= 0) return std::unique_ptr<TreeDir>(new SystemTreeDir(UniqueFd(raw)));
    int error = errno;
    if (error == ENOTDIR) {  // a symlink and a file look the same here: say which
      absl::StatusOr<NodeStat> st = Stat(path);
      if (st.ok() && st->type == NodeType::kSymlink) return PathError(ELOOP, "cannot open directory", path);
      if (st.ok()) return absl::FailedPreconditionError(absl::StrCat(Printable(path), " is not a directory"));
    }
    return PathError(error, "cannot open directory", path);
  }

  absl::StatusOr<NodeStat> Stat(const std::string& path) override {
    NodeStat stat;
    if (path.empty()) {
      if (LookAt(fd_.get(), "", &stat) != 0) return ErrnoStatus(errno, "cannot stat the directory");
      return stat;
    }
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot stat"));
    if (LookAt(at.dir, at.name.c_str(), &stat) != 0) return PathError(errno, "cannot stat", path);
    return stat;
  }

  absl::StatusOr<std::string> ReadLink(const std::string& path) override {
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot read link"));
    std::string target(4097, '\0');  // PATH_MAX bounds a link's text
    ssize_t n = ::readlinkat(at.dir, at.name.c_str(), target.data(), target.size());
    if (n < 0) {
      if (errno == EINVAL)
        return absl::FailedPreconditionError(absl::StrCat(Printable(path), " is not a symbolic link"));
      return PathError(errno, "cannot read link", path);
    }
    target.resize(static_cast<size_t>(n));
    return target;
  }

  absl::StatusOr<std::unique_ptr<TreeFile>> OpenRead(const std::string& path) override {
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot open"));
    UniqueFd fd(OpenForRead(at));
    if (!fd.ok()) {
      if (errno == ENXIO) return NotRegular(path);  // a socket
      return PathError(errno, "cannot open", path);
    }
    struct stat st;
    if (::fstat(fd.get(), &st) != 0) return PathError(errno, "cannot stat", path);
    if (!S_ISREG(st.st_mode)) return NotRegular(path);
    return std::unique_ptr<TreeFile>(new SystemTreeFile(std::move(fd), Printable(path)));
  }

  absl::StatusOr<std::unique_ptr<TreeFile>> CreateFile(const std::string& path) override {
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot create"));
    UniqueFd fd(::openat(at.dir, at.name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.ok()) return PathError(errno, "cannot create", path);
    return std::unique_ptr<TreeFile>(new SystemTreeFile(std::move(fd), Printable(path)));
  }

  absl::Status MakeDir(const std::string& path) override {
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot make directory"));
    return Done(::mkdirat(at.dir, at.name.c_str(), 0700), "cannot make directory", path);
  }

  absl::Status MakeSymlink(const std::string& path, const std::string& target) override {
    if (target.empty() || target.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("the link ", Printable(path), " has an empty target or one with NUL"));
    }
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot make link"));
    return Done(::symlinkat(target.c_str(), at.dir, at.name.c_str()), "cannot make link", path);
  }

  absl::Status Link(TreeDir& from_dir, const std::string& from, const std::string& to) override {
    BW_ASSIGN_OR_RETURN(Place source, Resolve(from_dir.fd(), from, "cannot link"));
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), to, "cannot link to"));
    if (::linkat(source.dir, source.name.c_str(), at.dir, at.name.c_str(), 0) == 0) return absl::OkStatus();
    // Here EXDEV means two file systems, nothing about leaving the tree.
    if (errno == EXDEV || errno == EMLINK || errno == EOPNOTSUPP) {
      return absl::UnimplementedError(
          absl::StrCat("no hard link can be made from ", Printable(from), " to ", Printable(to)));
    }
    return ErrnoStatus(errno, absl::StrCat("cannot link ", Printable(from), " to ", Printable(to)));
  }

  absl::Status Reflink(TreeDir& from_dir, const std::string& from, const std::string& to) override {
    BW_ASSIGN_OR_RETURN(Place source, Resolve(from_dir.fd(), from, "cannot clone"));
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), to, "cannot clone to"));
    UniqueFd in(OpenForRead(source));
    if (!in.ok()) return PathError(errno, "cannot clone", from);
    struct stat st;
    if (::fstat(in.get(), &st) != 0) return PathError(errno, "cannot stat", from);
    if (!S_ISREG(st.st_mode)) return NotRegular(from);
    UniqueFd out(::openat(at.dir, at.name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!out.ok()) return PathError(errno, "cannot create", to);
    if (::ioctl(out.get(), FICLONE, in.get()) == 0) return absl::OkStatus();
    int error = errno;
    ::unlinkat(at.dir, at.name.c_str(), 0);
    if (error == EOPNOTSUPP || error == EXDEV || error == EINVAL || error == ENOTTY || error == ENOSYS) {
      return absl::UnimplementedError("this file system cannot clone files");
    }
    return PathError(error, "cannot clone to", to);
  }

  absl::Status RemoveFile(const std::string& path) override {
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot remove"));
    if (::unlinkat(at.dir, at.name.c_str(), 0) == 0) return absl::OkStatus();
    if (errno == EISDIR) return absl::FailedPreconditionError(absl::StrCat(Printable(path), " is a directory"));
    return PathError(errno, "cannot remove", path);
  }

  absl::Status RemoveDir(const std::string& path) override {
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot remove directory"));
    if (::unlinkat(at.dir, at.name.c_str(), AT_REMOVEDIR) == 0) return absl::OkStatus();
    if (errno == ENOTEMPTY || errno == EEXIST) {
      return absl::FailedPreconditionError(absl::StrCat("the directory ", Printable(path), " is not empty"));
    }
    return PathError(errno, "cannot remove directory", path);
  }

  absl::Status RemoveTree(const std::string& path) override {
    absl::StatusOr<Place> at = Resolve(fd_.get(), path, "cannot remove");
    if (absl::IsNotFound(at.status())) return absl::OkStatus();
    if (!at.ok()) return at.status();
    return internal::RemoveTreeAt(at->dir, at->name);
  }

  absl::Status RenameNew(const std::string& from, const std::string& to) override {
    BW_ASSIGN_OR_RETURN(Place source, Resolve(fd_.get(), from, "cannot rename"));
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), to, "cannot rename to"));
    if (::renameat2(source.dir, source.name.c_str(), at.dir, at.name.c_str(), RENAME_NOREPLACE) == 0) {
      return absl::OkStatus();
    }
    const std::string what = absl::StrCat("cannot rename ", Printable(from), " to ", Printable(to));
    if (errno == EINVAL || errno == ENOSYS) return absl::UnimplementedError(what);
    return ErrnoStatus(errno, what);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    BW_ASSIGN_OR_RETURN(Place source, Resolve(fd_.get(), from, "cannot rename"));
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), to, "cannot rename to"));
    if (::renameat(source.dir, source.name.c_str(), at.dir, at.name.c_str()) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("cannot rename ", Printable(from), " to ", Printable(to)));
  }

  absl::Status SetMode(const std::string& path, uint32_t mode) override {
    if (mode > 07777) return absl::InvalidArgumentError(absl::StrCat("mode ", mode, " has bits beyond 07777"));
    if (path.empty()) return Done(::fchmod(fd_.get(), mode), "cannot set the mode of", "the directory");
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot set the mode of"));
    int error = internal::ChmodNoFollow(at.dir, at.name.c_str(), mode);
    if (error == 0) return absl::OkStatus();
    if (error == EOPNOTSUPP) {
      return absl::FailedPreconditionError(absl::StrCat(Printable(path), " is a symbolic link; links have no mode"));
    }
    return PathError(error, "cannot set the mode of", path);
  }

  absl::Status SetMtime(const std::string& path, int64_t mtime_ns) override {
    const MtimeOnly mtime(mtime_ns);
    if (path.empty()) return Done(::futimens(fd_.get(), mtime.times), "cannot set the time of", "the directory");
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot set the time of"));
    return Done(::utimensat(at.dir, at.name.c_str(), mtime.times, AT_SYMLINK_NOFOLLOW), "cannot set the time of", path);
  }

  absl::Status SetOwner(const std::string& path, uint32_t uid, uint32_t gid) override {
    if (path.empty()) return Done(::fchown(fd_.get(), uid, gid), "cannot set the owner of", "the directory");
    BW_ASSIGN_OR_RETURN(Place at, Resolve(fd_.get(), path, "cannot set the owner of"));
    return Done(::fchownat(at.dir, at.name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW), "cannot set the owner of", path);
  }

  absl::Status SyncDir(const std::string& path) override {
    if (path.empty()) return Done(::fsync(fd_.get()), "cannot sync", "the directory");
    BW_ASSIGN_OR_RETURN(std::unique_ptr<TreeDir> dir, OpenDir(path));
    return Done(::fsync(dir->fd()), "cannot sync directory", path);
  }

  int fd() const override { return fd_.get(); }

 private:
  static absl::Status Done(int result, std::string_view what, std::string_view path) {
    return result == 0 ? absl::OkStatus() : PathError(errno, what, path);
  }
  static absl::Status NotRegular(const std::string& path) {
    return absl::FailedPreconditionError(absl::StrCat(Printable(path), " is not a regular file"));
  }

  const UniqueFd fd_;
};

class SystemDirLock : public DirLock {
 public:
  explicit SystemDirLock(UniqueFd fd) : fd_(std::move(fd)) {}

 private:
  const UniqueFd fd_;
};

absl::StatusOr<UniqueFd> OpenRoot(const std::string& path) {
  if (path.empty() || path.front() != '/' || path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", Printable(path), "\" is not an absolute path"));
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY));
  if (fd.ok()) return fd;
  if (errno == ENOTDIR) return absl::FailedPreconditionError(absl::StrCat(Printable(path), " is not a directory"));
  return ErrnoStatus(errno, absl::StrCat("cannot open directory ", Printable(path)));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> TreeDir::List() {
  std::vector<std::string> names;
  BW_RETURN_IF_ERROR(List([&](std::string_view name) { names.emplace_back(name); }));
  return names;
}

absl::StatusOr<std::unique_ptr<TreeDir>> OpenTree(const std::string& absolute_path) {
  BW_ASSIGN_OR_RETURN(UniqueFd fd, OpenRoot(absolute_path));
  return std::unique_ptr<TreeDir>(new SystemTreeDir(std::move(fd)));
}

absl::Status SyncFileSystem(TreeDir& dir) {
  if (::syncfs(dir.fd()) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "cannot sync the file system");
}

absl::Status DataExtents(TreeFile& file, uint64_t begin, uint64_t end,
                         const std::function<void(const Extent&)>& found) {
  uint64_t at = begin;
  while (at < end) {
    off_t data = ::lseek(file.fd(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) break;  // only a hole is left
      if (errno != EINVAL && errno != EOPNOTSUPP) return ErrnoStatus(errno, "cannot look for holes");
      found({at, end - at});
      break;
    }
    if (static_cast<uint64_t>(data) >= end) break;
    off_t hole = ::lseek(file.fd(), data, SEEK_HOLE);
    if (hole < 0) {
      if (errno != ENXIO) return ErrnoStatus(errno, "cannot look for holes");
      hole = static_cast<off_t>(end);  // cut short meanwhile: the reader will see it
    }
    at = std::min<uint64_t>(static_cast<uint64_t>(hole), end);
    found({static_cast<uint64_t>(data), at - static_cast<uint64_t>(data)});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DirLock>> TryLockDir(const std::string& absolute_path, bool exclusive) {
  BW_ASSIGN_OR_RETURN(UniqueFd fd, OpenRoot(absolute_path));
  while (::flock(fd.get(), (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return absl::UnavailableError(absl::StrCat(Printable(absolute_path), " is locked"));
    return ErrnoStatus(errno, absl::StrCat("cannot lock ", Printable(absolute_path)));
  }
  return std::unique_ptr<DirLock>(new SystemDirLock(std::move(fd)));
}

}  // namespace bailiwick::os
