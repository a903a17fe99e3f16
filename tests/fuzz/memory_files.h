// Files in memory, as os::Files: a disk on which anything may stand. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/os/files.h"
#include "tests/fuzz/fuzz.h"

namespace bailiwick::fuzz {

class MemoryFiles : public os::Files {
 public:
  using Content = std::shared_ptr<std::string>;

  void Put(const std::string& path, std::string_view bytes) { files_[path] = std::make_shared<std::string>(bytes); }
  std::string* Find(const std::string& path);  // null: not there

  absl::StatusOr<std::unique_ptr<os::File>> OpenRead(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<os::File>> OpenReadWrite(const std::string& path, bool create) override;
  absl::StatusOr<std::unique_ptr<os::File>> CreateNew(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status RemoveTree(const std::string& path) override;
  absl::Status SyncDir(const std::string&) override { return absl::OkStatus(); }
  absl::Status MakeDirs(const std::string&) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeBytes(const std::string&) override { return uint64_t{1} << 40; }
  absl::StatusOr<std::unique_ptr<os::FileLock>> Lock(const std::string&) override;

 private:
  std::map<std::string, Content> files_;
};

// A file that holds these bytes.
std::unique_ptr<os::File> FileOf(std::string_view bytes);

}  // namespace bailiwick::fuzz
