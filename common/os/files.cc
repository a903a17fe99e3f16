#include "common/os/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/random.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

using internal::UniqueFd;

class SystemFile : public File {
 public:
  SystemFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) override {
    return internal::PreadAll(fd_.get(), offset, out, n, path_);
  }

  absl::Status WriteAt(uint64_t offset, std::string_view data) override {
    BW_RETURN_IF_ERROR(Usable());
    return internal::PwriteAll(fd_.get(), offset, data, path_);
  }

  absl::Status Sync() override {
    BW_RETURN_IF_ERROR(Usable());
    if (::fsync(fd_.get()) == 0) return absl::OkStatus();
    // The kernel may have dropped the dirty pages and reports the error once: a second fsync would lie.
    failed_.store(true, std::memory_order_release);
    return ErrnoStatus(errno, absl::StrCat("cannot sync ", path_));
  }

  absl::Status Truncate(uint64_t size) override {
    BW_RETURN_IF_ERROR(Usable());
    while (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return ErrnoStatus(errno, absl::StrCat("cannot set the size of ", path_));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat st;
    if (::fstat(fd_.get(), &st) != 0) return ErrnoStatus(errno, absl::StrCat("cannot stat ", path_));
    return static_cast<uint64_t>(st.st_size);
  }

  int fd() const override { return fd_.get(); }

 private:
  absl::Status Usable() const {
    if (!failed_.load(std::memory_order_acquire)) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(path_, " failed to sync before and is not used any more; write it anew"));
  }

  const UniqueFd fd_;
  const std::string path_;
  std::atomic<bool> failed_{false};
};

class SystemLock : public FileLock {
 public:
  explicit SystemLock(UniqueFd fd) : fd_(std::move(fd)) {}

 private:
  const UniqueFd fd_;
};

class SystemFiles : public Files {
 public:
  absl::StatusOr<std::unique_ptr<File>> OpenRead(const std::string& path) override {
    return Open(path, O_RDONLY, "cannot open ");
  }
  absl::StatusOr<std::unique_ptr<File>> OpenReadWrite(const std::string& path, bool create) override {
    return Open(path, create ? O_RDWR | O_CREAT : O_RDWR, "cannot open ");
  }
  absl::StatusOr<std::unique_ptr<File>> CreateNew(const std::string& path) override {
    return Open(path, O_RDWR | O_CREAT | O_EXCL, "cannot create ");
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("cannot rename ", from, " to ", to));
  }

  absl::Status Remove(const std::string& path) override {
    if (::unlink(path.c_str()) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("cannot remove ", path));
  }

  absl::Status RemoveTree(const std::string& path) override {
    std::string trimmed = path;
    while (!trimmed.empty() && trimmed.back() == '/') trimmed.pop_back();
    size_t slash = trimmed.rfind('/');
    std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
    if (name.empty() || name == "." || name == "..") {
      return absl::InvalidArgumentError(absl::StrCat("refusing to remove the tree \"", path, "\""));
    }
    std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : trimmed.substr(0, slash);
    UniqueFd dir(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir.ok()) {
      if (errno == ENOENT) return absl::OkStatus();
      return ErrnoStatus(errno, absl::StrCat("cannot remove ", path));
    }
    return Annotate(internal::RemoveTreeAt(dir.get(), name), path);
  }

  absl::Status SyncDir(const std::string& path) override {
    UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir.ok()) return ErrnoStatus(errno, absl::StrCat("cannot open directory ", path));
    if (::fsync(dir.get()) != 0) return ErrnoStatus(errno, absl::StrCat("cannot sync directory ", path));
    return absl::OkStatus();
  }

  absl::Status MakeDirs(const std::string& path) override {
    if (path.empty()) return absl::InvalidArgumentError("a directory needs a name");
    // Upwards to the first directory that is there, then downwards again: each new name is synced before anything uses
    // it.
    std::vector<std::string> missing;
    std::string at = path;
    while (true) {
      while (at.size() > 1 && at.back() == '/') at.pop_back();
      struct stat st;
      if (::stat(at.c_str(), &st) == 0) {
        if (S_ISDIR(st.st_mode)) break;
        return absl::AlreadyExistsError(absl::StrCat(at, " is there but is not a directory"));
      }
      if (errno != ENOENT) return ErrnoStatus(errno, absl::StrCat("cannot make directory ", path));
      missing.push_back(at);
      at = Parent(at);
    }
    for (; !missing.empty(); missing.pop_back()) {
      const std::string& dir = missing.back();
      if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
        return ErrnoStatus(errno, absl::StrCat("cannot make directory ", dir));
      }
      BW_RETURN_IF_ERROR(SyncDir(Parent(dir)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir.ok()) return ErrnoStatus(errno, absl::StrCat("cannot list ", path));
    BW_ASSIGN_OR_RETURN(std::vector<std::string> names, internal::ListFd(dir.get(), path));
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::StatusOr<bool> Exists(const std::string& path) override {
    struct stat st;
    if (::lstat(path.c_str(), &st) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return ErrnoStatus(errno, absl::StrCat("cannot stat ", path));
  }

  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override {
    struct statvfs st;
    while (::statvfs(path.c_str(), &st) != 0) {
      if (errno != EINTR) return ErrnoStatus(errno, absl::StrCat("cannot ask for the free space of ", path));
    }
    return static_cast<uint64_t>(st.f_bavail) * st.f_frsize;
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.ok()) return ErrnoStatus(errno, absl::StrCat("cannot open lock ", path));
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) return ErrnoStatus(errno, absl::StrCat("cannot lock ", path));
      char text[24] = {};
      auto got = internal::PreadAll(fd.get(), 0, text, sizeof text - 1, path);
      long pid = got.ok() ? std::strtol(text, nullptr, 10) : 0;
      return absl::FailedPreconditionError(absl::StrCat(path, " is locked by another process",
                                                        pid > 0 ? absl::StrCat(" (pid ", pid, ")") : "",
                                                        "; stop it or use another directory"));
    }
    std::string pid = absl::StrCat(::getpid(), "\n");
    if (::ftruncate(fd.get(), 0) != 0) return ErrnoStatus(errno, absl::StrCat("cannot write lock ", path));
    BW_RETURN_IF_ERROR(internal::PwriteAll(fd.get(), 0, pid, path));
    return std::unique_ptr<FileLock>(new SystemLock(std::move(fd)));
  }

 private:
  static std::string Parent(const std::string& path) {
    size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
  }

  static absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, int flags, const char* failure) {
    int raw;
    do {
      raw = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    } while (raw < 0 && errno == EINTR);
    if (raw < 0) return ErrnoStatus(errno, absl::StrCat(failure, path));
    UniqueFd fd(raw);
    struct stat st;
    if (::fstat(raw, &st) != 0) return ErrnoStatus(errno, absl::StrCat(failure, path));
    if (S_ISDIR(st.st_mode)) return absl::FailedPreconditionError(absl::StrCat(path, " is a directory, not a file"));
    return std::unique_ptr<File>(new SystemFile(std::move(fd), path));
  }
};

}  // namespace

Files* Files::System() {
  static SystemFiles* files = new SystemFiles;
  return files;
}

void StartWriteback(int fd, uint64_t offset, uint64_t length) {
  if (fd < 0) return;
  static_cast<void>(::sync_file_range(fd, static_cast<off64_t>(offset), static_cast<off64_t>(length), SYNC_FILE_RANGE_WRITE));
}

absl::StatusOr<std::string> ReadFile(Files* files, const std::string& path, uint64_t limit) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<File> file, files->OpenRead(path));
  BW_ASSIGN_OR_RETURN(uint64_t size, file->Size());
  std::string data;
  // One byte past the size tells a file that grew (or has no size, as in /proc).
  for (uint64_t want = size + 1;; want = std::max<uint64_t>(64 << 10, want)) {
    want = std::min(want, limit - data.size() + 1);
    size_t before = data.size();
    data.resize(before + want);
    BW_ASSIGN_OR_RETURN(size_t got, file->ReadAt(before, data.data() + before, want));
    data.resize(before + got);
    if (data.size() > limit) {
      return absl::OutOfRangeError(absl::StrCat(path, " is larger than the ", limit, " bytes allowed"));
    }
    if (got < want) return data;
  }
}

absl::Status WriteFileAtomically(Files* files, const std::string& path, std::string_view data) {
  size_t slash = path.rfind('/');
  std::string dir = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  std::string temp = absl::StrCat(path, ".tmp-", absl::BytesToHexString(Random::System()->Bytes(6)));
  auto write = [&]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(std::unique_ptr<File> file, files->CreateNew(temp));
    BW_RETURN_IF_ERROR(file->WriteAt(0, data));
    BW_RETURN_IF_ERROR(file->Sync());
    return files->Rename(temp, path);
  };
  if (absl::Status status = write(); !status.ok()) {
    files->Remove(temp).IgnoreError();
    return status;
  }
  return files->SyncDir(dir);
}

absl::Status CheckPrivate(const File& file, const std::string& path) {
  if (file.fd() < 0) return absl::OkStatus();
  struct stat st;
  if (::fstat(file.fd(), &st) != 0) return ErrnoStatus(errno, absl::StrCat("cannot look at ", path));
  if ((st.st_mode & 077) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " can be read or written by others than its owner; run: chmod 600 ", path));
  }
  if (st.st_uid != ::geteuid() && st.st_uid != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " belongs to another user, who can read it; give it to the agent's user"));
  }
  return absl::OkStatus();
}

std::string JoinPath(std::string_view a, std::string_view b) {
  if (a.empty()) return std::string(b);
  while (!b.empty() && b.front() == '/') b.remove_prefix(1);
  if (b.empty()) return std::string(a);
  std::string out(a);
  if (out.back() != '/') out += '/';
  out += b;
  return out;
}

}  // namespace bailiwick::os
