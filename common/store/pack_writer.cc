#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/store_impl.h"

namespace bailiwick::store {

OpenPack::OpenPack(DatasetId dataset, PackId id, std::shared_ptr<os::File> file) : id_(id), file_(std::move(file)) {
  absl::MutexLock lock(&mutex_);
  buffer_ = EncodePackHeader(dataset, id);
}

bool OpenPack::Contains(const Digest& digest) {
  absl::MutexLock lock(&mutex_);
  return chunks_.contains(digest);
}

uint64_t OpenPack::written() {
  absl::MutexLock lock(&mutex_);
  return written_;
}

absl::StatusOr<std::optional<StoredChunk>> OpenPack::Read(const Digest& digest) {
  ChunkLocation at;
  StoredChunk chunk;
  {
    absl::MutexLock lock(&mutex_);
    auto it = chunks_.find(digest);
    if (it == chunks_.end()) return std::nullopt;
    at = it->second;
    chunk.codec = static_cast<Codec>(at.codec);
    chunk.raw_length = at.raw_length;
    if (at.offset >= written_) {
      chunk.bytes = buffer_.substr(at.offset - written_, at.stored_length);
      return chunk;
    }
  }
  chunk.bytes.resize(at.stored_length);
  BW_ASSIGN_OR_RETURN(size_t n, file_->ReadAt(at.offset, chunk.bytes.data(), chunk.bytes.size()));
  if (n != chunk.bytes.size() || PackChecksum(chunk.bytes) != at.checksum) {
    return absl::DataLossError(
        absl::StrCat("chunk ", digest.ShortHex(), " reads back damaged right after it was written"));
  }
  return chunk;
}

uint64_t OpenPack::Append(const Digest& digest, const StoredChunk& chunk) {
  ChunkLocation at;
  at.pack = id_;
  at.stored_length = static_cast<uint32_t>(chunk.bytes.size());
  at.raw_length = chunk.raw_length;
  at.codec = static_cast<uint8_t>(chunk.codec);
  at.checksum = PackChecksum(chunk.bytes);
  absl::MutexLock lock(&mutex_);
  at.offset = written_ + buffer_.size() + kRecordHeaderBytes;
  buffer_.append(EncodeRecordHeader(digest, at));
  buffer_.append(chunk.bytes);
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
    if (at.offset + at.stored_length <= target) break;
    chunks_.erase(digest);
    entries_.pop_back();
  }
  const uint64_t end = entries_.empty() ? std::min<uint64_t>(written_, kPackHeaderBytes)
                                        : entries_.back().second.offset + entries_.back().second.stored_length;
  if (end == written_) return absl::OkStatus();
  written_ = end;
  return file_->Truncate(end);
}

PackWriter::~PackWriter() {
  Abandon();
  absl::MutexLock lock(&store_->mutex_);
  store_->writers_.erase(ticket_);
}

absl::Status PackWriter::Begin() {
  const PackId id = store_->NewPackId();
  BW_ASSIGN_OR_RETURN(std::shared_ptr<os::File> file, store_->options_.files->CreateNew(store_->PackPath(id)));
  pack_ = std::make_shared<OpenPack>(store_->options_.dataset, id, std::move(file));
  has_sidecar_ = false;
  absl::MutexLock lock(&store_->mutex_);
  store_->open_[id] = pack_;
  return absl::OkStatus();
}

absl::StatusOr<bool> PackWriter::Put(const Digest& digest, const StoredChunk& chunk) {
  BW_RETURN_IF_ERROR(failed_);
  if (chunk.bytes.size() > kMaxChunkBytes || chunk.raw_length > kMaxChunkBytes ||
      (chunk.codec == Codec::kRaw && chunk.bytes.size() != chunk.raw_length)) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk ", digest.ShortHex(), " has a length that no chunk can have"));
  }
  // What another writer holds and has not sealed may yet be dropped, so only our own counts.
  if (pack_ != nullptr && pack_->Contains(digest)) return false;
  BW_ASSIGN_OR_RETURN(bool here, store_->Has(digest));
  if (here) return false;
  BW_RETURN_IF_ERROR(Append(digest, chunk));
  return true;
}

absl::Status PackWriter::Append(const Digest& digest, const StoredChunk& chunk) {
  BW_RETURN_IF_ERROR(failed_);
  if (pack_ == nullptr) {
    if (failed_ = Begin(); !failed_.ok()) return failed_;
  } else if (pack_->Contains(digest)) {
    return absl::OkStatus();
  }
  const uint64_t size = pack_->Append(digest, chunk);
  stored_bytes_ += chunk.bytes.size();
  failed_ = pack_->WriteOut(kBufferBytes);
  if (failed_.ok() && size > kPackBytes) failed_ = Seal();
  return failed_;
}

absl::Status PackWriter::Seal() {
  if (pack_ == nullptr) return absl::OkStatus();
  if (!has_sidecar_) {
    BW_RETURN_IF_ERROR(pack_->WriteOut(0));
    BW_RETURN_IF_ERROR(pack_->Sync());
    BW_RETURN_IF_ERROR(store_->WriteSidecar(pack_->id(), pack_->written(), pack_->entries()));
    has_sidecar_ = true;
  }
  BW_RETURN_IF_ERROR(store_->options_.index->PutPack(store_->options_.dataset, pack_->id(), pack_->entries()));
  const uint64_t size = pack_->written();
  absl::MutexLock lock(&store_->mutex_);
  store_->packs_[pack_->id()] = size;
  store_->open_.erase(pack_->id());
  for (const auto& [digest, at] : pack_->entries()) store_->quarantined_.erase(digest);
  pack_ = nullptr;
  return absl::OkStatus();
}

absl::Status PackWriter::Flush() {
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
    store_->options_.files->Remove(store_->PackPath(pack_->id())).IgnoreError();
    store_->options_.files->Remove(store_->SidecarPath(pack_->id())).IgnoreError();
  }
  pack_ = nullptr;
}

}  // namespace bailiwick::store
