// Small helpers that the files of this folder share; nobody else includes this.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bailiwick::os::internal {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// Any bytes as text that can be printed.
std::string Printable(std::string_view name);

// Whole reads and writes at an offset, retried on EINTR. `what` names the file in errors.
absl::StatusOr<size_t> PreadAll(int fd, uint64_t offset, char* out, size_t n, std::string_view what);
absl::Status PwriteAll(int fd, uint64_t offset, std::string_view data, std::string_view what);
absl::Status PwritevAll(int fd, uint64_t offset, std::span<const std::string_view> parts, std::string_view what);

// Names in an open directory without . and .., unsorted. Its own file offset, so that threads can list at once. On an
// error what `each` got is not all.
// ListSome: up to the first for which `each` says false.
absl::Status ListSome(int dir_fd, std::string_view what, const std::function<bool(std::string_view name)>& each);
absl::Status ListFd(int dir_fd, std::string_view what, const std::function<void(std::string_view name)>& each);
absl::StatusOr<std::vector<std::string>> ListFd(int dir_fd, std::string_view what);

// 0 or an errno. Changes the mode of what `name` in `dir_fd` is, never of what a symlink points to (EOPNOTSUPP).
int ChmodNoFollow(int dir_fd, const char* name, uint32_t mode);

// Removes `name` in `dir_fd` and all below it without following a symlink; OK when missing. Goes on after an error and
// returns the first one. Any depth with a bounded number of descriptors.
absl::Status RemoveTreeAt(int dir_fd, const std::string& name);

}  // namespace bailiwick::os::internal
