#include "common/store/dataset_store.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status.h"
#include "common/os/random.h"
#include "common/store/store_impl.h"

namespace bailiwick::store {
namespace {

constexpr uint64_t kMaxSidecarBytes = uint64_t{1} << 30;

bool ParsePackName(std::string_view name, std::string_view suffix, PackId* pack) {
  if (name.size() != 16 + suffix.size() || name.substr(16) != suffix) return false;
  return absl::SimpleHexAtoi(absl::string_view(name.data(), 16), pack);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DatasetStore>> DatasetStore::Open(Options options) {
  auto store = std::make_unique<StoreImpl>(std::move(options));
  BW_RETURN_IF_ERROR(store->Recover());
  return std::unique_ptr<DatasetStore>(std::move(store));
}

std::string StoreImpl::packs_directory() const { return os::JoinPath(options_.directory, "packs"); }
std::string StoreImpl::PackPath(PackId pack) const {
  return os::JoinPath(packs_directory(), absl::StrFormat("%016x.pack", pack));
}
std::string StoreImpl::SidecarPath(PackId pack) const {
  return os::JoinPath(packs_directory(), absl::StrFormat("%016x.idx", pack));
}

// Ids grow, so that a rebuilt index ends with the newest copy of a chunk; by random steps, so that an id never comes
// back: an index that lost its newest entries can still name packs of the past.
PackId StoreImpl::NewPackId() {
  uint32_t step = 0;
  os::Random::System()->Fill({reinterpret_cast<uint8_t*>(&step), sizeof step});
  absl::MutexLock lock(&mutex_);
  newest_pack_ += uint64_t{step} + 1;
  return newest_pack_;
}

absl::Status StoreImpl::Recover() {
  os::Files* files = options_.files;
  BW_ASSIGN_OR_RETURN(bool there, files->Exists(packs_directory()));
  if (!there) BW_RETURN_IF_ERROR(files->MakeDirs(packs_directory()));
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, files->List(packs_directory()));
  std::set<PackId> packs, sidecars;
  for (const std::string& name : names) {
    PackId pack;
    if (ParsePackName(name, ".pack", &pack)) {
      packs.insert(pack);
    } else if (ParsePackName(name, ".idx", &pack)) {
      sidecars.insert(pack);
    } else if (name.size() > 20 && ParsePackName(std::string_view(name).substr(0, 20), ".idx", &pack)) {
      // A temporary of an interrupted write: it was never acknowledged. Names of others are left alone.
      BW_RETURN_IF_ERROR(files->Remove(os::JoinPath(packs_directory(), name)));
    }
  }
  if (!packs.empty()) {
    absl::MutexLock lock(&mutex_);
    newest_pack_ = *packs.rbegin();
  }
  for (PackId pack : sidecars) {
    if (packs.count(pack) != 0) continue;
    if (auto entries = ReadSidecar(pack); entries.ok()) {
      std::vector<Digest> digests;
      for (const auto& [digest, at] : *entries) digests.push_back(digest);
      BW_RETURN_IF_ERROR(options_.index->DropPack(options_.dataset, pack, digests));
    }
    BW_RETURN_IF_ERROR(files->Remove(SidecarPath(pack)));
  }
  for (PackId pack : packs) {
    absl::Status status = sidecars.count(pack) != 0 ? RecoverSealed(pack) : RecoverUnfinished(pack);
    // A full disk delays what needs room for a sidecar to a later Open; the rest of the dataset is there.
    if (!status.ok() && !absl::IsResourceExhausted(status)) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<PackEntries> StoreImpl::ReadSidecar(PackId pack) {
  BW_ASSIGN_OR_RETURN(std::string bytes, os::ReadFile(options_.files, SidecarPath(pack), kMaxSidecarBytes));
  uint64_t pack_bytes = 0;
  return DecodeSidecar(bytes, pack, &pack_bytes);
}

absl::Status StoreImpl::WriteSidecar(PackId pack, uint64_t bytes, const PackEntries& entries) {
  // Also makes the pack's own name durable: both are in this directory.
  return os::WriteFileAtomically(options_.files, SidecarPath(pack), EncodeSidecar(pack, bytes, entries));
}

absl::Status StoreImpl::RecoverSealed(PackId pack) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, options_.files->OpenRead(PackPath(pack)));
  BW_ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  BW_ASSIGN_OR_RETURN(bool indexed, options_.index->HasPack(options_.dataset, pack));
  if (!indexed) {
    auto entries = ReadSidecar(pack);
    if (absl::IsDataLoss(entries.status())) {
      uint64_t valid = 0;
      entries = ScanPack(*file, options_.dataset, pack, PackScan::kWhatIsWhole, &valid);
      // Not readable as a pack of ours: left as it is for a person to look at, its chunks are missing.
      if (absl::IsDataLoss(entries.status()) || (entries.ok() && entries->empty())) return absl::OkStatus();
      BW_RETURN_IF_ERROR(entries.status());
      BW_RETURN_IF_ERROR(WriteSidecar(pack, size, *entries));
    }
    BW_RETURN_IF_ERROR(entries.status());
    BW_RETURN_IF_ERROR(options_.index->PutPack(options_.dataset, pack, *entries));
  }
  absl::MutexLock lock(&mutex_);
  packs_[pack] = size;
  return absl::OkStatus();
}

absl::Status StoreImpl::RecoverUnfinished(PackId pack) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, options_.files->OpenReadWrite(PackPath(pack), false));
  uint64_t valid = 0;
  auto entries = ScanPack(*file, options_.dataset, pack, PackScan::kPrefix, &valid);
  if (absl::IsDataLoss(entries.status()))
    return absl::OkStatus();  // another dataset's or a newer format's: not ours to remove
  BW_RETURN_IF_ERROR(entries.status());
  if (entries->empty()) return options_.files->Remove(PackPath(pack));
  BW_RETURN_IF_ERROR(file->Truncate(valid));
  BW_RETURN_IF_ERROR(file->Sync());
  BW_RETURN_IF_ERROR(WriteSidecar(pack, valid, *entries));
  BW_RETURN_IF_ERROR(options_.index->PutPack(options_.dataset, pack, *entries));
  absl::MutexLock lock(&mutex_);
  packs_[pack] = valid;
  return absl::OkStatus();
}

bool StoreImpl::Usable(const Digest& digest, const std::optional<ChunkLocation>& at) {
  if (!at.has_value() || !packs_.contains(at->pack) || quarantined_.contains(digest)) return false;
  if (condemned_.contains(at->pack)) rescued_.insert(digest);
  return true;
}

absl::StatusOr<bool> StoreImpl::Has(const Digest& digest) {
  BW_ASSIGN_OR_RETURN(std::optional<ChunkLocation> at, options_.index->Get(options_.dataset, digest));
  absl::MutexLock lock(&mutex_);
  return Usable(digest, at);
}

absl::StatusOr<std::vector<bool>> StoreImpl::HasMany(std::span<const Digest> digests) {
  BW_ASSIGN_OR_RETURN(auto locations, options_.index->GetMany(options_.dataset, digests));
  std::vector<bool> has(digests.size());
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < digests.size(); ++i) has[i] = Usable(digests[i], locations[i]);
  return has;
}

absl::StatusOr<std::shared_ptr<os::File>> StoreImpl::OpenPackFile(PackId pack) {
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = files_.begin(); it != files_.end(); ++it) {
      if (it->first != pack) continue;
      files_.splice(files_.begin(), files_, it);
      return files_.front().second;
    }
  }
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> opened, options_.files->OpenRead(PackPath(pack)));
  std::shared_ptr<os::File> file = std::move(opened);
  absl::MutexLock lock(&mutex_);
  if (!packs_.contains(pack)) return file;  // on its way out: do not hold its space
  files_.emplace_front(pack, file);
  if (files_.size() > kOpenFiles) files_.pop_back();
  return file;
}

void StoreImpl::ForgetFile(PackId pack) {
  files_.remove_if([pack](const auto& f) { return f.first == pack; });
}

absl::StatusOr<StoredChunk> StoreImpl::ReadAt(const Digest& digest, const ChunkLocation& at) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<os::File> file, OpenPackFile(at.pack));
  StoredChunk chunk{.codec = static_cast<Codec>(at.codec), .raw_length = at.raw_length, .bytes = ""};
  chunk.bytes.resize(at.stored_length);
  auto n = file->ReadAt(at.offset, chunk.bytes.data(), chunk.bytes.size());
  if (n.ok() && *n == chunk.bytes.size() && PackChecksum(chunk.bytes) == at.checksum) return chunk;
  if (!n.ok() && !absl::IsDataLoss(n.status())) return n.status();
  return Quarantine(digest, at.pack);
}

absl::Status StoreImpl::Quarantine(const Digest& digest, PackId pack) {
  {
    absl::MutexLock lock(&mutex_);
    quarantined_.insert(digest);
  }
  // Also for after a restart. Failing to note it changes nothing: the next read finds the damage again.
  options_.index->Forget(options_.dataset, digest, pack).IgnoreError();
  return absl::DataLossError(
      absl::StrCat("chunk ", digest.ShortHex(), " is damaged on disk; it must be fetched anew from another replica"));
}

absl::StatusOr<StoredChunk> StoreImpl::Read(const Digest& digest) {
  std::vector<std::shared_ptr<OpenPack>> open;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, pack] : open_) open.push_back(pack);
  }
  for (const auto& pack : open) {
    BW_ASSIGN_OR_RETURN(std::optional<StoredChunk> chunk, pack->Read(digest));
    if (chunk.has_value()) return *std::move(chunk);
  }
  // A collection may move the chunk between the look-up and the read: another look finds it where it went.
  std::optional<ChunkLocation> at;
  for (int attempt = 0; attempt < 3; ++attempt) {
    BW_ASSIGN_OR_RETURN(at, options_.index->Get(options_.dataset, digest));
    {
      absl::MutexLock lock(&mutex_);
      if (quarantined_.contains(digest)) {
        return absl::DataLossError(absl::StrCat("chunk ", digest.ShortHex(),
                                                " is damaged on disk; it must be fetched anew from another replica"));
      }
      if (!at.has_value() || !packs_.contains(at->pack)) continue;
    }
    auto chunk = ReadAt(digest, *at);
    if (!absl::IsNotFound(chunk.status())) return chunk;
  }
  if (at.has_value()) {
    bool lost = false;
    {
      absl::MutexLock lock(&mutex_);
      lost = packs_.contains(at->pack);
    }
    if (lost) return Quarantine(digest, at->pack);  // somebody removed the pack's file
  }
  return absl::NotFoundError(absl::StrCat("chunk ", digest.ShortHex(), " is not here"));
}

absl::StatusOr<std::string> StoreImpl::ReadRaw(const Digest& digest) {
  BW_ASSIGN_OR_RETURN(StoredChunk chunk, Read(digest));
  if (chunk.codec == Codec::kRaw && chunk.bytes.size() == chunk.raw_length) return std::move(chunk.bytes);
  return Decompress(chunk);
}

std::unique_ptr<DatasetStore::Writer> StoreImpl::NewWriter() {
  absl::MutexLock lock(&mutex_);
  const uint64_t ticket = next_ticket_++;
  writers_.insert(ticket);
  return std::make_unique<PackWriter>(this, ticket);
}

absl::StatusOr<StoreStats> StoreImpl::Stats() {
  absl::MutexLock lock(&mutex_);
  StoreStats stats;
  stats.packs = packs_.size();
  for (const auto& [pack, bytes] : packs_) stats.pack_bytes += bytes;
  return stats;
}

}  // namespace bailiwick::store
