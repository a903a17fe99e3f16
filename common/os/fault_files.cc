#include "common/os/fault_files.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::os {

struct FaultFiles::Node {
  bool directory = false;
  std::map<std::string, NodePtr> live;  // of a directory
  std::map<std::string, NodePtr> durable;
  std::string synced;  // of a file
};

class FaultFiles::FaultFile : public File {
 public:
  FaultFile(FaultFiles* owner, std::unique_ptr<File> base, NodePtr node, std::string path, uint64_t generation,
            bool writable)
      : owner_(owner),
        base_(std::move(base)),
        node_(std::move(node)),
        path_(std::move(path)),
        generation_(generation),
        writable_(writable) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t n) override {
    absl::MutexLock lock(&owner_->mutex_);
    BW_RETURN_IF_ERROR(Alive());
    return base_->ReadAt(offset, out, n);
  }

  absl::Status WriteAt(uint64_t offset, std::string_view data) override {
    absl::MutexLock lock(&owner_->mutex_);
    BW_RETURN_IF_ERROR(Writable());
    if (absl::Status fault = owner_->Count(absl::StrCat("write ", path_, " ", data.size(), " bytes at ", offset));
        !fault.ok()) {
      if (!owner_->off_) base_->WriteAt(offset, data.substr(0, data.size() / 2)).IgnoreError();
      return fault;
    }
    return base_->WriteAt(offset, data);
  }

  absl::Status Sync() override {
    absl::MutexLock lock(&owner_->mutex_);
    BW_RETURN_IF_ERROR(Alive());
    if (failed_) return absl::DataLossError("the file failed to sync before and is not used any more; write it anew");
    absl::Status status = owner_->Count("sync " + path_);
    if (status.ok()) status = base_->Sync();
    if (!status.ok()) {
      failed_ = true;
      return status;
    }
    BW_ASSIGN_OR_RETURN(uint64_t size, base_->Size());
    std::string content(size, '\0');
    BW_ASSIGN_OR_RETURN(size_t got, base_->ReadAt(0, content.data(), content.size()));
    content.resize(got);
    node_->synced = std::move(content);
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t size) override {
    absl::MutexLock lock(&owner_->mutex_);
    BW_RETURN_IF_ERROR(Writable());
    BW_RETURN_IF_ERROR(owner_->Count(absl::StrCat("truncate ", path_, " to ", size)));
    return base_->Truncate(size);
  }

  absl::StatusOr<uint64_t> Size() override {
    absl::MutexLock lock(&owner_->mutex_);
    BW_RETURN_IF_ERROR(Alive());
    return base_->Size();
  }

 private:
  absl::Status Alive() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_->mutex_) {
    BW_RETURN_IF_ERROR(owner_->Powered());
    if (generation_ != owner_->generation_)
      return absl::UnavailableError("the file was opened before the simulated restart");
    return absl::OkStatus();
  }
  absl::Status Writable() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_->mutex_) {
    BW_RETURN_IF_ERROR(Alive());
    if (!writable_) return absl::InternalError("the file was opened for reading only");
    if (failed_) return absl::DataLossError("the file failed to sync before and is not used any more; write it anew");
    return absl::OkStatus();
  }

  FaultFiles* const owner_;
  const std::unique_ptr<File> base_;
  const NodePtr node_;
  const std::string path_;
  const uint64_t generation_;
  const bool writable_;
  bool failed_ ABSL_GUARDED_BY(owner_->mutex_) = false;
};

FaultFiles::FaultFiles(Files* base, const std::string& root) : base_(base), root_(root) {
  absl::StatusOr<NodePtr> tree = Adopt(root);
  absl::MutexLock lock(&mutex_);
  if (tree.ok() && (*tree)->directory) {
    tree_ = *tree;
  } else {  // an unreadable root: every path is then missing, which no test overlooks
    tree_ = std::make_shared<Node>();
    tree_->directory = true;
  }
}

FaultFiles::~FaultFiles() = default;

uint64_t FaultFiles::operations() const {
  absl::MutexLock lock(&mutex_);
  return history_.size();
}

std::vector<std::string> FaultFiles::history() const {
  absl::MutexLock lock(&mutex_);
  return history_;
}

void FaultFiles::FailAt(uint64_t n, absl::Status error, bool from_then_on) {
  absl::MutexLock lock(&mutex_);
  fail_at_ = n;
  fail_with_ = std::move(error);
  fail_on_ = from_then_on;
}

void FaultFiles::FailNext(const std::string& prefix, absl::Status error) {
  absl::MutexLock lock(&mutex_);
  fail_prefix_ = prefix;
  fail_prefix_with_ = std::move(error);
}

void FaultFiles::StopAfter(uint64_t n) {
  absl::MutexLock lock(&mutex_);
  stop_after_ = n;
  off_ = history_.size() >= n;
}

void FaultFiles::ClearFaults() {
  absl::MutexLock lock(&mutex_);
  fail_at_ = 0;
  fail_prefix_.clear();
  stop_after_.reset();
  off_ = false;
}

void FaultFiles::ResetOperations() {
  ClearFaults();
  absl::MutexLock lock(&mutex_);
  history_.clear();
}

absl::Status FaultFiles::Powered() const {
  if (off_) return absl::UnavailableError("the power is off (simulated)");
  return absl::OkStatus();
}

absl::Status FaultFiles::Count(const std::string& what) {
  BW_RETURN_IF_ERROR(Powered());
  if (stop_after_ && history_.size() >= *stop_after_) off_ = true;
  history_.push_back(what);
  BW_RETURN_IF_ERROR(Powered());
  if (fail_at_ != 0 && (history_.size() == fail_at_ || (fail_on_ && history_.size() > fail_at_))) return fail_with_;
  if (!fail_prefix_.empty() && what.compare(0, fail_prefix_.size(), fail_prefix_) == 0) {
    fail_prefix_.clear();
    return fail_prefix_with_;
  }
  return absl::OkStatus();
}

absl::StatusOr<FaultFiles::NodePtr> FaultFiles::Adopt(const std::string& path) {
  auto node = std::make_shared<Node>();
  absl::StatusOr<std::vector<std::string>> names = base_->List(path);
  if (names.ok()) {
    node->directory = true;
    for (const std::string& name : *names) {
      BW_ASSIGN_OR_RETURN(NodePtr child, Adopt(JoinPath(path, name)));
      node->live[name] = child;
    }
    node->durable = node->live;
    return node;
  }
  BW_ASSIGN_OR_RETURN(node->synced, ReadFile(base_, path, uint64_t{1} << 32));
  return node;
}

absl::StatusOr<std::vector<std::string>> FaultFiles::Split(const std::string& path) const {
  auto outside = [&] { return absl::InvalidArgumentError(absl::StrCat(path, " is not a plain path below ", root_)); };
  if (path.compare(0, root_.size(), root_) != 0) return outside();
  std::string_view rest = std::string_view(path).substr(root_.size());
  if (!rest.empty() && rest.front() != '/' && !root_.empty() && root_.back() != '/') return outside();
  std::vector<std::string> parts;
  while (!rest.empty()) {
    size_t slash = std::min(rest.find('/'), rest.size());
    std::string_view part = rest.substr(0, slash);
    if (part == "." || part == "..") return outside();
    if (!part.empty()) parts.emplace_back(part);
    rest.remove_prefix(std::min(slash + 1, rest.size()));
  }
  return parts;
}

FaultFiles::NodePtr FaultFiles::Find(const std::vector<std::string>& parts) const {
  NodePtr at = tree_;
  for (const std::string& part : parts) {
    auto it = at->live.find(part);
    if (it == at->live.end()) return nullptr;
    at = it->second;
  }
  return at;
}

FaultFiles::NodePtr FaultFiles::FindParent(const std::vector<std::string>& parts) const {
  if (parts.empty()) return nullptr;
  NodePtr parent = Find({parts.begin(), parts.end() - 1});
  return parent != nullptr && parent->directory ? parent : nullptr;
}

absl::StatusOr<std::unique_ptr<File>> FaultFiles::Open(const std::string& path, bool write, bool create,
                                                       bool exclusive) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> parts, Split(path));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Powered());
  NodePtr node = Find(parts);
  NodePtr parent = FindParent(parts);
  bool creates = exclusive || (create && node == nullptr && parent != nullptr);
  if (creates) BW_RETURN_IF_ERROR(Count("create " + path));
  absl::StatusOr<std::unique_ptr<File>> file = exclusive ? base_->CreateNew(path)
                                               : write   ? base_->OpenReadWrite(path, create)
                                                         : base_->OpenRead(path);
  if (!file.ok()) return file.status();
  if (node == nullptr) {
    if (parent == nullptr || !creates)
      return absl::InternalError(absl::StrCat(path, " was made behind the back of FaultFiles"));
    node = std::make_shared<Node>();
    parent->live[parts.back()] = node;
  }
  return std::unique_ptr<File>(new FaultFile(this, std::move(*file), node, path, generation_, write));
}

absl::StatusOr<std::unique_ptr<File>> FaultFiles::OpenRead(const std::string& path) {
  return Open(path, false, false, false);
}

absl::StatusOr<std::unique_ptr<File>> FaultFiles::OpenReadWrite(const std::string& path, bool create) {
  return Open(path, true, create, false);
}

absl::StatusOr<std::unique_ptr<File>> FaultFiles::CreateNew(const std::string& path) {
  return Open(path, true, true, true);
}

absl::Status FaultFiles::Rename(const std::string& from, const std::string& to) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> source, Split(from));
  BW_ASSIGN_OR_RETURN(std::vector<std::string> target, Split(to));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Count("rename " + from + " to " + to));
  BW_RETURN_IF_ERROR(base_->Rename(from, to));
  NodePtr node = Find(source);
  NodePtr old_parent = FindParent(source);
  NodePtr new_parent = FindParent(target);
  if (node == nullptr || new_parent == nullptr)
    return absl::InternalError(absl::StrCat(from, " is not known to FaultFiles"));
  old_parent->live.erase(source.back());
  new_parent->live[target.back()] = node;
  return absl::OkStatus();
}

absl::Status FaultFiles::Remove(const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> parts, Split(path));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Count("remove " + path));
  BW_RETURN_IF_ERROR(base_->Remove(path));
  if (NodePtr parent = FindParent(parts)) parent->live.erase(parts.back());
  return absl::OkStatus();
}

absl::Status FaultFiles::RemoveTree(const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> parts, Split(path));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Count("remove-tree " + path));
  BW_RETURN_IF_ERROR(base_->RemoveTree(path));
  if (NodePtr parent = FindParent(parts)) parent->live.erase(parts.back());
  return absl::OkStatus();
}

absl::Status FaultFiles::SyncDir(const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> parts, Split(path));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Count("sync-dir " + path));
  BW_RETURN_IF_ERROR(base_->SyncDir(path));
  if (NodePtr node = Find(parts)) node->durable = node->live;
  return absl::OkStatus();
}

absl::Status FaultFiles::MakeDirs(const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> parts, Split(path));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Count("make-dirs " + path));
  BW_RETURN_IF_ERROR(base_->MakeDirs(path));
  NodePtr at = tree_;
  for (const std::string& part : parts) {
    NodePtr& child = at->live[part];
    if (child == nullptr) {
      child = std::make_shared<Node>();
      child->directory = true;
      // It syncs the parent it made a name in, and with it all other names there.
      at->durable = at->live;
    }
    at = child;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FaultFiles::List(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Powered());
  return base_->List(path);
}

absl::StatusOr<bool> FaultFiles::Exists(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Powered());
  return base_->Exists(path);
}

absl::StatusOr<uint64_t> FaultFiles::FreeBytes(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Powered());
  return base_->FreeBytes(path);
}

absl::StatusOr<std::unique_ptr<FileLock>> FaultFiles::Lock(const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> parts, Split(path));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(Powered());
  BW_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> held, base_->Lock(path));
  NodePtr parent = FindParent(parts);
  if (parent != nullptr && parent->live.find(parts.back()) == parent->live.end()) {
    parent->live[parts.back()] = std::make_shared<Node>();
  }
  return held;
}

void FaultFiles::Restarted() {
  ++generation_;
  history_.clear();
  fail_at_ = 0;
  fail_prefix_.clear();
  stop_after_.reset();
  off_ = false;
}

absl::Status FaultFiles::Restore(const NodePtr& node, const std::string& path) {
  if (!node->directory) {
    BW_ASSIGN_OR_RETURN(std::unique_ptr<File> file, base_->CreateNew(path));
    return file->WriteAt(0, node->synced);
  }
  BW_RETURN_IF_ERROR(base_->MakeDirs(path));
  node->live = node->durable;
  for (const auto& [name, child] : node->durable) BW_RETURN_IF_ERROR(Restore(child, JoinPath(path, name)));
  return absl::OkStatus();
}

absl::Status FaultFiles::DropUnsynced() {
  absl::MutexLock lock(&mutex_);
  Restarted();
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, base_->List(root_));
  for (const std::string& name : names) BW_RETURN_IF_ERROR(base_->RemoveTree(JoinPath(root_, name)));
  BW_RETURN_IF_ERROR(Restore(tree_, root_));
  // From here on every name is a file of its own, also where a half-synced rename left two names for one.
  BW_ASSIGN_OR_RETURN(tree_, Adopt(root_));
  return absl::OkStatus();
}

absl::Status FaultFiles::KeepUnsynced() {
  absl::MutexLock lock(&mutex_);
  Restarted();
  BW_ASSIGN_OR_RETURN(tree_, Adopt(root_));
  return absl::OkStatus();
}

}  // namespace bailiwick::os
