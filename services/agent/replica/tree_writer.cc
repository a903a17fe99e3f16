#include "services/agent/replica/tree_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "services/agent/home/display_path.h"

namespace bailiwick::agent {
namespace {

constexpr uint32_t kWriteBits = 0222;
constexpr uint32_t kSetIdBits = 06000;
constexpr uint32_t kOwnerAll = 0700;
constexpr size_t kMaxHandles = 128;  // deeper directories are reached by a path from the last handle

bool IsAbove(std::string_view directory, std::string_view path) {
  if (directory.empty()) return true;
  return path.size() > directory.size() && path[directory.size()] == '/' &&
         path.substr(0, directory.size()) == directory;
}

// Gives the owner access to a directory and those below it.
absl::Status Unlock(os::TreeDir& dir, const std::string& name) {
  BW_ASSIGN_OR_RETURN(os::NodeStat stat, dir.Stat(name));
  if (stat.type != os::NodeType::kDirectory) return absl::OkStatus();
  if ((stat.mode & kOwnerAll) != kOwnerAll) BW_RETURN_IF_ERROR(dir.SetMode(name, stat.mode | kOwnerAll));
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> inner, dir.OpenDir(name));
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, inner->List());
  inner.reset();  // depth costs no descriptors
  for (const std::string& child : names) BW_RETURN_IF_ERROR(Unlock(dir, name + "/" + child));
  return absl::OkStatus();
}

}  // namespace

absl::Status RemoveAll(os::TreeDir& dir, const std::string& name) {
  absl::Status status = dir.RemoveTree(name);
  if (!absl::IsPermissionDenied(status)) return status;
  BW_RETURN_IF_ERROR(Unlock(dir, name));
  return dir.RemoveTree(name);
}

absl::Status EmptyDirectory(os::TreeDir& dir) {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, dir.List());
  for (const std::string& name : names) BW_RETURN_IF_ERROR(RemoveAll(dir, name));
  return absl::OkStatus();
}

uint32_t LaidOutMode(const store::Entry& entry, const TreeStyle& style) {
  uint32_t mode = entry.mode & 07777;
  if (entry.type != store::EntryType::kFile) return mode;
  if (!style.writable) mode &= ~kWriteBits;
  if (!style.owner || !entry.owner) mode &= ~kSetIdBits;
  return mode;
}

bool SameContent(const store::Entry& a, const store::Entry& b) {
  auto same_piece = [](const store::Reference& x, const store::Reference& y) {
    return x.digest == y.digest && x.length == y.length;
  };
  auto same_hole = [](const store::Hole& x, const store::Hole& y) {
    return x.offset == y.offset && x.length == y.length;
  };
  return a.type == store::EntryType::kFile && b.type == store::EntryType::kFile && a.size == b.size &&
         a.list_height == b.list_height &&
         std::equal(a.chunks.begin(), a.chunks.end(), b.chunks.begin(), b.chunks.end(), same_piece) &&
         std::equal(a.holes.begin(), a.holes.end(), b.holes.begin(), b.holes.end(), same_hole);
}

TreeWriter::TreeWriter(DatasetHandle* dataset, os::TreeDir* target, const TreeStyle& style, Advance advance,
                       const std::atomic<bool>* cancelled)
    : dataset_(dataset), target_(target), style_(style), advance_(std::move(advance)), cancelled_(cancelled) {}

TreeWriter::~TreeWriter() = default;

absl::Status TreeWriter::CheckCancelled() const {
  if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("laying out was cancelled");
  return absl::OkStatus();
}

absl::Status TreeWriter::Named(const absl::Status& status, std::string_view path) const {
  return Annotate(status, DisplayPath(path));
}

std::string TreeWriter::NameIn(const Level& level, std::string_view path) const {
  std::string_view name = level.path.empty() ? path : path.substr(level.path.size() + 1);
  return level.prefix + std::string(name);
}

absl::Status TreeWriter::Push(std::string_view name) {
  Level& parent = levels_.back();
  Level level;
  level.path = parent.path.empty() ? std::string(name) : parent.path + "/" + std::string(name);
  const std::string in_parent = parent.prefix + std::string(name);
  absl::StatusOr<os::NodeStat> stat = parent.dir->Stat(in_parent);
  if (!stat.ok()) return Named(stat.status(), level.path);
  if (stat->type != os::NodeType::kDirectory) {
    return absl::FailedPreconditionError(absl::StrCat(DisplayPath(level.path), " is not a directory here"));
  }
  if ((stat->mode & kOwnerAll) != kOwnerAll) {
    BW_RETURN_IF_ERROR(Named(parent.dir->SetMode(in_parent, stat->mode | kOwnerAll), level.path));
    level.touched = true;
  }
  if (levels_.size() < kMaxHandles) {
    auto dir = parent.dir->OpenDir(in_parent);
    if (!dir.ok()) return Named(dir.status(), level.path);
    level.owned = *std::move(dir);
    level.dir = level.owned.get();
  } else {
    level.dir = parent.dir;
    level.prefix = in_parent + "/";
  }
  levels_.push_back(std::move(level));
  return absl::OkStatus();
}

absl::Status TreeWriter::Leave() {
  Level level = std::move(levels_.back());
  levels_.pop_back();
  if (!level.touched) return absl::OkStatus();
  if (!level.entry) {
    BW_ASSIGN_OR_RETURN(level.entry, store::FindEntry(dataset_->nodes.get(), after_root_, level.path));
    if (!level.entry || level.entry->type != store::EntryType::kDirectory) {
      return absl::DataLossError(absl::StrCat("the manifest has no directory entry for ", DisplayPath(level.path)));
    }
  }
  Level& parent = levels_.back();
  return SetMetadata(*level.entry, parent, NameIn(parent, level.path));
}

absl::Status TreeWriter::EnterParent(std::string_view path) {
  size_t slash = path.rfind('/');
  std::string_view parent = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  while (levels_.back().path != parent && !IsAbove(levels_.back().path, parent)) BW_RETURN_IF_ERROR(Leave());
  while (levels_.back().path != parent) {
    const std::string& top = levels_.back().path;
    std::string_view rest = top.empty() ? parent : parent.substr(top.size() + 1);
    BW_RETURN_IF_ERROR(Push(rest.substr(0, rest.find('/'))));
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::SetMetadata(const store::Entry& entry, Level& level, const std::string& name) {
  if (style_.owner && entry.owner) {
    BW_RETURN_IF_ERROR(Named(level.dir->SetOwner(name, entry.owner->first, entry.owner->second), entry.path));
  }
  if (entry.type != store::EntryType::kSymlink) {  // after the owner: that clears setuid
    BW_RETURN_IF_ERROR(Named(level.dir->SetMode(name, LaidOutMode(entry, style_)), entry.path));
  }
  return Named(level.dir->SetMtime(name, entry.mtime_ns), entry.path);
}

absl::Status TreeWriter::Remove(const store::Entry& before) {
  Level& parent = levels_.back();
  parent.touched = true;
  const std::string name = NameIn(parent, before.path);
  if (before.type == store::EntryType::kDirectory) {
    removed_ = before.path;
    return Named(RemoveAll(*parent.dir, name), before.path);
  }
  absl::Status status = parent.dir->RemoveFile(name);
  if (status.ok() || absl::IsNotFound(status)) return absl::OkStatus();
  return Named(RemoveAll(*parent.dir, name), before.path);
}

absl::Status TreeWriter::WriteFile(const store::Entry& entry, const std::string& name) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeFile> file, levels_.back().dir->CreateFile(name));
  uint64_t at = 0, written_end = 0;
  size_t hole = 0;
  auto skip_holes = [&] {
    while (hole < entry.holes.size() && entry.holes[hole].offset == at) at += entry.holes[hole++].length;
  };
  skip_holes();
  auto write = [&](const store::Reference& piece) -> absl::Status {
    BW_RETURN_IF_ERROR(CheckCancelled());
    BW_ASSIGN_OR_RETURN(std::string raw, dataset_->store->ReadRaw(piece.digest));
    if (raw.size() != piece.length) return absl::DataLossError("a chunk has not the length that the manifest says");
    std::string_view left = raw;
    while (!left.empty()) {
      uint64_t room = (hole < entry.holes.size() ? entry.holes[hole].offset : entry.size) - at;
      size_t n = std::min<uint64_t>(left.size(), room);
      if (n == 0) return absl::DataLossError("the chunks are longer than the file that the manifest describes");
      BW_RETURN_IF_ERROR(file->WriteAt(at, left.substr(0, n)));
      left.remove_prefix(n);
      at += n;
      written_end = at;
      skip_holes();
    }
    if (advance_) advance_(raw.size());
    return absl::OkStatus();
  };
  BW_RETURN_IF_ERROR(store::ForEachChunk(dataset_->nodes.get(), entry, write));
  if (at != entry.size) return absl::DataLossError("the chunks are shorter than the file that the manifest describes");
  return written_end == entry.size ? absl::OkStatus() : file->Truncate(entry.size);
}

absl::StatusOr<bool> TreeWriter::TakeFromDonor(const store::Entry& entry, const std::string& name) {
  if (donor_.dir == nullptr || entry.size == 0 || (!clones_ && !donor_.hard_links)) return false;
  BW_ASSIGN_OR_RETURN(std::optional<store::Entry> theirs,
                      store::FindEntry(dataset_->nodes.get(), donor_.root, entry.path));
  if (!theirs || !SameContent(*theirs, entry)) return false;
  absl::StatusOr<os::NodeStat> stat = donor_.dir->Stat(entry.path);
  const bool as_laid_out = stat.ok() && stat->type == os::NodeType::kFile && stat->size == theirs->size &&
                           stat->mtime_ns == theirs->mtime_ns && stat->mode == LaidOutMode(*theirs, style_);
  if (!as_laid_out) return false;  // somebody changed it: take the bytes from the store
  os::TreeDir& dir = *levels_.back().dir;
  if (clones_) {
    absl::Status cloned = dir.Reflink(*donor_.dir, entry.path, name);
    if (cloned.ok()) {
      BW_RETURN_IF_ERROR(SetMetadata(entry, levels_.back(), name));
      return true;
    }
    if (absl::IsUnimplemented(cloned))
      clones_ = false;
    else if (absl::IsAlreadyExists(cloned))
      return cloned;
  }
  const bool same_metadata = theirs->mode == entry.mode && theirs->mtime_ns == entry.mtime_ns &&
                             (!style_.owner || theirs->owner == entry.owner);
  if (!donor_.hard_links || !same_metadata) return false;
  absl::Status linked = dir.Link(*donor_.dir, entry.path, name);
  if (absl::IsAlreadyExists(linked)) return linked;
  return linked.ok();  // too many links, another file system: the bytes are in the store
}

absl::Status TreeWriter::CreateOnce(const store::Entry& entry, const std::string& name) {
  Level& parent = levels_.back();
  switch (entry.type) {
    case store::EntryType::kDirectory:
      return parent.dir->MakeDir(name);
    case store::EntryType::kSymlink:
      BW_RETURN_IF_ERROR(parent.dir->MakeSymlink(name, entry.target));
      return SetMetadata(entry, parent, name);
    case store::EntryType::kFile:
      break;
  }
  BW_ASSIGN_OR_RETURN(bool taken, TakeFromDonor(entry, name));
  if (taken) {
    if (advance_) advance_(entry.size);
    return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(WriteFile(entry, name));
  return SetMetadata(entry, parent, name);
}

absl::Status TreeWriter::Create(const store::Entry& entry) {
  levels_.back().touched = true;
  const std::string name = NameIn(levels_.back(), entry.path);
  absl::Status status = CreateOnce(entry, name);
  if (absl::IsAlreadyExists(status)) {  // something that no manifest put there
    BW_RETURN_IF_ERROR(Named(RemoveAll(*levels_.back().dir, name), entry.path));
    status = CreateOnce(entry, name);
  }
  BW_RETURN_IF_ERROR(Named(status, entry.path));
  return entry.type == store::EntryType::kDirectory ? UpdateDirectory(entry) : absl::OkStatus();
}

absl::Status TreeWriter::UpdateDirectory(const store::Entry& entry) {
  size_t slash = entry.path.rfind('/');
  BW_RETURN_IF_ERROR(Push(std::string_view(entry.path).substr(slash == std::string::npos ? 0 : slash + 1)));
  levels_.back().touched = true;
  levels_.back().entry = entry;
  return absl::OkStatus();
}

absl::StatusOr<bool> TreeWriter::UpdateMetadata(const store::Entry& entry) {
  Level& parent = levels_.back();
  const std::string name = NameIn(parent, entry.path);
  absl::StatusOr<os::NodeStat> stat = parent.dir->Stat(name);
  if (!stat.ok() || stat->type != os::NodeType::kFile || stat->links != 1 || stat->size != entry.size) return false;
  BW_RETURN_IF_ERROR(SetMetadata(entry, parent, name));
  return true;
}

absl::Status TreeWriter::Change(const store::Entry* before, const store::Entry* after) {
  BW_RETURN_IF_ERROR(CheckCancelled());
  const std::string& path = after != nullptr ? after->path : before->path;
  if (after == nullptr && !removed_.empty() && IsAbove(removed_, path))
    return absl::OkStatus();  // went with its directory
  BW_RETURN_IF_ERROR(store::CheckPath(path));
  BW_RETURN_IF_ERROR(EnterParent(path));
  if (after == nullptr) return Remove(*before);
  if (before == nullptr) return Create(*after);
  const bool was_directory = before->type == store::EntryType::kDirectory;
  const bool is_directory = after->type == store::EntryType::kDirectory;
  if (was_directory && is_directory) return UpdateDirectory(*after);
  if (SameContent(*before, *after)) {
    BW_ASSIGN_OR_RETURN(bool done, UpdateMetadata(*after));
    if (done) {
      if (advance_) advance_(after->size);
      return absl::OkStatus();
    }
  }
  BW_RETURN_IF_ERROR(Remove(*before));
  return Create(*after);
}

absl::Status TreeWriter::Apply(const Digest& before, const Digest& after) {
  after_root_ = after;
  removed_.clear();
  levels_.clear();
  Level root;
  root.dir = target_;
  levels_.push_back(std::move(root));
  BW_RETURN_IF_ERROR(
      store::DiffManifests(dataset_->nodes.get(), before, after,
                           [this](const store::Entry* a, const store::Entry* b) { return Change(a, b); }));
  while (levels_.size() > 1) BW_RETURN_IF_ERROR(Leave());
  levels_.clear();
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
