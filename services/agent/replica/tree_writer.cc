#include "services/agent/replica/tree_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/files.h"
#include "services/agent/home/display_path.h"
#include "services/agent/replica/file_content.h"

namespace bailiwick::agent {
namespace {

constexpr uint32_t kWriteBits = 0222;
constexpr uint32_t kOthersWrite = 0022;
constexpr uint32_t kSetIdBits = 06000;
constexpr uint32_t kOwnerAll = 0700;
constexpr size_t kNamesAtOnce = 64 << 10;   // of a directory that is emptied: there may be millions
constexpr size_t kMaxHandles = 128;         // deeper directories are reached by a path from the last handle
constexpr uint64_t kPartBytes = 4 << 20;    // of a large file, what one thread writes before it looks for other work
constexpr size_t kPartPieces = 4096;        // likewise, where whoever committed it cut it smaller than chunks are
constexpr uint64_t kSmallFile = 256 << 10;  // these are written in batches
constexpr uint64_t kBatchBytes = 1 << 20;
constexpr size_t kBatchFiles = 128;
constexpr size_t kBatchDirectories = 8;  // each may hold a descriptor

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

struct TreeWriter::OpenFile {
  std::unique_ptr<os::TreeFile> file;
  LevelRef level;
  store::Entry entry;
  uint64_t written_end = 0;  // set before the last part is closed
  // One thread at a time writes, while others read: the kernel's lock on the file would have them spin.
  absl::Mutex writing;
  std::atomic<int> open{1};  // parts, and the walk that hands them out
};

struct TreeWriter::SmallFile {
  store::Entry entry;
  LevelRef level;
  std::string name;
};

absl::Status RemoveAll(os::TreeDir& dir, const std::string& name) {
  absl::Status status = dir.RemoveTree(name);
  if (!IsKeptOut(status)) return status;
  BW_RETURN_IF_ERROR(Unlock(dir, name));
  return dir.RemoveTree(name);
}

absl::Status EmptyDirectory(os::TreeDir& dir) {
  std::vector<std::string> names;
  do {
    names.clear();
    BW_RETURN_IF_ERROR(dir.List([&names](std::string_view name) {
      if (names.size() < kNamesAtOnce) names.emplace_back(name);
    }));
    for (const std::string& name : names) BW_RETURN_IF_ERROR(RemoveAll(dir, name));
  } while (names.size() == kNamesAtOnce);
  return absl::OkStatus();
}

uint32_t LaidOutMode(const store::Entry& entry, const TreeStyle& style) {
  uint32_t mode = entry.mode & 07777;
  if (entry.type == store::EntryType::kSymlink) return mode;
  // A directory stays its owner's, who lays out in it; no reader may put anything into what is shown.
  if (!style.writable) mode &= entry.type == store::EntryType::kFile ? ~kWriteBits : ~kOthersWrite;
  if (!style.owner || !entry.owner) mode &= ~kSetIdBits;
  return mode;
}

TreeWriter::TreeWriter(DatasetHandle* dataset, os::TreeDir* target, const TreeStyle& style, Advance advance,
                       const std::atomic<bool>* cancelled)
    : dataset_(dataset), target_(target), style_(style), advance_(std::move(advance)), cancelled_(cancelled) {}

TreeWriter::~TreeWriter() = default;

void TreeWriter::Advanced(uint64_t bytes) {
  if (!advance_) return;
  absl::MutexLock lock(&advance_mutex_);
  advance_(bytes);
}

void TreeWriter::Fail(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = status;
}

absl::Status TreeWriter::Failure() {
  absl::MutexLock lock(&mutex_);
  return failure_;
}

absl::Status TreeWriter::CheckCancelled() const {
  if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("laying out was cancelled");
  return absl::OkStatus();
}

absl::Status TreeWriter::CheckRoom() const { return shares_disk_ ? dataset_->store->CheckRoom() : absl::OkStatus(); }

absl::Status TreeWriter::Named(const absl::Status& status, std::string_view path) const {
  return Annotate(status, DisplayPath(path));
}

std::string TreeWriter::NameIn(const Level& level, std::string_view path) {
  std::string_view name = level.path.empty() ? path : path.substr(level.path.size() + 1);
  return level.prefix + std::string(name);
}

absl::Status TreeWriter::Push(std::string_view name) {
  Level& parent = *levels_.back();
  auto level = std::make_shared<Level>();
  level->path = parent.path.empty() ? std::string(name) : parent.path + "/" + std::string(name);
  const std::string in_parent = parent.prefix + std::string(name);
  absl::StatusOr<os::NodeStat> stat = parent.dir->Stat(in_parent);
  if (!stat.ok()) return Named(stat.status(), level->path);
  if (stat->type != os::NodeType::kDirectory) {
    return absl::FailedPreconditionError(absl::StrCat(DisplayPath(level->path), " is not a directory here"));
  }
  if ((stat->mode & kOwnerAll) != kOwnerAll) {
    BW_RETURN_IF_ERROR(Named(parent.dir->SetMode(in_parent, stat->mode | kOwnerAll), level->path));
    level->touched = true;
  }
  if (levels_.size() < kMaxHandles) {
    auto dir = parent.dir->OpenDir(in_parent);
    if (!dir.ok()) return Named(dir.status(), level->path);
    level->owned = *std::move(dir);
    level->dir = level->owned.get();
  } else {
    level->dir = parent.dir;
    level->prefix = in_parent + "/";
  }
  level->parent = levels_.back();
  ++level->parent->open;
  levels_.push_back(std::move(level));
  return absl::OkStatus();
}

absl::Status TreeWriter::Leave() {
  LevelRef level = std::move(levels_.back());
  levels_.pop_back();
  if (level->touched && !level->entry) {
    BW_ASSIGN_OR_RETURN(level->entry, store::FindEntry(dataset_->nodes.get(), after_root_, level->path));
    if (!level->entry || level->entry->type != store::EntryType::kDirectory) {
      return absl::DataLossError(absl::StrCat("the manifest has no directory entry for ", DisplayPath(level->path)));
    }
  }
  Close(std::move(level));
  return absl::OkStatus();
}

void TreeWriter::Close(LevelRef level) {
  while (level != nullptr && --level->open == 0 && level->parent != nullptr) {
    if (level->touched && level->entry) {
      absl::Status status = SetMetadata(*level->entry, *level->parent, NameIn(*level->parent, level->path));
      if (!status.ok()) Fail(status);
    }
    LevelRef parent = level->parent;
    level = std::move(parent);
  }
}

absl::Status TreeWriter::EnterParent(std::string_view path) {
  size_t slash = path.rfind('/');
  std::string_view parent = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  auto leads_there = [&](const std::string& at) { return at.empty() || at == parent || store::IsBelow(parent, at); };
  while (!leads_there(levels_.back()->path)) BW_RETURN_IF_ERROR(Leave());
  while (levels_.back()->path != parent) {
    const std::string& top = levels_.back()->path;
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
  Level& parent = *levels_.back();
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

absl::Status TreeWriter::FinishFile(const store::Entry& entry, os::TreeFile& file, uint64_t written_end) {
  if (written_end != entry.size) BW_RETURN_IF_ERROR(file.Truncate(entry.size));
  if (style_.owner && entry.owner) BW_RETURN_IF_ERROR(file.SetOwner(entry.owner->first, entry.owner->second));
  BW_RETURN_IF_ERROR(file.SetMode(LaidOutMode(entry, style_)));  // after the owner: that clears setuid
  return file.SetMtime(entry.mtime_ns);
}

absl::Status TreeWriter::WriteFile(const store::Entry& entry, Level& level, const std::string& name,
                                   std::span<const std::string_view> chunks) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeFile> file, level.dir->CreateFile(name));
  Placement placement(&entry);
  BW_RETURN_IF_ERROR(WriteChunks(*file, chunks, &placement));
  if (placement.at() != entry.size) {
    return absl::DataLossError("the chunks are shorter than the file that the manifest describes");
  }
  Advanced(entry.size);
  return FinishFile(entry, *file, placement.written_end());
}

// The walk hands out runs of chunks with their place; whoever ends the last of them sets the file's metadata.
absl::Status TreeWriter::CreateInParts(const store::Entry& entry, const LevelRef& level, const std::string& name) {
  auto open = std::make_shared<OpenFile>();
  BW_ASSIGN_OR_RETURN(open->file, level->dir->CreateFile(name));
  open->level = level;
  open->entry = entry;
  ++level->open;
  Placement placement(&open->entry), part_placement = placement;
  std::vector<store::Reference> part;
  uint64_t part_bytes = 0;
  auto hand_over = [&] {
    ++open->open;
    pool_.Submit([this, open, bytes = part_bytes, part = std::move(part), place = part_placement]() mutable {
      auto write = [&]() -> absl::Status {
        BW_RETURN_IF_ERROR(CheckCancelled());
        BW_RETURN_IF_ERROR(CheckRoom());
        BW_ASSIGN_OR_RETURN(RawChunks raw, ReadChunks(*dataset_->store, part));
        const uint64_t begin = place.at();
        absl::MutexLock lock(&open->writing);
        BW_RETURN_IF_ERROR(WriteChunks(*open->file, raw.bytes, &place));
        os::StartWriteback(open->file->fd(), begin, place.at() - begin);  // else all of it waits for the end
        return absl::OkStatus();
      };
      if (absl::Status status = write(); status.ok()) {
        Advanced(bytes);
      } else {
        Fail(Named(status, open->entry.path));
      }
      ClosePart(open);
    });
    part.clear();
    part_bytes = 0;
    part_placement = placement;
  };
  absl::Status status =
      store::ForEachChunk(dataset_->nodes.get(), open->entry, [&](const store::Reference& piece) -> absl::Status {
        BW_RETURN_IF_ERROR(Failure());
        part.push_back(piece);
        part_bytes += piece.length;
        auto skip = [](uint64_t, uint64_t, uint64_t) { return absl::OkStatus(); };
        BW_RETURN_IF_ERROR(placement.Place(piece.length, skip));
        if (part_bytes >= kPartBytes || part.size() >= kPartPieces) hand_over();
        return absl::OkStatus();
      });
  if (status.ok() && !part.empty()) hand_over();
  if (status.ok() && placement.at() != entry.size) {
    status = absl::DataLossError("the chunks are shorter than the file that the manifest describes");
  }
  open->written_end = placement.written_end();
  if (!status.ok()) Fail(Named(status, entry.path));
  ClosePart(open);
  return status;
}

void TreeWriter::ClosePart(const std::shared_ptr<OpenFile>& open) {
  if (--open->open != 0) return;
  if (Failure().ok()) {
    absl::Status status = FinishFile(open->entry, *open->file, open->written_end);
    if (!status.ok()) Fail(Named(status, open->entry.path));
  }
  open->file.reset();
  Close(open->level);
}

absl::StatusOr<bool> TreeWriter::TakeFromDonor(const store::Entry& entry, Level& level, const std::string& name,
                                               DonorPlace* place) {
  if (donor_.dir == nullptr || entry.size == 0 || (!clones_ && !donor_.hard_links)) return false;
  std::optional<store::Entry> theirs = entry;
  if (donor_.root != after_root_) {
    BW_ASSIGN_OR_RETURN(theirs, store::FindEntry(dataset_->nodes.get(), donor_.root, entry.path));
  }
  if (!theirs || !store::SameContent(*theirs, entry)) return false;
  os::TreeDir* from = donor_.dir;
  std::string there = entry.path;
  if (const size_t slash = there.rfind('/'); slash != std::string::npos) {
    const std::string_view parent = std::string_view(entry.path).substr(0, slash);
    if (place->path != parent) {
      absl::StatusOr<std::unique_ptr<os::TreeDir>> dir = donor_.dir->OpenDir(std::string(parent));
      *place = {std::string(parent), dir.ok() ? *std::move(dir) : nullptr};
    }
    if (place->dir != nullptr) {  // else one that may not be listed: its files are reached all the same
      from = place->dir.get();
      there.erase(0, slash + 1);
    }
  }
  absl::StatusOr<os::NodeStat> stat = from->Stat(there);
  const bool as_laid_out = stat.ok() && stat->type == os::NodeType::kFile && stat->size == theirs->size &&
                           stat->mtime_ns == theirs->mtime_ns && stat->mode == LaidOutMode(*theirs, style_);
  if (!as_laid_out) return false;  // somebody changed it: take the bytes from the store
  os::TreeDir& dir = *level.dir;
  if (clones_) {
    absl::Status cloned = dir.Reflink(*from, there, name);
    if (cloned.ok()) {
      BW_RETURN_IF_ERROR(SetMetadata(entry, level, name));
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
  absl::Status linked = dir.Link(*from, there, name);
  if (absl::IsAlreadyExists(linked)) return linked;
  return linked.ok();  // too many links, another file system: the bytes are in the store
}

absl::Status TreeWriter::CreateOnce(const store::Entry& entry, Level& level, const std::string& name,
                                    std::span<const std::string_view> chunks) {
  switch (entry.type) {
    case store::EntryType::kDirectory:
      return level.dir->MakeDir(name);
    case store::EntryType::kSymlink:
      BW_RETURN_IF_ERROR(level.dir->MakeSymlink(name, entry.target));
      return SetMetadata(entry, level, name);
    case store::EntryType::kFile:
      break;
  }
  return WriteFile(entry, level, name, chunks);
}

absl::Status TreeWriter::CreateNow(const store::Entry& entry, Level& level, const std::string& name,
                                   std::span<const std::string_view> chunks) {
  absl::Status status = CreateOnce(entry, level, name, chunks);
  if (absl::IsAlreadyExists(status)) {  // something that no manifest put there
    BW_RETURN_IF_ERROR(Named(RemoveAll(*level.dir, name), entry.path));
    status = CreateOnce(entry, level, name, chunks);
  }
  return Named(status, entry.path);
}

absl::Status TreeWriter::Create(const store::Entry& entry) {
  LevelRef level = levels_.back();
  level->touched = true;
  std::string name = NameIn(*level, entry.path);
  BW_ASSIGN_OR_RETURN(auto redacted, dataset_->redactions->Find(dataset_->nodes.get(), entry));
  if (redacted != nullptr) {
    ++redacted_;
    Advanced(entry.size);
    return Named(RemoveAll(*level->dir, name), entry.path);
  }
  if (entry.type != store::EntryType::kFile) {
    BW_RETURN_IF_ERROR(CreateNow(entry, *level, name, {}));
    return entry.type == store::EntryType::kDirectory ? UpdateDirectory(entry) : absl::OkStatus();
  }
  if (entry.size > kSmallFile || entry.list_height > 0) {
    BW_RETURN_IF_ERROR(Named(RemoveAll(*level->dir, name), entry.path));  // something that no manifest put there
    DonorPlace place;
    absl::StatusOr<bool> taken = TakeFromDonor(entry, *level, name, &place);
    if (!taken.ok()) return Named(taken.status(), entry.path);
    if (!*taken) return Named(CreateInParts(entry, level, name), entry.path);
    Advanced(entry.size);
    return absl::OkStatus();
  }
  ++level->open;
  if (small_.empty() || small_.back().level != level) ++small_directories_;
  small_bytes_ += entry.size;
  small_.push_back({entry, std::move(level), std::move(name)});
  if (small_bytes_ >= kBatchBytes || small_.size() >= kBatchFiles || small_directories_ >= kBatchDirectories) {
    HandOverSmall();
  }
  return absl::OkStatus();
}

void TreeWriter::HandOverSmall() {
  if (small_.empty()) return;
  pool_.Submit([this, files = std::move(small_)]() mutable { CreateSmall(std::move(files)); });
  small_.clear();
  small_bytes_ = small_directories_ = 0;
}

// Files that lie one after the other in the manifest mostly do so in a pack too: one look-up and one read for all.
void TreeWriter::CreateSmall(std::vector<SmallFile> files) {
  std::vector<store::Reference> pieces;
  std::vector<SmallFile*> to_write;
  DonorPlace place;
  for (SmallFile& file : files) {
    absl::StatusOr<bool> taken = TakeFromDonor(file.entry, *file.level, file.name, &place);
    if (absl::IsAlreadyExists(taken.status())) taken = false;
    if (!taken.ok()) {
      Fail(Named(taken.status(), file.entry.path));
    } else if (*taken) {
      Advanced(file.entry.size);
    } else {
      to_write.push_back(&file);
      pieces.insert(pieces.end(), file.entry.chunks.begin(), file.entry.chunks.end());
    }
  }
  if (absl::Status room = to_write.empty() ? absl::OkStatus() : CheckRoom(); !room.ok()) Fail(room);
  absl::StatusOr<RawChunks> raw = ReadChunks(*dataset_->store, pieces);
  size_t next = 0;
  for (SmallFile* file : to_write) {
    if (absl::Status going = CheckCancelled(); !going.ok()) Fail(going);  // what is left out would be missing
    if (!Failure().ok()) break;
    const std::vector<store::Reference>& chunks = file->entry.chunks;
    absl::Status status;
    if (raw.ok()) {
      status = CreateNow(file->entry, *file->level, file->name, std::span(raw->bytes).subspan(next, chunks.size()));
    } else {  // whose chunk it was: that is the file to name
      absl::StatusOr<RawChunks> own = ReadChunks(*dataset_->store, chunks);
      status = own.ok() ? CreateNow(file->entry, *file->level, file->name, own->bytes)
                        : Named(own.status(), file->entry.path);
    }
    next += chunks.size();
    if (!status.ok()) Fail(status);
  }
  for (SmallFile& file : files) Close(std::move(file.level));
}

absl::Status TreeWriter::UpdateDirectory(const store::Entry& entry) {
  size_t slash = entry.path.rfind('/');
  BW_RETURN_IF_ERROR(Push(std::string_view(entry.path).substr(slash == std::string::npos ? 0 : slash + 1)));
  levels_.back()->touched = true;
  levels_.back()->entry = entry;
  return absl::OkStatus();
}

absl::StatusOr<bool> TreeWriter::UpdateMetadata(const store::Entry& entry) {
  Level& parent = *levels_.back();
  const std::string name = NameIn(parent, entry.path);
  absl::StatusOr<os::NodeStat> stat = parent.dir->Stat(name);
  if (!stat.ok() || stat->type != os::NodeType::kFile || stat->links != 1 || stat->size != entry.size) return false;
  BW_RETURN_IF_ERROR(SetMetadata(entry, parent, name));
  return true;
}

absl::Status TreeWriter::Change(const store::Entry* before, const store::Entry* after) {
  BW_RETURN_IF_ERROR(CheckCancelled());
  BW_RETURN_IF_ERROR(Failure());
  const std::string& path = after != nullptr ? after->path : before->path;
  if (after == nullptr && !removed_.empty() && store::IsBelow(path, removed_))
    return absl::OkStatus();  // went with its directory
  BW_RETURN_IF_ERROR(store::CheckPath(path));
  BW_RETURN_IF_ERROR(EnterParent(path));
  if (after == nullptr) return Remove(*before);
  if (before == nullptr) return Create(*after);
  const bool was_directory = before->type == store::EntryType::kDirectory;
  const bool is_directory = after->type == store::EntryType::kDirectory;
  if (was_directory && is_directory) return UpdateDirectory(*after);
  if (store::SameContent(*before, *after)) {
    BW_ASSIGN_OR_RETURN(bool done, UpdateMetadata(*after));
    if (done) {
      Advanced(after->size);
      return absl::OkStatus();
    }
  }
  BW_RETURN_IF_ERROR(Remove(*before));
  return Create(*after);
}

absl::Status TreeWriter::Apply(const Digest& before, const Digest& after) {
  after_root_ = after;
  removed_.clear();
  BW_ASSIGN_OR_RETURN(const std::unique_ptr<os::TreeDir> records, os::OpenTree(dataset_->directory));
  BW_ASSIGN_OR_RETURN(const os::NodeStat records_stat, records->Stat(""));
  BW_ASSIGN_OR_RETURN(const os::NodeStat target_stat, target_->Stat(""));
  shares_disk_ = records_stat.device == target_stat.device;
  auto root = std::make_shared<Level>();
  root->dir = target_;
  levels_ = {std::move(root)};
  absl::Status status =
      store::DiffManifests(dataset_->nodes.get(), before, after,
                           [this](const store::Entry* a, const store::Entry* b) { return Change(a, b); });
  HandOverSmall();
  while (status.ok() && levels_.size() > 1) status = Leave();
  levels_.clear();
  pool_.Drain();
  absl::Status failure = Failure();
  return failure.ok() ? status : failure;
}

}  // namespace bailiwick::agent
