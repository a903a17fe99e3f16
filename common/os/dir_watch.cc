#include "common/os/dir_watch.h"

#include <linux/magic.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

constexpr uint32_t kMask = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM |
                           IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr size_t kReadBytes = 256 << 10;
constexpr int kReads = 64;  // more than the kernel's queue holds; a busy writer must not hold the reader for ever

// Not in linux/magic.h of Debian 12.
constexpr long kXfs = 0x58465342;
constexpr long kZfs = 0x2fc12fc1;
constexpr long kBcachefs = static_cast<long>(0xca451a4e);

DirEvent::Kind KindOf(uint32_t mask) {
  if (mask & IN_Q_OVERFLOW) return DirEvent::Kind::kLost;
  if (mask & (IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF)) return DirEvent::Kind::kEnded;
  if (mask & IN_MOVE_SELF) return DirEvent::Kind::kMoved;
  if (mask & (IN_CREATE | IN_MOVED_TO)) return DirEvent::Kind::kAppeared;
  if (mask & (IN_DELETE | IN_MOVED_FROM)) return DirEvent::Kind::kGone;
  return DirEvent::Kind::kChanged;
}

class Inotify : public DirWatch {
 public:
  explicit Inotify(int fd) : fd_(fd), buffer_(kReadBytes, '\0') {}

  absl::StatusOr<int> Add(TreeDir& dir) override {
    const std::string path = absl::StrCat("/proc/self/fd/", dir.fd());
    const int watch = ::inotify_add_watch(fd_.get(), path.c_str(), kMask);
    if (watch >= 0) return watch;
    if (errno == ENOSPC) {
      return absl::ResourceExhaustedError(
          "the kernel watches no more directories for this user (raise fs.inotify.max_user_watches)");
    }
    return ErrnoStatus(errno, "watching a directory");
  }

  void Remove(int watch) override { ::inotify_rm_watch(fd_.get(), watch); }

  absl::Status Read(std::vector<DirEvent>* events) override {
    for (int reads = 0; reads < kReads; ++reads) {
      const ssize_t n = ::read(fd_.get(), buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return absl::OkStatus();
      if (n < 0) return ErrnoStatus(errno, "reading what changed in directories");
      for (const char* at = buffer_.data(); at < buffer_.data() + n;) {
        inotify_event raw;
        std::memcpy(&raw, at, sizeof raw);
        const char* name = at + sizeof raw;
        DirEvent event;
        event.kind = KindOf(raw.mask);
        event.watch = raw.wd;
        event.name.assign(name, ::strnlen(name, raw.len));
        event.directory = (raw.mask & IN_ISDIR) != 0;
        event.moved = (raw.mask & (IN_MOVED_FROM | IN_MOVED_TO)) != 0;
        events->push_back(std::move(event));
        at = name + raw.len;
      }
    }
    return absl::OkStatus();
  }

  int fd() const override { return fd_.get(); }

 private:
  internal::UniqueFd fd_;
  std::string buffer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DirWatch>> DirWatch::Create() {
  const int fd = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd >= 0) return std::make_unique<Inotify>(fd);
  if (errno == EMFILE) {
    return absl::ResourceExhaustedError(
        "the kernel has no more watches for this user (raise fs.inotify.max_user_instances)");
  }
  return ErrnoStatus(errno, "watching directories");
}

bool SeesAllChanges(TreeDir& dir) {
  struct statfs fs;
  if (::fstatfs(dir.fd(), &fs) != 0) return false;
  switch (static_cast<long>(fs.f_type)) {
    case EXT4_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case F2FS_SUPER_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
    case kXfs:
    case kZfs:
    case kBcachefs:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<std::string> MountsBelow(TreeDir& dir) {
  char path[PATH_MAX];
  const ssize_t n = ::readlink(absl::StrCat("/proc/self/fd/", dir.fd()).c_str(), path, sizeof path);
  if (n < 0) return ErrnoStatus(errno, "asking where a directory lies");
  std::string here;  // as the list of mounts writes it
  for (const char c : std::string_view(path, static_cast<size_t>(n))) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\') {
      absl::StrAppendFormat(&here, "\\%03o", c);
    } else {
      here += c;
    }
  }
  std::ifstream list("/proc/self/mountinfo");
  if (!list) return absl::UnavailableError("cannot read the list of mounts");
  std::string mounts;
  for (std::string line; std::getline(list, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(' ', 5));
    if (fields.size() < 5 || !fields[4].starts_with(here)) continue;
    if (fields[4].size() == here.size() || here == "/" || fields[4][here.size()] == '/') {
      absl::StrAppend(&mounts, fields[0], " ", fields[4], "\n");
    }
  }
  return mounts;
}

void WaitReadable(std::span<const int> fds, absl::Duration timeout) {
  std::vector<pollfd> wanted;
  for (int fd : fds) wanted.push_back({fd, POLLIN, 0});
  ::poll(wanted.data(), wanted.size(), static_cast<int>(absl::ToInt64Milliseconds(timeout)));
}

}  // namespace bailiwick::os
