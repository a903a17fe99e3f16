#include "common/os/raw_fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

namespace bailiwick::os::internal {
namespace {

// Directories deeper than this are first moved up: a descriptor a level must not exhaust the process's limit (often
// 1024).
constexpr size_t kRemoveDepth = 100;
constexpr size_t kRemoveNames = 64 << 10;  // listed at once: directories have millions

struct Level {
  UniqueFd fd;
  std::string name;  // in the level above
  std::vector<std::string> entries;
  bool more = false;     // than these were there
  bool removed = false;  // one of these, at least
};

class TreeRemover {
 public:
  explicit TreeRemover(int parent) : parent_(parent) {}

  absl::Status Remove(const std::string& name) {
    Visit(parent_, name);
    while (!levels_.empty()) {
      Level& top = levels_.back();
      if (!top.entries.empty()) {
        std::string entry = std::move(top.entries.back());
        top.entries.pop_back();
        Visit(top.fd.get(), entry);
        continue;
      }
      if (top.more && top.removed) {
        List(&top);
        continue;
      }
      std::string done = std::move(top.name);
      levels_.pop_back();
      int above = levels_.empty() ? parent_ : levels_.back().fd.get();
      if (::unlinkat(above, done.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
        Fail(errno, done);
      } else if (!levels_.empty()) {
        levels_.back().removed = true;
      }
    }
    return status_;
  }

 private:
  void Fail(int error, const std::string& name) {
    if (status_.ok()) status_ = ErrnoStatus(error, absl::StrCat("cannot remove ", Printable(name)));
  }

  // Unlinks a file; opens a directory as the new top level.
  void Visit(int dir, const std::string& name) {
    if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) {
      if (!levels_.empty()) levels_.back().removed = true;
      return;
    }
    int error = errno;
    struct stat st;
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) Fail(errno, name);
      return;
    }
    if (!S_ISDIR(st.st_mode)) {
      Fail(error, name);
      return;
    }
    if ((st.st_mode & 0700) != 0700) ChmodNoFollow(dir, name.c_str(), (st.st_mode & 07777) | 0700);
    if (levels_.size() >= kRemoveDepth && MoveUp(dir, name)) return;
    UniqueFd fd(::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.ok()) {
      if (errno != ENOENT) Fail(errno, name);
      return;
    }
    levels_.push_back({std::move(fd), name, {}, false, false});
    List(&levels_.back());
  }

  void List(Level* level) {
    level->removed = false;
    absl::Status listed = ListSome(level->fd.get(), Printable(level->name), [level](std::string_view name) {
      level->entries.emplace_back(name);
      return level->entries.size() < kRemoveNames;
    });
    level->more = listed.ok() && level->entries.size() == kRemoveNames;
    if (status_.ok()) status_ = listed;
  }

  bool MoveUp(int dir, const std::string& name) {
    for (int tries = 0; tries < 1000; ++tries) {
      std::string moved = absl::StrCat(".removing-", counter_++);
      if (::renameat2(dir, name.c_str(), levels_.front().fd.get(), moved.c_str(), RENAME_NOREPLACE) == 0) {
        levels_.front().entries.push_back(std::move(moved));
        levels_.back().removed = true;
        return true;
      }
      if (errno != EEXIST) return false;
    }
    return false;
  }

  const int parent_;
  std::vector<Level> levels_;
  uint64_t counter_ = 0;
  absl::Status status_;
};

}  // namespace

std::string Printable(std::string_view name) {
  return absl::Utf8SafeCHexEscape(absl::string_view(name.data(), name.size()));
}

absl::StatusOr<size_t> PreadAll(int fd, uint64_t offset, char* out, size_t n, std::string_view what) {
  size_t done = 0;
  while (done < n) {
    ssize_t got = ::pread(fd, out + done, n - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, absl::StrCat("cannot read ", std::string(what)));
    }
    done += static_cast<size_t>(got);
  }
  return done;
}

absl::Status PwriteAll(int fd, uint64_t offset, std::string_view data, std::string_view what) {
  size_t done = 0;
  while (done < data.size()) {
    ssize_t put = ::pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (put < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, absl::StrCat("cannot write ", std::string(what)));
    }
    done += static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

absl::Status PwritevAll(int fd, uint64_t offset, std::span<const std::string_view> parts, std::string_view what) {
  constexpr size_t kMaxVectors = 1024;  // IOV_MAX
  iovec vectors[kMaxVectors];
  for (size_t next = 0; next < parts.size();) {
    size_t count = 0, bytes = 0;
    for (; next + count < parts.size() && count < kMaxVectors; ++count) {
      const std::string_view part = parts[next + count];
      vectors[count] = {.iov_base = const_cast<char*>(part.data()), .iov_len = part.size()};
      bytes += part.size();
    }
    ssize_t put = ::pwritev(fd, vectors, static_cast<int>(count), static_cast<off_t>(offset));
    if (put < 0 && errno != EINTR) return ErrnoStatus(errno, absl::StrCat("cannot write ", std::string(what)));
    size_t done = put < 0 ? 0 : static_cast<size_t>(put);
    offset += done;
    if (done == bytes) {
      next += count;
      continue;
    }
    // Short: what is begun is ended alone, the rest goes with the next call.
    while (done >= parts[next].size()) done -= parts[next++].size();
    if (done == 0) continue;
    BW_RETURN_IF_ERROR(PwriteAll(fd, offset, parts[next].substr(done), what));
    offset += parts[next++].size() - done;
  }
  return absl::OkStatus();
}

absl::Status ListSome(int dir_fd, std::string_view what, const std::function<bool(std::string_view)>& each) {
  auto failed = [&] { return ErrnoStatus(errno, absl::StrCat("cannot list ", std::string(what))); };
  int fd = ::openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
  if (fd < 0 && errno == EPERM) fd = ::openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failed();
  DIR* dir = ::fdopendir(fd);
  if (dir == nullptr) {
    int error = errno;
    ::close(fd);
    errno = error;
    return failed();
  }
  int error = 0;
  while (true) {
    errno = 0;
    dirent* entry = ::readdir(dir);
    if (entry == nullptr) error = errno;
    if (entry == nullptr) break;
    std::string_view name(entry->d_name);
    if (name != "." && name != ".." && !each(name)) break;
  }
  ::closedir(dir);
  if (error != 0) {  // a listing that broke off must never pass for a short one
    errno = error;
    return failed();
  }
  return absl::OkStatus();
}

absl::Status ListFd(int dir_fd, std::string_view what, const std::function<void(std::string_view)>& each) {
  return ListSome(dir_fd, what, [&each](std::string_view name) {
    each(name);
    return true;
  });
}

absl::StatusOr<std::vector<std::string>> ListFd(int dir_fd, std::string_view what) {
  std::vector<std::string> names;
  BW_RETURN_IF_ERROR(ListFd(dir_fd, what, [&](std::string_view name) { names.emplace_back(name); }));
  return names;
}

int ChmodNoFollow(int dir_fd, const char* name, uint32_t mode) {
  static std::atomic<bool> has_fchmodat2{true};
  if (has_fchmodat2.load(std::memory_order_relaxed)) {
    if (::syscall(SYS_fchmodat2, dir_fd, name, mode, AT_SYMLINK_NOFOLLOW) == 0) return 0;
    if (errno != ENOSYS && errno != EPERM)
      return errno;  // EPERM: perhaps an old seccomp filter, the other way will tell
    if (errno == ENOSYS) has_fchmodat2.store(false, std::memory_order_relaxed);
  }
  UniqueFd fd(::openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.ok()) return errno;
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return errno;
  if (S_ISLNK(st.st_mode)) return EOPNOTSUPP;
  char link[40];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd.get());
  if (::chmod(link, mode) == 0) return 0;
  if (errno != ENOENT) return errno;
  // No /proc (a chroot): only what we may open, then.
  UniqueFd opened(::openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!opened.ok()) return errno == ELOOP ? EOPNOTSUPP : errno;
  return ::fchmod(opened.get(), mode) == 0 ? 0 : errno;
}

absl::Status RemoveTreeAt(int dir_fd, const std::string& name) { return TreeRemover(dir_fd).Remove(name); }

}  // namespace bailiwick::os::internal
