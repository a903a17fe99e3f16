#include "services/agent/home/scan_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/store/manifest.h"
#include "services/agent/home/scan_cache_changes.h"

namespace bailiwick::agent {
namespace {

// Header: magic (8, its last byte is the format), root algorithm (1), root (32), checksum of those (8).
// Then blocks: length (4), checksum of the payload (8), payload; a block of length 0 ends the file, so that one cut
// short is noticed. Payload: records of shared path prefix (2), rest of the path (2, bytes), size, mtime, ctime, inode,
// device (8 each). Format 1 is the same, but for records of files whose times were coarser than the build knew.
constexpr std::string_view kMagic("BWSCAN\0\2", 8);
constexpr std::string_view kTrustingMagic("BWSCAN\0\1", 8);
constexpr size_t kHeaderBytes = 8 + 1 + 32 + 8;
constexpr size_t kBlockHeaderBytes = 4 + 8;
constexpr size_t kBlockBytes = 64 * 1024;      // payload after which a block is written
constexpr size_t kMaxBlockBytes = 128 * 1024;  // a block and its last record
constexpr size_t kRecordFixedBytes = 2 + 2 + 5 * 8;

constexpr absl::Duration kTick = absl::Milliseconds(20);  // file systems stamp with the kernel's, at most 10 ms long
constexpr absl::Duration kCoarse = absl::Seconds(2);
constexpr int64_t kSecond = 1'000'000'000;

template <typename T>
void Append(std::string* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out->push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

template <typename T>
T Get(const char* in) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(in[i])) << (8 * i);
  return static_cast<T>(value);
}

uint64_t Checksum(std::string_view data) { return Get<uint64_t>(crypto::Sha256(data).view().data()); }

std::string EncodeHeader(const Digest& root) {
  std::string header(kMagic);
  Append<uint8_t>(&header, root.algorithm);
  header += root.view();
  Append<uint64_t>(&header, Checksum(header));
  return header;
}

struct Header {
  Digest root;  // empty: none that this build can read
  bool trusting = false;
};

Header ReadHeader(os::File& file) {
  std::string header(kHeaderBytes, '\0');
  auto n = file.ReadAt(0, header.data(), header.size());
  if (!n.ok() || *n != header.size()) return {};
  const bool trusting = header.starts_with(kTrustingMagic);
  if (!trusting && !header.starts_with(kMagic)) return {};
  if (Checksum(std::string_view(header).substr(0, kHeaderBytes - 8)) != Get<uint64_t>(&header[kHeaderBytes - 8]))
    return {};
  auto root = Digest::From(static_cast<uint8_t>(header[8]), std::string_view(header).substr(9, 32));
  return root.ok() ? Header{*root, trusting} : Header{};
}

}  // namespace

ScanRecord MakeScanRecord(std::string path, const os::NodeStat& stat) {
  return {std::move(path), stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode, stat.device};
}

absl::Time ChangedAt(const os::NodeStat& stat, absl::Time now) {
  const absl::Time written = absl::FromUnixNanos(stat.mtime_ns);
  return written > now ? absl::FromUnixNanos(stat.ctime_ns) : written;
}

std::optional<ScanRecord> TrustedScanRecord(std::string path, const os::NodeStat& stat, absl::Time begun, bool coarse) {
  const absl::Time written = coarse ? absl::FromUnixNanos(stat.mtime_ns) : ChangedAt(stat, begun);
  // Either: what says of a file's last write when it was differs (vfat's ctime was once that of its making), and whole
  // seconds that come from elsewhere, or by chance, only cost a reading.
  coarse = coarse || stat.ctime_ns % kSecond == 0 || stat.mtime_ns % kSecond == 0;
  const absl::Time limit = begun - kTick - (coarse ? kCoarse : absl::ZeroDuration());
  if (std::max(written, absl::FromUnixNanos(stat.ctime_ns)) >= limit) return std::nullopt;
  return MakeScanRecord(std::move(path), stat);
}

std::string ScanCachePath(const std::string& dataset_directory) {
  return os::JoinPath(dataset_directory, "scan-cache");
}

Digest ScanCacheRoot(os::Files* files, const std::string& path) {
  auto file = files->OpenRead(path);
  return file.ok() ? ReadHeader(**file).root : Digest();
}

std::unique_ptr<ScanCacheReader> ScanCacheReader::Open(os::Files* files, const std::string& path) {
  auto file = files->OpenRead(path);
  if (!file.ok()) return nullptr;
  const Header header = ReadHeader(**file);
  if (header.root.empty()) return nullptr;
  auto reader = std::unique_ptr<ScanCacheReader>(new ScanCacheReader());
  reader->file_ = *std::move(file);
  reader->root_ = header.root;
  reader->trusting_ = header.trusting;
  reader->offset_ = kHeaderBytes;
  ScanCacheChanges changes = ScanCacheChanges::Load(files, path);
  if (!changes.root().empty() && changes.base() == header.root) {
    reader->root_ = changes.root();
    reader->overlay_ = std::make_unique<Overlay>(std::move(changes));
  }
  return reader;
}

bool ScanCacheReader::LoadBlock() {
  intact_ = false;  // until proven
  ended_ = true;
  char header[kBlockHeaderBytes];
  auto n = file_->ReadAt(offset_, header, sizeof header);
  if (!n.ok() || *n != sizeof header) return false;
  uint32_t length = Get<uint32_t>(header);
  if (length == 0) {
    intact_ = true;
    return false;
  }
  if (length > kMaxBlockBytes) return false;
  block_.resize(length);
  n = file_->ReadAt(offset_ + sizeof header, block_.data(), length);
  if (!n.ok() || *n != length || Checksum(block_) != Get<uint64_t>(header + 4)) return false;
  offset_ += sizeof header + length;
  position_ = 0;
  previous_.clear();
  intact_ = true;
  ended_ = false;
  return true;
}

// Both in one order: the next of the changes, and the next record of the file.
struct ScanCacheReader::Overlay {
  explicit Overlay(ScanCacheChanges c) : changes(std::move(c)), next(changes.changes().begin()) {}
  const ScanCacheChanges changes;
  ScanCacheChanges::Changes::const_iterator next;
  std::string below;  // what lies below counts no more
  ScanRecord written;
  bool has_written = false;
};

ScanCacheReader::ScanCacheReader() = default;
ScanCacheReader::~ScanCacheReader() = default;

bool ScanCacheReader::Next(ScanRecord* out) {
  if (overlay_ == nullptr) return NextWritten(out);
  Overlay& o = *overlay_;
  for (;;) {
    if (!o.has_written) o.has_written = NextWritten(&o.written);
    if (o.next != o.changes.changes().end()) {
      const auto& [path, change] = *o.next;
      const int order = o.has_written ? store::ComparePaths(path, o.written.path) : -1;
      if (order <= 0) {
        if (order == 0) o.has_written = false;
        if (change.below && !store::IsBelow(path, o.below)) o.below = path;
        ++o.next;
        if (!change.record) continue;
        *out = *change.record;
        return true;
      }
    }
    if (!o.has_written) return false;
    o.has_written = false;
    if (!o.below.empty() && store::IsBelow(o.written.path, o.below)) continue;
    *out = std::move(o.written);
    return true;
  }
}

bool ScanCacheReader::NextWritten(ScanRecord* out) {
  while (NextOfFile(out)) {
    if (!trusting_ || out->ctime_ns % kSecond != 0) return true;
  }
  return false;
}

bool ScanCacheReader::NextOfFile(ScanRecord* out) {
  if (ended_) return false;
  if (position_ == block_.size() && !LoadBlock()) return false;
  const char* in = block_.data() + position_;
  size_t left = block_.size() - position_;
  size_t shared = left >= kRecordFixedBytes ? Get<uint16_t>(in) : 0;
  size_t rest = left >= kRecordFixedBytes ? Get<uint16_t>(in + 2) : 0;
  if (left < kRecordFixedBytes + rest || shared > previous_.size()) {
    ended_ = true;
    intact_ = false;
    return false;
  }
  previous_.resize(shared);
  previous_.append(in + 4, rest);
  in += 4 + rest;
  out->path = previous_;
  out->size = Get<uint64_t>(in);
  out->mtime_ns = Get<int64_t>(in + 8);
  out->ctime_ns = Get<int64_t>(in + 16);
  out->inode = Get<uint64_t>(in + 24);
  out->device = Get<uint64_t>(in + 32);
  position_ += kRecordFixedBytes + rest;
  return true;
}

absl::StatusOr<std::unique_ptr<ScanCacheWriter>> ScanCacheWriter::Create(os::Files* files, const std::string& path) {
  auto writer = std::unique_ptr<ScanCacheWriter>(new ScanCacheWriter(files, path));
  absl::Status removed = files->Remove(path + ".new");  // of a scan that a crash ended
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  BW_ASSIGN_OR_RETURN(writer->file_, files->CreateNew(path + ".new"));
  writer->offset_ = kHeaderBytes;
  return writer;
}

ScanCacheWriter::~ScanCacheWriter() {
  if (finished_ || file_ == nullptr) return;
  file_.reset();
  files_->Remove(path_ + ".new").IgnoreError();  // the next Create removes it too
}

absl::Status ScanCacheWriter::WriteBlock() {
  std::string out;
  out.reserve(kBlockHeaderBytes + block_.size());
  Append<uint32_t>(&out, static_cast<uint32_t>(block_.size()));
  Append<uint64_t>(&out, Checksum(block_));
  out += block_;
  BW_RETURN_IF_ERROR(file_->WriteAt(offset_, out));
  offset_ += out.size();
  block_.clear();
  previous_.clear();
  return absl::OkStatus();
}

absl::Status ScanCacheWriter::Add(const ScanRecord& record) {
  size_t shared = 0;
  size_t limit = std::min(previous_.size(), record.path.size());
  while (shared < limit && previous_[shared] == record.path[shared]) ++shared;
  Append<uint16_t>(&block_, static_cast<uint16_t>(shared));
  Append<uint16_t>(&block_, static_cast<uint16_t>(record.path.size() - shared));
  block_.append(record.path, shared);
  Append(&block_, record.size);
  Append(&block_, record.mtime_ns);
  Append(&block_, record.ctime_ns);
  Append(&block_, record.inode);
  Append(&block_, record.device);
  previous_ = record.path;
  return block_.size() >= kBlockBytes ? WriteBlock() : absl::OkStatus();
}

absl::Status ScanCacheWriter::Finish(const Digest& root) {
  if (!block_.empty()) BW_RETURN_IF_ERROR(WriteBlock());
  BW_RETURN_IF_ERROR(WriteBlock());  // the end
  BW_RETURN_IF_ERROR(file_->WriteAt(0, EncodeHeader(root)));
  file_.reset();
  BW_RETURN_IF_ERROR(files_->Rename(path_ + ".new", path_));
  ScanCacheChanges::Remove(files_, path_);
  finished_ = true;
  return absl::OkStatus();
}

ScanCache::ScanCache(os::Files* files, std::string path, const Digest& root) : files_(files), path_(std::move(path)) {
  lookup_ = ScanCacheReader::Open(files_, path_);
  if (lookup_ == nullptr || lookup_->root() != root || root.empty()) {
    lookup_.reset();
    return;
  }
  old_root_ = root;
  has_ahead_ = lookup_->Next(&ahead_);
  compare_ = ScanCacheReader::Open(files_, path_);
}

bool ScanCache::Unchanged(std::string_view path, const os::NodeStat& stat) {
  while (has_ahead_) {
    int order = store::ComparePaths(ahead_.path, path);
    if (order == 0) return ahead_ == MakeScanRecord(std::string(path), stat);
    if (order > 0) return false;
    has_ahead_ = lookup_->Next(&ahead_);
  }
  return false;
}

void ScanCache::StartWriter() {
  auto writer = ScanCacheWriter::Create(files_, path_);
  failed_ = !writer.ok();
  if (failed_) return;
  writer_ = *std::move(writer);
  compare_.reset();
  if (same_ == 0) return;
  auto old = ScanCacheReader::Open(files_, path_);
  ScanRecord record;
  for (uint64_t i = 0; i < same_ && !failed_; ++i) {
    failed_ = old == nullptr || !old->Next(&record) || !writer_->Add(record).ok();
  }
}

void ScanCache::Keep(const ScanRecord& record) {
  if (failed_) return;
  if (writer_ == nullptr) {
    ScanRecord old;
    if (compare_ != nullptr && compare_->Next(&old) && old == record) {
      ++same_;
      return;
    }
    StartWriter();
    if (failed_) return;
  }
  failed_ = !writer_->Add(record).ok();
}

void ScanCache::Finish(const Digest& root) {
  if (failed_) return;
  if (writer_ == nullptr) {
    ScanRecord old;
    bool shorter = compare_ == nullptr || compare_->Next(&old) || !compare_->intact();
    if (root == old_root_ && !shorter) return;  // nothing changed
    StartWriter();
    if (failed_) return;
  }
  failed_ = !writer_->Finish(root).ok();
  writer_.reset();
}

}  // namespace bailiwick::agent
