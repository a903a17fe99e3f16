#include "tests/fuzz/memory_files.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bailiwick::fuzz {
namespace {

class MemoryFile : public os::File {
 public:
  explicit MemoryFile(MemoryFiles::Content content) : content_(std::move(content)) {}
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) override {
    if (offset >= content_->size()) return size_t{0};
    return content_->copy(out, n, static_cast<size_t>(offset));
  }
  absl::Status WriteAt(uint64_t offset, std::string_view data) override {
    if (content_->size() < offset + data.size()) content_->resize(offset + data.size());
    std::copy(data.begin(), data.end(), content_->begin() + static_cast<ptrdiff_t>(offset));
    return absl::OkStatus();
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Truncate(uint64_t size) override {
    content_->resize(size);
    return absl::OkStatus();
  }
  absl::StatusOr<uint64_t> Size() override { return content_->size(); }

 private:
  const MemoryFiles::Content content_;
};

absl::Status Missing(const std::string& path) { return absl::NotFoundError(absl::StrCat(path, " is missing")); }

}  // namespace

std::unique_ptr<os::File> FileOf(std::string_view bytes) {
  return std::make_unique<MemoryFile>(std::make_shared<std::string>(bytes));
}

std::string* MemoryFiles::Find(const std::string& path) {
  auto it = files_.find(path);
  return it == files_.end() ? nullptr : it->second.get();
}

absl::StatusOr<std::unique_ptr<os::File>> MemoryFiles::OpenRead(const std::string& path) {
  return OpenReadWrite(path, false);
}

absl::StatusOr<std::unique_ptr<os::File>> MemoryFiles::OpenReadWrite(const std::string& path, bool create) {
  if (Find(path) == nullptr && !create) return Missing(path);
  if (Find(path) == nullptr) Put(path, "");
  return std::make_unique<MemoryFile>(files_[path]);
}

absl::StatusOr<std::unique_ptr<os::File>> MemoryFiles::CreateNew(const std::string& path) {
  if (Find(path) != nullptr) return absl::AlreadyExistsError(absl::StrCat(path, " exists"));
  return OpenReadWrite(path, true);
}

absl::Status MemoryFiles::Rename(const std::string& from, const std::string& to) {
  if (Find(from) == nullptr) return Missing(from);
  files_[to] = files_[from];
  files_.erase(from);
  return absl::OkStatus();
}

absl::Status MemoryFiles::Remove(const std::string& path) {
  return files_.erase(path) == 0 ? Missing(path) : absl::OkStatus();
}

absl::Status MemoryFiles::RemoveTree(const std::string& path) {
  std::erase_if(files_, [&](const auto& file) { return file.first == path || file.first.starts_with(path + "/"); });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> MemoryFiles::List(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& [name, content] : files_) {
    if (!name.starts_with(path + "/")) continue;
    const std::string rest = name.substr(path.size() + 1);
    names.push_back(rest.substr(0, rest.find('/')));
  }
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

absl::StatusOr<bool> MemoryFiles::Exists(const std::string& path) {
  auto names = List(path);
  return Find(path) != nullptr || !names->empty();
}

absl::StatusOr<std::unique_ptr<os::FileLock>> MemoryFiles::Lock(const std::string&) {
  return std::make_unique<os::FileLock>();
}

}  // namespace bailiwick::fuzz
