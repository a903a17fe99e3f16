#include "common/store/dataset_store.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/random.h"
#include "common/store/store_impl.h"
#include "common/telemetry/log.h"

namespace bailiwick::store {
namespace {

using telemetry::Level;

constexpr uint64_t kMaxSidecarBytes = uint64_t{1} << 30;
constexpr const char* kPackSuffix[] = {".pack", ".spack"};  // plain, encrypted
constexpr const char* kSidecarSuffix[] = {".idx", ".sidx"};

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
std::string StoreImpl::PackPath(PackId pack, bool encrypted) const {
  return os::JoinPath(packs_directory(), absl::StrFormat("%016x%s", pack, kPackSuffix[encrypted]));
}
std::string StoreImpl::SidecarPath(PackId pack, bool encrypted) const {
  return os::JoinPath(packs_directory(), absl::StrFormat("%016x%s", pack, kSidecarSuffix[encrypted]));
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
  BW_RETURN_IF_ERROR(LoadKey());
  if (!Cipher().ok()) return absl::OkStatus();  // locked: nothing is touched
  return RecoverPacks();
}

absl::Status StoreImpl::RecoverPacks() {
  os::Files* files = options_.files;
  const std::string directory = packs_directory();
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, files->List(directory));
  std::map<PackId, bool> packs, sidecars;  // whether encrypted
  for (const std::string& name : names) {
    PackId pack;
    for (const bool encrypted : {false, true}) {
      const std::string_view sidecar = kSidecarSuffix[encrypted];
      if (ParsePackName(name, kPackSuffix[encrypted], &pack)) {
        packs[pack] = encrypted;
      } else if (ParsePackName(name, sidecar, &pack)) {
        sidecars[pack] = encrypted;
      } else if (name.size() > 16 + sidecar.size() &&
                 ParsePackName(std::string_view(name).substr(0, 16 + sidecar.size()), sidecar, &pack)) {
        // A temporary of an interrupted write: it was never acknowledged. Names of others are left alone.
        files->Remove(os::JoinPath(directory, name)).IgnoreError();  // that it stays does no harm
      }
    }
  }
  if (!packs.empty()) {
    absl::MutexLock lock(&mutex_);
    newest_pack_ = packs.rbegin()->first;
  }
  for (const auto& [pack, encrypted] : sidecars) {
    if (packs.count(pack) != 0) continue;
    auto entries = ReadSidecar(pack, encrypted);
    absl::Status gone = entries.ok() ? UnindexPack(pack, encrypted, *entries) : absl::OkStatus();
    if (gone.ok()) gone = files->Remove(SidecarPath(pack, encrypted));
    if (!gone.ok()) telemetry::Log(Level::kWarning, "sidecar-left", {{"directory", directory}, {"error", gone}});
  }
  for (const auto& [pack, encrypted] : packs) {
    absl::Status status = RecoverPack(pack, encrypted);
    if (status.ok()) continue;
    // One that cannot be opened, or whose sidecar finds no room on a full disk, waits for a later Open; the rest of the
    // dataset is there.
    if (!absl::IsResourceExhausted(status)) ++losses_;
    telemetry::Log(Level::kError, "pack-unusable", {{"path", PackPath(pack, encrypted)}, {"error", status}});
    absl::MutexLock lock(&mutex_);
    unusable_[pack] = encrypted;
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::RecoverPack(PackId pack, bool encrypted) {
  BW_ASSIGN_OR_RETURN(const bool sealed, options_.files->Exists(SidecarPath(pack, encrypted)));
  return sealed ? RecoverSealed(pack, encrypted) : RecoverUnfinished(pack, encrypted);
}

absl::Status StoreImpl::RecoverUnusable() {
  std::map<PackId, bool> unusable;
  {
    absl::MutexLock lock(&mutex_);
    unusable = unusable_;
  }
  for (const auto& [pack, encrypted] : unusable) {
    const std::string path = PackPath(pack, encrypted);
    absl::StatusOr<bool> there = options_.files->Exists(path);
    absl::Status status = there.ok() && *there ? RecoverPack(pack, encrypted) : there.status();
    if (!status.ok()) {
      return absl::UnavailableError(absl::StrCat("nobody knows what is in pack ", path,
                                                 ", which cannot be opened: ", std::string(status.message())));
    }
    absl::MutexLock lock(&mutex_);
    unusable_.erase(pack);
  }
  return absl::OkStatus();
}

absl::StatusOr<PackEntries> StoreImpl::ReadSidecar(PackId pack, bool encrypted) {
  BW_ASSIGN_OR_RETURN(std::string bytes, os::ReadFile(options_.files, SidecarPath(pack, encrypted), kMaxSidecarBytes));
  uint64_t pack_bytes = 0;
  if (!encrypted) return DecodeSidecar(bytes, pack, &pack_bytes);
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const DatasetCipher> cipher, NeedCipher());
  return cipher->OpenSidecar(bytes, pack, &pack_bytes);
}

uint64_t StoreImpl::CountInSidecar(PackId pack, bool encrypted) {
  auto file = options_.files->OpenRead(SidecarPath(pack, encrypted));
  const uint64_t size = file.ok() ? (*file)->Size().value_or(0) : 0;
  return ChunksOfSidecar(encrypted ? size - std::min<uint64_t>(size, kSealedSidecarExtraBytes) : size);
}

absl::StatusOr<PackEntries> StoreImpl::ReadSidecar(PackId pack) {
  bool encrypted = false;
  {
    absl::MutexLock lock(&mutex_);
    auto it = packs_.find(pack);
    encrypted = it != packs_.end() && it->second.encrypted;
  }
  return ReadSidecar(pack, encrypted);
}

absl::Status StoreImpl::WriteSidecar(PackId pack, bool encrypted, uint64_t bytes, const PackEntries& entries) {
  std::string sidecar;
  if (encrypted) {
    BW_ASSIGN_OR_RETURN(std::shared_ptr<const DatasetCipher> cipher, NeedCipher());
    crypto::Nonce nonce;
    options_.random->Fill(nonce);
    sidecar = cipher->SealSidecar(pack, bytes, entries, nonce);
  } else {
    sidecar = EncodeSidecar(pack, bytes, entries);
  }
  // Also makes the pack's own name durable: both are in this directory.
  return os::WriteFileAtomically(options_.files, SidecarPath(pack, encrypted), sidecar);
}

absl::StatusOr<PackEntries> StoreImpl::Scan(os::File& file, PackId pack, bool encrypted, PackScan scan,
                                            uint64_t* valid_bytes) {
  if (!encrypted) return ScanPack(file, options_.dataset, pack, scan, valid_bytes);
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const DatasetCipher> cipher, NeedCipher());
  return ScanSealedPack(file, *cipher, options_.dataset, pack, scan, valid_bytes);
}

absl::Status StoreImpl::RecoverSealed(PackId pack, bool encrypted) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, options_.files->OpenRead(PackPath(pack, encrypted)));
  BW_ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  BW_ASSIGN_OR_RETURN(bool indexed, options_.index->HasPack(options_.dataset, pack));
  if (!indexed) {
    auto entries = ReadSidecar(pack, encrypted);
    if (absl::IsDataLoss(entries.status())) {
      uint64_t valid = 0;
      entries = Scan(*file, pack, encrypted, PackScan::kWhatIsWhole, &valid);
      // Not readable as a pack of ours: left as it is for a person to look at, its chunks are missing.
      if (absl::IsDataLoss(entries.status()) || (entries.ok() && entries->empty())) return absl::OkStatus();
      BW_RETURN_IF_ERROR(entries.status());
      BW_RETURN_IF_ERROR(WriteSidecar(pack, encrypted, size, *entries));
    }
    BW_RETURN_IF_ERROR(entries.status());
    BW_RETURN_IF_ERROR(IndexPack(pack, encrypted, *entries));
  }
  const uint64_t chunks = CountInSidecar(pack, encrypted);
  absl::MutexLock lock(&mutex_);
  packs_[pack] = {.bytes = size, .chunks = chunks, .encrypted = encrypted};
  plain_packs_ += encrypted ? 0 : 1;
  return absl::OkStatus();
}

absl::Status StoreImpl::RecoverUnfinished(PackId pack, bool encrypted) {
  const std::string path = PackPath(pack, encrypted);
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, options_.files->OpenReadWrite(path, false));
  uint64_t valid = 0;
  auto entries = Scan(*file, pack, encrypted, PackScan::kPrefix, &valid);
  if (absl::IsDataLoss(entries.status()))
    return absl::OkStatus();  // another dataset's or a newer format's: not ours to remove
  BW_RETURN_IF_ERROR(entries.status());
  if (entries->empty()) return options_.files->Remove(path);
  BW_RETURN_IF_ERROR(file->Truncate(valid));
  BW_RETURN_IF_ERROR(file->Sync());
  BW_RETURN_IF_ERROR(WriteSidecar(pack, encrypted, valid, *entries));
  BW_RETURN_IF_ERROR(IndexPack(pack, encrypted, *entries));
  absl::MutexLock lock(&mutex_);
  packs_[pack] = {.bytes = valid, .chunks = entries->size(), .encrypted = encrypted};
  plain_packs_ += encrypted ? 0 : 1;
  return absl::OkStatus();
}

bool StoreImpl::Usable(const Digest& digest, const std::optional<ChunkLocation>& at) {
  if (!at.has_value() || !packs_.contains(at->pack) || quarantined_.contains(digest)) return false;
  if (Redacted(digest) != nullptr) return false;
  if (condemned_.contains(at->pack)) rescued_.insert(digest);
  return true;
}

absl::StatusOr<bool> StoreImpl::Has(const Digest& digest) {
  BW_ASSIGN_OR_RETURN(std::optional<ChunkLocation> at, Locate(digest));
  absl::MutexLock lock(&mutex_);
  return Usable(digest, at);
}

absl::StatusOr<std::vector<bool>> StoreImpl::HasMany(std::span<const Digest> digests) {
  BW_ASSIGN_OR_RETURN(auto locations, Locate(digests));
  std::vector<bool> has(digests.size());
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < digests.size(); ++i) has[i] = Usable(digests[i], locations[i]);
  return has;
}

absl::Status StoreImpl::MissRemovedPacks() {
  std::map<PackId, bool> known;  // whether it is encrypted; before the look, so that each was on the disk by then
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, pack] : packs_) known[id] = pack.encrypted;
  }
  absl::StatusOr<std::vector<std::string>> names = options_.files->List(packs_directory());
  if (absl::IsNotFound(names.status())) names = std::vector<std::string>();
  BW_RETURN_IF_ERROR(names.status());
  for (std::string& name : *names) name = os::JoinPath(packs_directory(), name);
  const absl::flat_hash_set<std::string_view> there(names->begin(), names->end());
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, encrypted] : known) {
    auto pack = packs_.find(id);  // not: collected meanwhile
    if (pack == packs_.end() || there.contains(PackPath(id, encrypted))) continue;
    plain_packs_ -= encrypted ? 0 : 1;
    packs_.erase(pack);
    ForgetFile(id);
    ++losses_;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const StoreImpl::PackFile>> StoreImpl::OpenPackFile(PackId pack) {
  auto opened = std::make_shared<PackFile>();
  opened->pack = pack;
  std::shared_ptr<const DatasetCipher> cipher;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = files_.begin(); it != files_.end(); ++it) {
      if ((*it)->pack != pack) continue;
      files_.splice(files_.begin(), files_, it);
      return files_.front();
    }
    BW_RETURN_IF_ERROR(locked_);
    auto known = packs_.find(pack);
    if (known != packs_.end() && known->second.encrypted) cipher = cipher_;
    if (known == packs_.end()) return absl::NotFoundError(absl::StrCat("pack ", pack, " is gone"));
  }
  BW_ASSIGN_OR_RETURN(opened->file, options_.files->OpenRead(PackPath(pack, cipher != nullptr)));
  if (cipher != nullptr) {
    BW_ASSIGN_OR_RETURN(std::string salt, ReadSalt(*opened->file, options_.dataset, pack));
    opened->cipher = cipher->ForPack(pack, salt);
  }
  absl::MutexLock lock(&mutex_);
  if (!packs_.contains(pack)) return opened;  // on its way out: do not hold its space
  files_.push_front(opened);
  if (files_.size() > kOpenFiles) files_.pop_back();
  return opened;
}

bool StoreImpl::BeginsReadably(PackId pack) {
  bool encrypted = false;
  {
    absl::MutexLock lock(&mutex_);
    auto known = packs_.find(pack);
    encrypted = known != packs_.end() && known->second.encrypted;
  }
  char header[kPackHeaderBytes];
  auto file = options_.files->OpenRead(PackPath(pack, encrypted));
  return file.ok() && (*file)->ReadAt(0, header, sizeof header).ok();
}

void StoreImpl::ForgetFile(PackId pack) {
  files_.remove_if([pack](const auto& f) { return f->pack == pack; });
}

absl::StatusOr<StoredChunk> StoreImpl::ReadAt(const Digest& digest, const ChunkLocation& at, bool* unreadable) {
  auto pack = OpenPackFile(at.pack);
  if (absl::IsDataLoss(pack.status())) {
    if (unreadable != nullptr) *unreadable = !BeginsReadably(at.pack);
    return Quarantine(digest, at.pack);
  }
  BW_RETURN_IF_ERROR(pack.status());
  const PackCipher* cipher = (*pack)->cipher.get();
  const uint64_t begin = at.offset - (cipher != nullptr ? kRecordHeaderBytes : 0);
  const uint64_t end = at.offset + at.stored_length + (cipher != nullptr ? kSealedTrailerBytes : 0);
  StoredChunk chunk{.codec = static_cast<Codec>(at.codec), .raw_length = at.raw_length, .bytes = ""};
  chunk.bytes.resize(end - begin);
  auto n = (*pack)->file->ReadAt(begin, chunk.bytes.data(), chunk.bytes.size());
  if (!n.ok() && !absl::IsDataLoss(n.status())) return n.status();
  if (unreadable != nullptr) *unreadable = !n.ok();
  if (n.ok() && *n == chunk.bytes.size()) {
    if (cipher == nullptr) {
      if (PackChecksum(chunk.bytes) == at.checksum) return chunk;
    } else if (auto record = cipher->OpenRecord(begin, chunk.bytes); record.ok() && record->digest == digest) {
      chunk.codec = static_cast<Codec>(record->at.codec);
      chunk.raw_length = record->at.raw_length;
      chunk.bytes = std::move(record->stored);
      return chunk;
    }
  }
  return Quarantine(digest, at.pack, /*for_good=*/n.ok());
}

absl::Status StoreImpl::Quarantine(const Digest& digest, PackId pack, bool for_good) {
  std::shared_ptr<const DatasetCipher> cipher;
  const absl::StatusOr<std::optional<ChunkLocation>> now = Locate(digest);
  {
    absl::MutexLock lock(&mutex_);
    if (now.ok() && now->has_value() && (*now)->pack != pack && packs_.contains((*now)->pack)) {
      return absl::NotFoundError(absl::StrCat("chunk ", digest.ShortHex(), " was stored anew"));  // read that one
    }
    if (quarantined_.insert(digest).second) ++losses_;
    auto known = packs_.find(pack);
    if (known != packs_.end() && known->second.encrypted) cipher = cipher_;
  }
  // Also for after a restart. Failing to note it changes nothing: the next read finds the damage again.
  if (for_good)
    options_.index->Forget(options_.dataset, cipher != nullptr ? cipher->Blind(digest) : digest, pack).IgnoreError();
  return absl::DataLossError(
      absl::StrCat("chunk ", digest.ShortHex(), " is damaged on disk; it must be fetched anew from another replica"));
}

absl::StatusOr<StoredChunk> StoreImpl::Read(const Digest& digest) {
  if (auto by = Redacted(digest); by != nullptr) {
    return absl::NotFoundError(absl::StrCat("chunk ", digest.ShortHex(), " is ", RedactedBy(*by)));
  }
  std::vector<std::shared_ptr<OpenPack>> open;
  {
    absl::MutexLock lock(&mutex_);
    BW_RETURN_IF_ERROR(locked_);
    for (const auto& [id, pack] : open_) open.push_back(pack);
  }
  for (const auto& pack : open) {
    BW_ASSIGN_OR_RETURN(std::optional<StoredChunk> chunk, pack->Read(digest));
    if (chunk.has_value()) return *std::move(chunk);
  }
  // A collection may move the chunk between the look-up and the read: another look finds it where it went.
  std::optional<ChunkLocation> at;
  for (int attempt = 0; attempt < 3; ++attempt) {
    BW_ASSIGN_OR_RETURN(at, Locate(digest));
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
  return Decompress(chunk.codec, chunk.raw_length, chunk.bytes);
}

std::unique_ptr<DatasetStore::Writer> StoreImpl::NewWriter() { return MakeWriter(PackWriter::Room::kAboveReserve); }

std::unique_ptr<PackWriter> StoreImpl::MakeWriter(PackWriter::Room room) {
  absl::MutexLock lock(&mutex_);
  const uint64_t ticket = next_ticket_++;
  writers_.insert(ticket);
  return std::make_unique<PackWriter>(this, ticket, room);
}

absl::Status StoreImpl::CheckRoom() {
  if (options_.disk_reserve == 0) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(const uint64_t free, options_.files->FreeBytes(options_.directory));
  if (free >= options_.disk_reserve) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("no space: ", FormatBytes(free), " are free where ",
                                                   options_.directory, " lies, less than its disk reserve of ",
                                                   FormatBytes(options_.disk_reserve)));
}

absl::StatusOr<uint64_t> StoreImpl::CountStored(std::span<const Digest> digests) {
  std::vector<std::shared_ptr<OpenPack>> open;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, pack] : open_) open.push_back(pack);
  }
  BW_ASSIGN_OR_RETURN(auto locations, Locate(digests));
  uint64_t stored = 0;
  for (size_t i = 0; i < digests.size(); ++i) {
    bool here = std::any_of(open.begin(), open.end(), [&](const auto& pack) { return pack->Contains(digests[i]); });
    absl::MutexLock lock(&mutex_);
    here |= locations[i].has_value() && packs_.contains(locations[i]->pack);
    stored += here ? 1 : 0;
  }
  return stored;
}

absl::StatusOr<StoreStats> StoreImpl::Stats() {
  absl::MutexLock lock(&mutex_);
  StoreStats stats;
  stats.packs = packs_.size();
  for (const auto& [id, pack] : packs_) {
    stats.small_packs += IsSmall(pack) ? 1 : 0;
    stats.pack_bytes += pack.bytes;
    stats.chunks += pack.chunks;
  }
  return stats;
}

}  // namespace bailiwick::store
