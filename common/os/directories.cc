#include "common/os/directories.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

using internal::Printable;
using internal::UniqueFd;

constexpr int kMaxAbove = 4096;  // as many as a path has room for

absl::StatusOr<std::vector<DirectoryId>> UpFrom(int start, const std::string& path) {
  std::vector<DirectoryId> line;
  UniqueFd held(::openat(start, path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  while (line.size() < kMaxAbove) {
    if (!held.ok()) {
      if (errno == ENOTDIR) return absl::FailedPreconditionError(absl::StrCat(Printable(path), " is not a directory"));
      return ErrnoStatus(errno, absl::StrCat("cannot look at what is above directory ", Printable(path)));
    }
    struct stat st;
    if (::fstat(held.get(), &st) != 0) return ErrnoStatus(errno, absl::StrCat("cannot look at ", Printable(path)));
    const DirectoryId id{st.st_dev, st.st_ino};
    if (!line.empty() && line.back() == id) return line;  // "/" is above itself
    line.push_back(id);
    held = UniqueFd(::openat(held.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  return absl::OutOfRangeError(absl::StrCat(Printable(path), " lies too deep"));
}

}  // namespace

absl::StatusOr<std::vector<DirectoryId>> DirectoriesUpFrom(const std::string& absolute_path) {
  return UpFrom(AT_FDCWD, absolute_path);
}

absl::StatusOr<std::vector<DirectoryId>> DirectoriesUpFrom(TreeDir& dir) { return UpFrom(dir.fd(), "."); }

absl::StatusOr<bool> IsSymlink(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0) return ErrnoStatus(errno, absl::StrCat("cannot look at ", Printable(path)));
  return S_ISLNK(st.st_mode);
}

absl::StatusOr<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), &::free);
  if (real == nullptr) return ErrnoStatus(errno, absl::StrCat("cannot resolve ", Printable(path)));
  return std::string(real.get());
}

}  // namespace bailiwick::os
