#include "services/agent/home/source_watch.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "common/store/manifest.h"

namespace bailiwick::agent {
namespace {

constexpr char kTellsLittle[] = "does not tell all changes (a network file system, or an unknown one)";
constexpr size_t kMaxChanges = 100'000;        // paths; with more a scan is as good
constexpr size_t kMaxDirectories = 1'000'000;  // some 150 bytes each here, 1 KiB in the kernel
constexpr size_t kMaxLinked = 10'000;
constexpr absl::Duration kScanAgain = absl::Hours(24);
constexpr absl::Duration kPumpLooks = absl::Milliseconds(250);  // for watches that were added or begun meanwhile

}  // namespace

bool ManifestOrder::operator()(std::string_view a, std::string_view b) const { return store::ComparePaths(a, b) < 0; }

std::optional<PathChanges> SourceWatch::Take(const WatchBinding& binding) {
  absl::MutexLock lock(&mutex_);
  if (watch_ == nullptr) return std::nullopt;
  DrainLocked();
  if (watch_ == nullptr || binding_ != binding || nameless_ || clock_->BootTime() >= scan_again_) return std::nullopt;
  for (const auto& [path, record] : always_) changes_.emplace(path, ChangeKind::kItself);
  return std::exchange(changes_, {});
}

void SourceWatch::Return(PathChanges changes) {
  absl::MutexLock lock(&mutex_);
  for (auto& [path, kind] : changes) Note(path, kind);
}

void SourceWatch::Rebind(const WatchBinding& binding) {
  absl::MutexLock lock(&mutex_);
  binding_ = binding;
}

void SourceWatch::Begin(os::TreeDir& root, std::shared_ptr<const Selection> selection) {
  absl::MutexLock lock(&mutex_);
  Stop("");
  selection_ = std::move(selection);
  if (!os::SeesAllChanges(root)) {
    return Stop(absl::StrCat("the file system of the source ", kTellsLittle));
  }
  auto watch = os::DirWatch::Create();
  if (!watch.ok()) return Stop(std::string(watch.status().message()));
  auto added = (*watch)->Add(root);
  if (!added.ok()) return Stop(std::string(added.status().message()));
  watch_ = *std::move(watch);
  root_ = *added;
  directories_[root_] = {};
  last_change_ = clock_->Now();
}

void SourceWatch::RefuseInside() {
  absl::MutexLock lock(&mutex_);
  Stop(absl::StrCat("a file system that is mounted in the source ", kTellsLittle));
}

void SourceWatch::Enter(os::TreeDir& dir, std::string_view path) {
  absl::MutexLock lock(&mutex_);
  if (watch_ == nullptr) return;
  const size_t slash = path.rfind('/');
  const int parent = slash == std::string_view::npos ? root_ : Find(path.substr(0, slash));
  if (parent < 0) return;  // moved away meanwhile: where it is now, it is a change
  if (directories_.size() >= kMaxDirectories) {
    return Stop(absl::StrCat("the source has more than ", kMaxDirectories, " directories"));
  }
  auto added = watch_->Add(dir);
  if (!added.ok()) return Stop(std::string(added.status().message()));
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (auto there = children_.find(Child{parent, name}); there != children_.end()) {
    if (*there == *added) return;
    Forget(*there);
  }
  if (directories_.contains(*added)) return Stop("a directory lies at two places of the source, or was moved just now");
  Add(*added, parent, name);
}

void SourceWatch::Complete(const WatchBinding& binding) {
  absl::MutexLock lock(&mutex_);
  if (watch_ == nullptr) return;
  binding_ = binding;
  scan_again_ = clock_->BootTime() + kScanAgain;
}

bool SourceWatch::Renamed() {
  absl::MutexLock lock(&mutex_);
  if (watch_ != nullptr) DrainLocked();
  return watch_ != nullptr && renamed_;
}

void SourceWatch::LookAlways(const std::string& path, std::optional<ScanRecord> record) {
  absl::MutexLock lock(&mutex_);
  if (watch_ == nullptr) return;
  always_[path] = std::move(record);
  if (always_.size() > kMaxLinked) {
    Stop(absl::StrCat("the source has more than ", kMaxLinked, " files with several hard links"));
  }
}

void SourceWatch::LookNoMore(std::string_view path) {
  absl::MutexLock lock(&mutex_);
  if (auto it = always_.find(path); it != always_.end()) always_.erase(it);
}

SourceWatch::Link SourceWatch::LookAgain(const ScanRecord& record) {
  absl::MutexLock lock(&mutex_);
  auto it = always_.find(record.path);
  if (it == always_.end()) return Link::kNew;
  return it->second == record ? Link::kSame : Link::kChanged;
}

std::optional<absl::Time> SourceWatch::LastChange() {
  absl::MutexLock lock(&mutex_);
  if (watch_ != nullptr) DrainLocked();
  if (watch_ == nullptr || !binding_) return std::nullopt;
  return last_change_;
}

std::string SourceWatch::problem() {
  absl::MutexLock lock(&mutex_);
  return problem_;
}

int SourceWatch::fd() {
  absl::MutexLock lock(&mutex_);
  return watch_ == nullptr ? -1 : watch_->fd();
}

void SourceWatch::Drain() {
  absl::MutexLock lock(&mutex_);
  if (watch_ != nullptr) DrainLocked();
}

void SourceWatch::DrainLocked() {
  std::vector<os::DirEvent> events;
  if (absl::Status status = watch_->Read(&events); !status.ok()) return Stop(std::string(status.message()));
  for (const os::DirEvent& event : events) {
    Handle(event);
    if (watch_ == nullptr) return;
  }
}

void SourceWatch::Handle(const os::DirEvent& event) {
  using Kind = os::DirEvent::Kind;
  if (event.kind == Kind::kLost)
    return Stop("more changed at once than the kernel keeps (fs.inotify.max_queued_events)");
  if (event.watch == root_ && (event.kind == Kind::kEnded || event.kind == Kind::kMoved)) {
    return Stop("the source directory was moved, deleted or unmounted");
  }
  const std::optional<std::string> directory = PathOf(event.watch);
  if (!directory) return;  // of a watch that was given up
  if (event.name.empty()) {
    Moved(*directory, true);
    if (event.kind == Kind::kEnded) {
      Forget(event.watch);
      Note(*directory, ChangeKind::kTree);
    } else if (event.kind == Kind::kChanged && !directory->empty()) {
      Note(*directory, ChangeKind::kItself);
    }
    return;
  }
  if (event.kind != Kind::kChanged) {
    if (!directory->empty()) Note(*directory, ChangeKind::kItself);  // its time of change
    if (watch_ == nullptr) return;
    auto child = children_.find(Child{event.watch, event.name});
    if (child != children_.end()) Forget(*child);
  }
  HandleName(directory->empty() ? event.name : absl::StrCat(*directory, "/", event.name), event);
}

void SourceWatch::HandleName(std::string path, const os::DirEvent& event) {
  using Kind = os::DirEvent::Kind;
  Moved(path, event.directory);
  if (event.kind == Kind::kAppeared) {
    renamed_ |= event.moved;
    return Note(std::move(path), event.directory ? ChangeKind::kTree : ChangeKind::kItself);
  }
  const auto noted = changes_.find(path);
  if (event.kind == Kind::kChanged) {
    nameless_ |= !event.directory && noted != changes_.end() && noted->second == ChangeKind::kGone;
    return Note(std::move(path), ChangeKind::kContent);
  }
  if (noted == changes_.end()) return Note(std::move(path), ChangeKind::kGone);
  if (noted->second != ChangeKind::kTree) noted->second = ChangeKind::kGone;
}

void SourceWatch::Moved(std::string_view path, bool directory) {
  if (path.empty() || selection_->Takes(path, directory)) last_change_ = clock_->Now();
}

void SourceWatch::Note(std::string path, ChangeKind kind) {
  if (watch_ == nullptr) return;
  if (changes_.size() >= kMaxChanges) return Stop("more changed since the last version than is worth keeping");
  ChangeKind& noted = changes_.try_emplace(std::move(path), kind).first->second;
  noted = std::max(noted, kind);
}

std::optional<std::string> SourceWatch::PathOf(int watch) {
  std::vector<const char*> names;
  while (watch != root_) {
    auto it = directories_.find(watch);
    if (it == directories_.end()) return std::nullopt;
    names.push_back(it->second.name.get());
    watch = it->second.parent;
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    absl::StrAppend(&path, path.empty() ? "" : "/", *name);
  }
  return path;
}

int SourceWatch::Find(std::string_view path) {
  int at = root_;
  for (size_t start = 0; start <= path.size() && at >= 0;) {
    const size_t end = std::min(path.find('/', start), path.size());
    auto child = children_.find(Child{at, path.substr(start, end - start)});
    at = child == children_.end() ? -1 : *child;
    start = end + 1;
  }
  return at;
}

void SourceWatch::Add(int watch, int parent, std::string_view name) {
  Directory added{.parent = parent, .name = std::make_unique<char[]>(name.size() + 1)};
  name.copy(added.name.get(), name.size());
  directories_.emplace(watch, std::move(added));
  Directory& above = directories_.at(parent);
  if (above.child >= 0) {
    directories_.at(above.child).previous = watch;
    directories_.at(watch).next = above.child;
  }
  above.child = watch;
  children_.insert(watch);
}

void SourceWatch::Forget(int watch) {
  std::vector<int> below = {watch};
  while (!below.empty()) {
    const int gone = below.back();
    below.pop_back();
    watch_->Remove(gone);
    auto it = directories_.find(gone);
    if (it == directories_.end()) continue;
    const Directory& directory = it->second;
    for (int child = directory.child; child >= 0; child = directories_.at(child).next) below.push_back(child);
    if (auto above = directories_.find(directory.parent); above != directories_.end()) {  // else they go as well
      if (above->second.child == gone) above->second.child = directory.next;
      if (directory.previous >= 0) directories_.at(directory.previous).next = directory.next;
      if (directory.next >= 0) directories_.at(directory.next).previous = directory.previous;
    }
    children_.erase(gone);
    directories_.erase(it);
  }
}

void SourceWatch::Stop(const std::string& why) {
  watch_.reset();
  children_.clear();
  directories_.clear();
  changes_.clear();
  always_.clear();
  nameless_ = renamed_ = false;
  binding_.reset();
  problem_ = why;
}

WatchPump::~WatchPump() { Stop(); }

void WatchPump::Start() {
  thread_ = std::thread([this] { Run(); });
}

void WatchPump::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void WatchPump::Add(std::weak_ptr<SourceWatch> watch) {
  absl::MutexLock lock(&mutex_);
  watches_.push_back(std::move(watch));
}

void WatchPump::Run() {
  for (;;) {
    std::vector<std::shared_ptr<SourceWatch>> alive;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      std::erase_if(watches_, [&](const std::weak_ptr<SourceWatch>& weak) {
        auto watch = weak.lock();
        if (watch == nullptr) return true;
        alive.push_back(std::move(watch));
        return false;
      });
    }
    std::vector<int> fds;
    for (const auto& watch : alive) {
      if (int fd = watch->fd(); fd >= 0) fds.push_back(fd);
    }
    os::WaitReadable(fds, kPumpLooks);
    for (const auto& watch : alive) watch->Drain();
  }
}

}  // namespace bailiwick::agent
