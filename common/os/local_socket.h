// A socket in a directory, for who stands before this machine: the kernel says which user is at the other end. One line
// there, one line back. Not thread-safe; a connection belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bailiwick::os {

class LocalConnection {
 public:
  explicit LocalConnection(int fd) : fd_(fd) {}
  ~LocalConnection();
  LocalConnection(const LocalConnection&) = delete;
  LocalConnection& operator=(const LocalConnection&) = delete;
  absl::StatusOr<uint32_t> PeerUser() const;  // uid, by SO_PEERCRED: as it was when the other end connected
  // Without its line end. OUT_OF_RANGE: longer than `limit`. DEADLINE_EXCEEDED. UNAVAILABLE: the other end is gone.
  absl::StatusOr<std::string> ReadLine(size_t limit, absl::Duration timeout);
  absl::Status Write(std::string_view data, absl::Duration timeout);

 private:
  absl::Status Wait(short events, absl::Duration timeout) const;
  const int fd_;
  std::string read_;
};

class LocalListener {
 public:
  // `name` in `directory`; one that is there is replaced (whoever holds the directory's lock may). Mode 0600. The
  // directory's path may be longer than a socket's address.
  static absl::StatusOr<std::unique_ptr<LocalListener>> Open(const std::string& directory, const std::string& name);
  ~LocalListener();
  // Null: nobody came in that time.
  absl::StatusOr<std::unique_ptr<LocalConnection>> Accept(absl::Duration timeout);

 private:
  LocalListener(int directory, int fd, std::string name) : directory_(directory), fd_(fd), name_(std::move(name)) {}
  const int directory_;
  const int fd_;
  const std::string name_;
};

// UNAVAILABLE: nobody listens there. UNKNOWN: not this user's. NOT_FOUND.
absl::StatusOr<std::unique_ptr<LocalConnection>> ConnectLocal(const std::string& directory, const std::string& name);
uint32_t CurrentUser();

}  // namespace bailiwick::os
