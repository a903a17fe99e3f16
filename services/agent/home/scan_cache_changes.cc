#include "services/agent/home/scan_cache_changes.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/store/manifest.h"

namespace bailiwick::agent {
namespace {

// Magic (8, its last byte is the format), root of the cache (algorithm 1, digest 32). Then for each commit: length of
// its body (4), body, SHA-256 of the body, and the length once more (4), by which the last one is found. Body: roots
// before and after (33 each), then for each path in order: flags (1), path length (2), path, and where it has a record
// size, mtime, ctime, inode, device (8 each). Format 1: root of the cache, root after, paths; at the end the SHA-256 of
// all before. Its records are of builds that took times of whole seconds for exact ones.
constexpr std::string_view kMagic("BWSCHG\0\2", 8);
constexpr std::string_view kTrustingMagic("BWSCHG\0\1", 8);
constexpr uint8_t kHasRecord = 1;
constexpr uint8_t kBelow = 2;
constexpr size_t kRootBytes = 1 + Digest::kSize;
constexpr size_t kHeaderBytes = kMagic.size() + kRootBytes;
constexpr size_t kFrameBytes = 4 + Digest::kSize + 4;  // around a body
constexpr size_t kMaxChanges = 64 * 1024;              // with more the cache is written anew
constexpr uint64_t kMaxFirstFormat = kMaxChanges * (4096 + 64);
constexpr uint64_t kAppended = 1 << 20;  // or half of what a rewriting left: then the next one is worth it

std::string FilePath(const std::string& cache_path) { return cache_path + ".changes"; }

void Put(std::string* out, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

void PutDigest(std::string* out, const Digest& digest) {
  Put(out, digest.algorithm, 1);
  out->append(digest.view());
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool done() const { return rest_.empty(); }
  std::string_view Bytes(size_t n) {
    if (n > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    std::string_view out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }
  uint64_t Number(size_t bytes) {
    uint64_t value = 0;
    std::string_view in = Bytes(bytes);
    for (size_t i = 0; i < in.size(); ++i) value |= uint64_t{static_cast<uint8_t>(in[i])} << (8 * i);
    return value;
  }
  Digest ReadDigest() {
    const auto algorithm = static_cast<uint8_t>(Number(1));
    auto digest = Digest::From(algorithm, Bytes(Digest::kSize));
    ok_ = ok_ && digest.ok();
    return ok_ ? *digest : Digest();
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

std::string EncodeFrame(const ScanCacheChanges::Changes& changes, const Digest& from, const Digest& to) {
  std::string body;
  PutDigest(&body, from);
  PutDigest(&body, to);
  for (const auto& [path, change] : changes) {
    Put(&body, (change.record ? kHasRecord : 0) | (change.below ? kBelow : 0), 1);
    Put(&body, path.size(), 2);
    body += path;
    if (!change.record) continue;
    Put(&body, change.record->size, 8);
    Put(&body, static_cast<uint64_t>(change.record->mtime_ns), 8);
    Put(&body, static_cast<uint64_t>(change.record->ctime_ns), 8);
    Put(&body, change.record->inode, 8);
    Put(&body, change.record->device, 8);
  }
  std::string out;
  out.reserve(body.size() + kFrameBytes);
  Put(&out, body.size(), 4);
  out += body;
  out.append(crypto::Sha256(body).view());
  Put(&out, body.size(), 4);
  return out;
}

std::string EncodeHeader(const Digest& base) {
  std::string out(kMagic);
  PutDigest(&out, base);
  return out;
}

// False: not so many.
bool ReadWhole(os::File& file, uint64_t offset, size_t n, std::string* out) {
  out->resize(n);
  auto got = file.ReadAt(offset, out->data(), n);
  return got.ok() && *got == n;
}

bool DecodeChanges(Reader& in, bool trusting, ScanCacheChanges* out) {
  while (in.ok() && !in.done()) {
    const uint64_t flags = in.Number(1);
    ScanRecord record;
    record.path = std::string(in.Bytes(in.Number(2)));
    if ((flags & kBelow) != 0) out->DropBelow(record.path);
    const std::string path = record.path;
    out->Set(path, std::nullopt);
    if ((flags & kHasRecord) == 0) continue;
    record.size = in.Number(8);
    record.mtime_ns = static_cast<int64_t>(in.Number(8));
    record.ctime_ns = static_cast<int64_t>(in.Number(8));
    record.inode = in.Number(8);
    record.device = in.Number(8);
    if (!trusting || record.ctime_ns % 1'000'000'000 != 0) out->Set(path, std::move(record));
  }
  return in.ok();
}

}  // namespace

void ScanCacheChanges::DropBelow(const std::string& path) {
  changes_[path].below = true;
  auto from = changes_.upper_bound(path);
  auto to = from;
  while (to != changes_.end() && store::IsBelow(to->first, path)) ++to;
  changes_.erase(from, to);
}

ScanCacheChanges ScanCacheChanges::LoadFirstFormat(os::Files* files, const std::string& path) {
  auto text = os::ReadFile(files, path, kMaxFirstFormat);
  if (!text.ok() || text->size() < kTrustingMagic.size() + Digest::kSize) return {};
  const std::string_view all(*text);
  const std::string_view body = all.substr(0, all.size() - Digest::kSize);
  if (crypto::Sha256(body).view() != all.substr(body.size())) return {};
  Reader in(body.substr(kTrustingMagic.size()));
  ScanCacheChanges loaded;
  loaded.base_ = in.ReadDigest();
  loaded.root_ = in.ReadDigest();
  return DecodeChanges(in, true, &loaded) ? loaded : ScanCacheChanges();
}

ScanCacheChanges ScanCacheChanges::Load(os::Files* files, const std::string& cache_path) {
  ScanCacheChanges loaded;
  const std::string path = FilePath(cache_path);
  auto file = files->OpenRead(path);
  if (!file.ok()) return loaded;
  auto size = (*file)->Size();
  std::string bytes;
  if (!size.ok() || !ReadWhole(**file, 0, kHeaderBytes, &bytes)) return loaded;
  if (bytes.starts_with(kTrustingMagic)) return LoadFirstFormat(files, path);
  if (!bytes.starts_with(kMagic)) return loaded;
  loaded.base_ = Reader(std::string_view(bytes).substr(kMagic.size())).ReadDigest();
  Digest at_root = loaded.base_;
  uint64_t at = kHeaderBytes;
  while (at + kFrameBytes <= *size && ReadWhole(**file, at, 4, &bytes)) {
    const uint64_t length = Reader(bytes).Number(4);
    if (length > *size - at - kFrameBytes) break;
    if (!ReadWhole(**file, at + 4, static_cast<size_t>(length) + Digest::kSize + 4, &bytes)) break;
    Reader rest(bytes);
    const std::string_view body = rest.Bytes(static_cast<size_t>(length));
    if (crypto::Sha256(body).view() != rest.Bytes(Digest::kSize) || rest.Number(4) != length) break;
    Reader in(body);
    ScanCacheChanges frame;
    const Digest from = in.ReadDigest();
    frame.root_ = in.ReadDigest();
    if (!DecodeChanges(in, false, &frame) || from != at_root) break;
    loaded.Merge(frame);
    loaded.root_ = at_root = frame.root_;
    at += kFrameBytes + length;
  }
  return loaded;
}

void ScanCacheChanges::Merge(const ScanCacheChanges& newer) {
  for (const auto& [path, change] : newer.changes_) {
    if (change.below) DropBelow(path);
    Change& merged = changes_[path];
    merged.record = change.record;
    merged.below = merged.below || change.below;
  }
}

std::optional<ScanCacheChanges::Appended> ScanCacheChanges::Append(os::Files* files, const std::string& path,
                                                                   const Digest& base, const Digest& from,
                                                                   const Digest& to) const {
  auto file = files->OpenReadWrite(path, false);
  if (!file.ok()) return std::nullopt;
  auto size = (*file)->Size();
  constexpr size_t kHeadBytes = 4 + 2 * kRootBytes;  // of a commit: its length and its roots
  std::string bytes;
  if (!size.ok() || *size < kHeaderBytes + kFrameBytes + 2 * kRootBytes) return std::nullopt;
  if (!ReadWhole(**file, 0, kHeaderBytes + 4, &bytes) || !bytes.starts_with(EncodeHeader(base))) return std::nullopt;
  Appended appended;
  appended.first_bytes = Reader(std::string_view(bytes).substr(kHeaderBytes)).Number(4);
  if (!ReadWhole(**file, *size - 4, 4, &bytes)) return std::nullopt;
  const uint64_t last = Reader(bytes).Number(4);
  if (last < 2 * kRootBytes || last > *size - kHeaderBytes - kFrameBytes) return std::nullopt;
  if (!ReadWhole(**file, *size - kFrameBytes - last, kHeadBytes, &bytes)) return std::nullopt;
  Reader head(bytes);
  if (head.Number(4) != last) return std::nullopt;
  head.ReadDigest();
  if (head.ReadDigest() != from || !head.ok()) return std::nullopt;
  const std::string frame = EncodeFrame(changes_, from, to);
  (*file)->WriteAt(*size, frame).IgnoreError();  // a part of it is damage like any other
  appended.bytes = *size + frame.size();
  return appended;
}

void ScanCacheChanges::Write(os::Files* files, const std::string& cache_path) const {
  const std::string path = FilePath(cache_path);
  // Written beside and renamed, but not synced: see the invariants.
  files->Remove(path + ".new").IgnoreError();
  {
    auto file = files->CreateNew(path + ".new");
    if (!file.ok() || !(*file)->WriteAt(0, EncodeHeader(base_) + EncodeFrame(changes_, base_, root_)).ok()) return;
  }
  if (!files->Rename(path + ".new", path).ok() || changes_.size() <= kMaxChanges) return;
  // Too many: one file again, of what a reader sees.
  auto both = ScanCacheReader::Open(files, cache_path);
  auto writer = ScanCacheWriter::Create(files, cache_path);
  if (both == nullptr || both->root() != root_ || !writer.ok()) return;
  ScanRecord record;
  while (both->Next(&record)) {
    if (!(*writer)->Add(record).ok()) return;
  }
  if (both->intact()) (*writer)->Finish(root_).IgnoreError();
}

void ScanCacheChanges::Save(os::Files* files, const std::string& cache_path, const Digest& from,
                            const Digest& to) const {
  if (changes_.empty() && from == to) return;
  const Digest base = ScanCacheRoot(files, cache_path);
  if (base.empty()) return;
  if (std::optional<Appended> appended = Append(files, FilePath(cache_path), base, from, to)) {
    const uint64_t left = kHeaderBytes + kFrameBytes + appended->first_bytes;
    if (appended->bytes <= left + std::max<uint64_t>(kAppended, left / 2)) return;
    const ScanCacheChanges all = Load(files, cache_path);
    if (all.base_ == base && all.root_ == to) {
      all.Write(files, cache_path);
    } else {
      Remove(files, cache_path);  // something in it is damaged: it would only grow
    }
    return;
  }
  ScanCacheChanges all = Load(files, cache_path);
  if (all.base_ != base || all.root_ != from) {
    if (base != from) return;  // it is another version's: of no use to the next scan
    all = ScanCacheChanges();
    all.base_ = from;
  }
  all.Merge(*this);
  all.root_ = to;
  all.Write(files, cache_path);
}

void ScanCacheChanges::Remove(os::Files* files, const std::string& cache_path) {
  files->Remove(FilePath(cache_path)).IgnoreError();  // one that is left is bound to a cache that is gone
}

}  // namespace bailiwick::agent
