// The door to files that Bailiwick owns: packs, databases, keys, state. (User trees go through tree.h.) One class for
// all that the OS does, so that a test can drop what was not synced, fail a write or fill the disk. Thread-safe; one
// File may be used by several threads for reads, by one for writes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bailiwick::os {

class File {
 public:
  virtual ~File() = default;  // closes; does not sync
  // Bytes read, less than n only at the end of the file.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) = 0;
  virtual absl::Status WriteAt(uint64_t offset, std::string_view data) = 0;
  // Durable on OK. An error is final for this file: every later Sync and WriteAt fails too (fsyncgate); write it anew.
  virtual absl::Status Sync() = 0;
  virtual absl::Status Truncate(uint64_t size) = 0;
  virtual absl::StatusOr<uint64_t> Size() = 0;
  virtual int fd() const { return -1; }  // -1 for a file that is not a kernel file (tests)
};

// Held until destroyed. An flock: dies with the process.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Files {
 public:
  virtual ~Files() = default;
  // NOT_FOUND: missing. Modes of what is created: files 0600, directories 0700.
  virtual absl::StatusOr<std::unique_ptr<File>> OpenRead(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<File>> OpenReadWrite(const std::string& path, bool create) = 0;
  virtual absl::StatusOr<std::unique_ptr<File>> CreateNew(const std::string& path) = 0;  // ALREADY_EXISTS
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;       // replaces; not yet durable
  virtual absl::Status Remove(const std::string& path) = 0;                              // NOT_FOUND
  virtual absl::Status RemoveTree(const std::string& path) = 0;                          // OK when missing
  virtual absl::Status SyncDir(const std::string& path) = 0;   // names in it are durable on OK
  virtual absl::Status MakeDirs(const std::string& path) = 0;  // with parents; OK when there; durable
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& path) = 0;  // names, sorted, no . and ..
  virtual absl::StatusOr<bool> Exists(const std::string& path) = 0;
  virtual absl::StatusOr<uint64_t> FreeBytes(const std::string& path) = 0;
  // FAILED_PRECONDITION: another process holds it (the message names its pid when known).
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
  static Files* System();
};

// A hint: the kernel begins to bring these bytes to the disk, so that a Sync later waits for less of them. Nothing is
// durable by it, and no error of the disk is taken by it: Sync still says so. -1: does nothing.
void StartWriteback(int fd, uint64_t offset, uint64_t length);

// Whole file; at most `limit` bytes, else OUT_OF_RANGE.
absl::StatusOr<std::string> ReadFile(Files* files, const std::string& path, uint64_t limit = 64 << 20);
// temp in the same directory, write, fsync, rename, fsync directory: old or new, never half; durable on OK.
absl::Status WriteFileAtomically(Files* files, const std::string& path, std::string_view data);
// OK when nobody but its owner, who is this process's user, can read or write the file; FAILED_PRECONDITION names the
// remedy. OK too for what is not a kernel file (tests).
absl::Status CheckPrivate(const File& file, const std::string& path);
std::string JoinPath(std::string_view a, std::string_view b);

}  // namespace bailiwick::os
