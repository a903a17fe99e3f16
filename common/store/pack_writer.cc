#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/store_impl.h"

namespace bailiwick::store {

PackWriter::~PackWriter() {
  Abandon();
  absl::MutexLock lock(&store_->mutex_);
  store_->writers_.erase(ticket_);
}

absl::Status PackWriter::Begin() {
  pack_ = store_->NewPackId();
  absl::MutexLock lock(&mutex_);
  BW_ASSIGN_OR_RETURN(file_, store_->options_.files->CreateNew(store_->PackPath(pack_)));
  buffer_ = EncodePackHeader(store_->options_.dataset, pack_);
  buffer_.reserve(kBufferBytes + 256 * 1024);
  written_ = 0;
  entries_.clear();
  return absl::OkStatus();
}

absl::StatusOr<bool> PackWriter::Put(const Digest& digest, const StoredChunk& chunk) {
  BW_RETURN_IF_ERROR(failed_);
  if (chunk.bytes.size() > kMaxChunkBytes || chunk.raw_length > kMaxChunkBytes) {
    return absl::InvalidArgumentError("a chunk larger than a chunk can be");
  }
  {
    absl::MutexLock lock(&store_->mutex_);
    auto it = store_->unsealed_.find(digest);
    if (it != store_->unsealed_.end() && it->second.first == this) return false;
  }
  BW_ASSIGN_OR_RETURN(bool here, store_->Has(digest));
  if (here) return false;
  if (pack_ == 0) {
    if (failed_ = Begin(); !failed_.ok()) {
      pack_ = 0;
      return failed_;
    }
  }
  ChunkLocation at;
  at.pack = pack_;
  at.stored_length = static_cast<uint32_t>(chunk.bytes.size());
  at.raw_length = chunk.raw_length;
  at.codec = static_cast<uint8_t>(chunk.codec);
  at.checksum = PackChecksum(chunk.bytes);
  uint64_t size = 0;
  bool full = false;
  {
    absl::MutexLock lock(&mutex_);
    at.offset = written_ + buffer_.size() + kRecordHeaderBytes;
    buffer_.append(EncodeRecordHeader(digest, at));
    buffer_.append(chunk.bytes);
    size = written_ + buffer_.size();
    full = buffer_.size() >= kBufferBytes;
  }
  entries_.emplace_back(digest, at);
  {
    absl::MutexLock lock(&store_->mutex_);
    // Another open writer may have it too; its entry stays, ours is in our pack all the same.
    store_->unsealed_.try_emplace(digest, this, at);
  }
  stored_bytes_ += chunk.bytes.size();
  if (full) {
    if (failed_ = WriteOut(); !failed_.ok()) return failed_;
  }
  if (size >= kPackBytes) {
    if (failed_ = Seal(); !failed_.ok()) return failed_;
  }
  return true;
}

absl::Status PackWriter::WriteOut() {
  absl::MutexLock lock(&mutex_);
  if (buffer_.empty()) return absl::OkStatus();
  absl::Status status = file_->WriteAt(written_, buffer_);
  if (!status.ok()) {
    // Back to whole records. What was only in the buffer is gone; Flush says so by this error.
    file_->Truncate(written_).IgnoreError();
    return Annotate(status, absl::StrCat("writing to ", store_->options_.directory));
  }
  written_ += buffer_.size();
  buffer_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::string> PackWriter::ReadLocal(const ChunkLocation& at) {
  absl::MutexLock lock(&mutex_);
  if (at.offset >= written_) return buffer_.substr(at.offset - written_, at.stored_length);
  std::string bytes(at.stored_length, '\0');
  BW_ASSIGN_OR_RETURN(size_t n, file_->ReadAt(at.offset, bytes.data(), bytes.size()));
  if (n != bytes.size() || PackChecksum(bytes) != at.checksum) return absl::DataLossError("a chunk just written reads back damaged");
  return bytes;
}

absl::Status PackWriter::Seal() {
  if (pack_ == 0) return absl::OkStatus();
  absl::Status status = WriteOut();
  uint64_t size = 0;
  {
    absl::MutexLock lock(&mutex_);
    size = written_;
    if (status.ok()) status = file_->Sync();
  }
  if (status.ok()) status = store_->WriteSidecar(pack_, size, entries_);
  if (status.ok()) status = store_->options_.index->PutPack(store_->options_.dataset, pack_, entries_);
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&store_->mutex_);
    store_->packs_[pack_] = size;
    for (const auto& [digest, at] : entries_) {
      auto it = store_->unsealed_.find(digest);
      if (it != store_->unsealed_.end() && it->second.first == this) store_->unsealed_.erase(it);
      store_->quarantined_.erase(digest);
    }
  }
  absl::MutexLock lock(&mutex_);
  file_ = nullptr;
  pack_ = 0;
  entries_.clear();
  return absl::OkStatus();
}

absl::Status PackWriter::Flush() {
  if (failed_.ok()) {
    failed_ = Seal();
    return failed_;
  }
  // What reached the disk as whole records is worth keeping; the caller still hears that not everything did.
  if (pack_ != 0) {
    uint64_t written = 0;
    {
      absl::MutexLock lock(&mutex_);
      buffer_.clear();
      written = written_;
    }
    auto lost = std::partition(entries_.begin(), entries_.end(),
                               [&](const auto& e) { return e.second.offset + e.second.stored_length <= written; });
    {
      absl::MutexLock lock(&store_->mutex_);
      for (auto it = lost; it != entries_.end(); ++it) {
        auto at = store_->unsealed_.find(it->first);
        if (at != store_->unsealed_.end() && at->second.first == this) store_->unsealed_.erase(at);
      }
    }
    entries_.erase(lost, entries_.end());
    if (entries_.empty() || !Seal().ok()) Abandon();
  }
  return failed_;
}

void PackWriter::Abandon() {
  if (pack_ == 0) return;
  {
    absl::MutexLock lock(&store_->mutex_);
    for (const auto& [digest, at] : entries_) {
      auto it = store_->unsealed_.find(digest);
      if (it != store_->unsealed_.end() && it->second.first == this) store_->unsealed_.erase(it);
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    file_ = nullptr;
    buffer_.clear();
  }
  store_->options_.files->Remove(store_->PackPath(pack_)).IgnoreError();
  pack_ = 0;
  entries_.clear();
}

}  // namespace bailiwick::store
