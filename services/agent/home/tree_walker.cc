#include "services/agent/home/tree_walker.h"

#include <utility>

#include "common/base/status.h"
#include "common/os/local_socket.h"
#include "services/agent/home/display_path.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kMaxHandles =
    128;  // of the usual limit of 1024; deeper directories are reached by a path from the last
constexpr uint32_t kOwnerEnters = 0500;
constexpr int kMaxKindChanges = 5;  // of one name while it is looked at

absl::Status List(os::TreeDir& dir, NameList* names) {
  bool all = true;
  BW_RETURN_IF_ERROR(dir.List([&](std::string_view name) { all = names->Add(name) && all; }));
  if (!all) return absl::OutOfRangeError("it holds longer names than can be committed");
  return names->Sort();
}

}  // namespace

TreeWalker::TreeWalker(os::TreeDir* root, std::string label, Filter filter)
    : root_(root), label_(std::move(label)), filter_(std::move(filter)) {}

TreeWalker::~TreeWalker() { LockAgain(0).IgnoreError(); }

absl::Status TreeWalker::UnlockOwn(const std::string& name, const os::NodeStat& stat) {
  const uint32_t user = os::CurrentUser();
  if (!unlock_ || user == 0 || stat.uid != user || (stat.mode & kOwnerEnters) == kOwnerEnters) return absl::OkStatus();
  BW_RETURN_IF_ERROR(frames_.back().dir->SetMode(name, stat.mode | kOwnerEnters));
  unlocked_.push_back({frames_.size(), name, stat.mode});
  return absl::OkStatus();
}

absl::Status TreeWalker::LockAgain(size_t depth) {
  absl::Status locked = absl::OkStatus();
  for (; !unlocked_.empty() && unlocked_.back().depth >= depth; unlocked_.pop_back()) {
    const Unlocked& last = unlocked_.back();
    const absl::Status set = frames_[last.depth - 1].dir->SetMode(last.name, last.mode);
    if (!absl::IsNotFound(set)) locked.Update(set);
  }
  return locked;
}

absl::Status TreeWalker::Named(const absl::Status& status, std::string_view path) const {
  std::string where = label_;
  if (!path.empty()) where += "/" + DisplayPath(path);
  return Annotate(status, where);
}

absl::Status TreeWalker::Start() {
  Frame frame;
  frame.dir = root_;
  BW_RETURN_IF_ERROR(Named(List(*root_, &frame.names), ""));
  frames_.push_back(std::move(frame));
  started_ = true;
  return absl::OkStatus();
}

absl::StatusOr<bool> TreeWalker::Enter(const std::string& name, WalkItem* item) {
  Frame& parent = frames_.back();
  BW_RETURN_IF_ERROR(UnlockOwn(item->name, item->stat));
  absl::StatusOr<std::unique_ptr<os::TreeDir>> dir = parent.dir->OpenDir(parent.prefix + name);
  if (!dir.ok()) return dir.status();
  const uint32_t mode = item->stat.mode;
  BW_ASSIGN_OR_RETURN(item->stat, (*dir)->Stat(""));
  if (!unlocked_.empty() && unlocked_.back().depth == frames_.size()) item->stat.mode = mode;
  if (check_) BW_RETURN_IF_ERROR(check_(item->stat));
  if (before_listing_) before_listing_(**dir, item->path);
  Frame frame;
  BW_RETURN_IF_ERROR(List(**dir, &frame.names));
  item->dir = parent.dir;
  if (frames_.size() < kMaxHandles) {
    frame.owned = *std::move(dir);
    frame.dir = frame.owned.get();
  } else {
    frame.dir = parent.dir;
    frame.prefix = parent.prefix + name + "/";
  }
  frame.path_length = item->path.size() + 1;
  path_ = item->path + "/";
  frames_.push_back(std::move(frame));
  return true;
}

absl::StatusOr<bool> TreeWalker::Visit(const std::string& name, WalkItem* item) {
  Frame& frame = frames_.back();
  item->path.assign(path_, 0, frame.path_length);
  item->path += name;
  item->dir = frame.dir;
  item->name = frame.prefix + name;
  for (int attempt = 0;; ++attempt) {
    absl::StatusOr<os::NodeStat> stat = frame.dir->Stat(item->name);
    if (absl::IsNotFound(stat.status())) return false;
    if (!stat.ok()) return Named(stat.status(), item->path);
    item->stat = *stat;
    if (filter_ && !filter_(item->path, item->stat)) return false;
    if (item->stat.type != os::NodeType::kDirectory) return true;
    absl::StatusOr<bool> entered = Enter(name, item);
    if (entered.ok()) return true;
    BW_RETURN_IF_ERROR(Named(LockAgain(frames_.size()), item->path));
    if (absl::IsNotFound(entered.status())) return false;
    // Was it replaced by something else under our hands? Then look again; otherwise the error stands.
    absl::StatusOr<os::NodeStat> again = frame.dir->Stat(item->name);
    if (absl::IsNotFound(again.status())) return false;
    bool same = again.ok() && again->type == stat->type && again->inode == stat->inode;
    if (!again.ok() || same || attempt == kMaxKindChanges) return Named(entered.status(), item->path);
  }
}

absl::StatusOr<bool> TreeWalker::Next(WalkItem* item) {
  if (!started_) BW_RETURN_IF_ERROR(Start());
  std::string name;
  while (!frames_.empty()) {
    BW_ASSIGN_OR_RETURN(const bool more, frames_.back().names.Next(&name));
    if (!more) {
      BW_RETURN_IF_ERROR(LockAgain(frames_.size() - 1));
      frames_.pop_back();
      if (!frames_.empty()) path_.resize(frames_.back().path_length);
      continue;
    }
    BW_ASSIGN_OR_RETURN(bool there, Visit(name, item));
    if (there) return true;
  }
  return false;
}

}  // namespace bailiwick::agent
