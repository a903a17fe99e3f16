#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/store_impl.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::store {
namespace {

// What a pack's buffer holds without growing: what is written at once, and one more chunk of the usual sizes.
constexpr size_t kReserveBytes = PackWriter::kBufferBytes + (256 << 10);

telemetry::CounterFamily chunks_stored("bailiwick_store_chunks_stored_total",
                                       "Chunks written to packs: by commits, transfers and collections.", {});
telemetry::CounterFamily raw_stored(
    "bailiwick_store_raw_bytes_total",
    "Size of the chunks written to packs before compression: divided by the stored bytes, "
    "the compression ratio.",
    {});
telemetry::CounterFamily bytes_stored("bailiwick_store_stored_bytes_total",
                                      "Size of the chunks written to packs, as stored.", {});

void CountStored(const ChunkParts& chunk) {
  static telemetry::Counter& chunks = chunks_stored.With({});
  static telemetry::Counter& raw = raw_stored.With({});
  static telemetry::Counter& stored = bytes_stored.With({});
  chunks.Add();
  raw.Add(chunk.raw_length);
  stored.Add(chunk.size());
}

}  // namespace

OpenPack::OpenPack(PackId id, std::string header, std::shared_ptr<os::File> file,
                   std::shared_ptr<const PackCipher> cipher)
    : id_(id), header_bytes_(header.size()), file_(std::move(file)), cipher_(std::move(cipher)) {
  absl::MutexLock lock(&mutex_);
  buffer_.reserve(kReserveBytes);
  buffer_.append(header);
}

uint64_t OpenPack::EndOf(const ChunkLocation& at) const {
  return at.offset + at.stored_length + (cipher_ != nullptr ? kSealedTrailerBytes : 0);
}

bool OpenPack::Contains(const Digest& digest) {
  absl::MutexLock lock(&mutex_);
  return chunks_.contains(digest);
}

uint64_t OpenPack::written() {
  absl::MutexLock lock(&mutex_);
  return written_;
}

size_t OpenPack::buffered() {
  absl::MutexLock lock(&mutex_);
  return buffer_.size();
}

absl::StatusOr<std::optional<StoredChunk>> OpenPack::Read(const Digest& digest) {
  ChunkLocation at;
  std::string bytes;  // an encrypted pack's whole record
  uint64_t begin = 0;
  bool buffered = false;
  {
    absl::MutexLock lock(&mutex_);
    auto it = chunks_.find(digest);
    if (it == chunks_.end()) return std::nullopt;
    at = it->second;
    begin = at.offset - (cipher_ != nullptr ? kRecordHeaderBytes : 0);
    buffered = begin >= written_;
    if (buffered) bytes = buffer_.substr(begin - written_, EndOf(at) - begin);
  }
  bool whole = true;
  if (!buffered) {
    bytes.resize(EndOf(at) - begin);
    BW_ASSIGN_OR_RETURN(size_t n, file_->ReadAt(begin, bytes.data(), bytes.size()));
    whole = n == bytes.size();
  }
  if (cipher_ != nullptr && whole) {
    auto record = cipher_->OpenRecord(begin, bytes);
    whole = record.ok();
    if (whole) bytes = std::move(record->stored);
  } else if (!buffered) {
    whole = whole && PackChecksum(bytes) == at.checksum;
  }
  if (!whole) {
    return absl::DataLossError(
        absl::StrCat("chunk ", digest.ShortHex(), " reads back damaged right after it was written"));
  }
  return StoredChunk{.codec = static_cast<Codec>(at.codec), .raw_length = at.raw_length, .bytes = std::move(bytes)};
}

uint64_t OpenPack::Append(const Digest& digest, const ChunkParts& chunk) {
  ChunkLocation at;
  at.pack = id_;
  at.stored_length = static_cast<uint32_t>(chunk.size());
  at.raw_length = chunk.raw_length;
  at.codec = static_cast<uint8_t>(chunk.codec);
  absl::MutexLock lock(&mutex_);
  const size_t begin = buffer_.size();
  at.offset = written_ + begin + kRecordHeaderBytes;
  if (cipher_ != nullptr) {  // its tag checks it, and no checksum tells of it
    std::string stored;
    stored.reserve(chunk.size());
    for (std::string_view part : chunk.parts) stored.append(part);
    cipher_->AppendRecord(digest, at, stored, &buffer_);
  } else {
    buffer_.append(kRecordHeaderBytes, '\0');
    for (std::string_view part : chunk.parts) buffer_.append(part);
    at.checksum = PackChecksum(std::string_view(buffer_).substr(begin + kRecordHeaderBytes));  // of what is written
    buffer_.replace(begin, kRecordHeaderBytes, EncodeRecordHeader(digest, at));
  }
  entries_.emplace_back(digest, at);
  chunks_[digest] = at;
  return written_ + buffer_.size();
}

absl::Status OpenPack::WriteOut(size_t at_least) {
  absl::MutexLock lock(&mutex_);
  if (buffer_.size() < at_least || buffer_.empty()) return absl::OkStatus();
  if (absl::Status status = file_->WriteAt(written_, buffer_); !status.ok()) {
    file_->Truncate(written_).IgnoreError();  // a failure here leaves a tail that the next Open cuts off
    return status;
  }
  os::StartWriteback(file_->fd(), written_, buffer_.size());  // the disk works while we hash, not only at the barrier
  written_ += buffer_.size();
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status OpenPack::CutBack(uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  buffer_.clear();
  const uint64_t target = written_ > bytes ? written_ - bytes : 0;
  while (!entries_.empty()) {
    const auto& [digest, at] = entries_.back();
    if (EndOf(at) <= target) break;
    chunks_.erase(digest);
    entries_.pop_back();
  }
  const uint64_t end = entries_.empty() ? std::min<uint64_t>(written_, header_bytes_) : EndOf(entries_.back().second);
  if (end == written_) return absl::OkStatus();
  written_ = end;
  return file_->Truncate(end);
}

PackWriter::~PackWriter() {
  {
    absl::MutexLock lock(&mutex_);
    Abandon();
  }
  absl::MutexLock lock(&store_->mutex_);
  store_->writers_.erase(ticket_);
}

absl::Status PackWriter::Begin() {
  if (room_ == Room::kAboveReserve) BW_RETURN_IF_ERROR(store_->CheckRoom());
  BW_ASSIGN_OR_RETURN(const std::shared_ptr<const DatasetCipher> cipher, store_->Cipher());
  const PackId id = store_->NewPackId();
  const DatasetId dataset = store_->options_.dataset;
  BW_ASSIGN_OR_RETURN(std::shared_ptr<os::File> file,
                      store_->options_.files->CreateNew(store_->PackPath(id, cipher != nullptr)));
  if (cipher != nullptr) {
    const std::string salt = store_->options_.random->Bytes(kPackSaltBytes);
    pack_ = std::make_shared<OpenPack>(id, EncodeSealedHeader(dataset, id, salt), std::move(file),
                                       cipher->ForPack(id, salt));
  } else {
    pack_ = std::make_shared<OpenPack>(id, EncodePackHeader(dataset, id), std::move(file), nullptr);
  }
  has_sidecar_ = false;
  absl::MutexLock lock(&store_->mutex_);
  store_->open_[id] = pack_;
  return absl::OkStatus();
}

absl::Status PackWriter::Check(const Digest& digest, const ChunkParts& chunk) const {
  if (auto by = store_->Redacted(digest); by != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("content that is ", RedactedBy(*by), " may not be stored again; remove the file or ignore it"));
  }
  const size_t size = chunk.size();
  if (size <= kMaxChunkBytes && chunk.raw_length <= kMaxChunkBytes &&
      (chunk.codec == Codec::kRaw ? size == chunk.raw_length
                                  : size < chunk.raw_length)) {  // readers plan by the raw one
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("chunk ", digest.ShortHex(), " has a length that no chunk can have"));
}

absl::Status PackWriter::PutMissing(const Digest& digest, const ChunkParts& chunk) {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(failed_);
  BW_RETURN_IF_ERROR(Check(digest, chunk));
  return AppendLocked(digest, chunk);
}

absl::StatusOr<bool> PackWriter::Put(const Digest& digest, const ChunkParts& chunk) {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(failed_);
  BW_RETURN_IF_ERROR(Check(digest, chunk));
  // What another writer holds and has not sealed may yet be dropped, so only our own counts.
  if (pack_ != nullptr && pack_->Contains(digest)) return false;
  BW_ASSIGN_OR_RETURN(bool here, store_->Has(digest));
  if (here) return false;
  BW_RETURN_IF_ERROR(AppendLocked(digest, chunk));
  return true;
}

absl::Status PackWriter::Append(const Digest& digest, const ChunkParts& chunk) {
  absl::MutexLock lock(&mutex_);
  return AppendLocked(digest, chunk);
}

absl::Status PackWriter::AppendLocked(const Digest& digest, const ChunkParts& chunk) {
  BW_RETURN_IF_ERROR(failed_);
  if (pack_ == nullptr) {
    if (failed_ = Begin(); !failed_.ok()) return failed_;
  } else if (pack_->Contains(digest)) {
    return absl::OkStatus();
  }
  const uint64_t size = pack_->Append(digest, chunk);
  stored_bytes_.fetch_add(chunk.size(), std::memory_order_relaxed);
  CountStored(chunk);
  if (room_ == Room::kAboveReserve && pack_->buffered() >= kBufferBytes) failed_ = store_->CheckRoom();
  if (failed_.ok()) failed_ = pack_->WriteOut(kBufferBytes);
  if (failed_.ok() && (size > kPackBytes || pack_->entries().size() >= kPackChunks)) failed_ = Seal();
  return failed_;
}

absl::Status PackWriter::Seal() {
  if (pack_ == nullptr) return absl::OkStatus();
  if (!has_sidecar_) {
    BW_RETURN_IF_ERROR(pack_->WriteOut(0));
    BW_RETURN_IF_ERROR(pack_->Sync());
    BW_RETURN_IF_ERROR(store_->WriteSidecar(pack_->id(), pack_->encrypted(), pack_->written(), pack_->entries()));
    has_sidecar_ = true;
  }
  BW_RETURN_IF_ERROR(store_->IndexPack(pack_->id(), pack_->encrypted(), pack_->entries()));
  const uint64_t size = pack_->written();
  absl::MutexLock lock(&store_->mutex_);
  store_->packs_[pack_->id()] = {.bytes = size, .chunks = pack_->entries().size(), .encrypted = pack_->encrypted()};
  store_->plain_packs_ += pack_->encrypted() ? 0 : 1;
  store_->open_.erase(pack_->id());
  for (const auto& [digest, at] : pack_->entries()) store_->quarantined_.erase(digest);
  pack_ = nullptr;
  return absl::OkStatus();
}

absl::Status PackWriter::Flush() {
  absl::MutexLock lock(&mutex_);
  if (failed_.ok()) failed_ = Seal();
  if (!failed_.ok()) SaveWhatIsThere();
  return failed_;
}

// What reached the disk as whole records is worth keeping, though the caller hears that not everything did.
void PackWriter::SaveWhatIsThere() {
  if (pack_ == nullptr) return;
  absl::Status status = has_sidecar_ ? absl::OkStatus() : pack_->CutBack(0);
  if (status.ok() && !pack_->entries().empty()) status = Seal();
  if (absl::IsResourceExhausted(status) && !has_sidecar_) {
    // Not even the sidecar found room: the last records make it.
    constexpr uint64_t kRoom = 1 << 20;
    if (pack_->CutBack(kRoom).ok() && !pack_->entries().empty()) Seal().IgnoreError();
  }
  Abandon();
}

void PackWriter::Abandon() {
  if (pack_ == nullptr) return;
  {
    absl::MutexLock lock(&store_->mutex_);
    store_->open_.erase(pack_->id());
  }
  // One that is sealed and only missing in the index is found by the next Open.
  if (!has_sidecar_) {
    store_->options_.files->Remove(store_->PackPath(pack_->id(), pack_->encrypted())).IgnoreError();
    store_->options_.files->Remove(store_->SidecarPath(pack_->id(), pack_->encrypted())).IgnoreError();
  }
  pack_ = nullptr;
}

}  // namespace bailiwick::store
