#include "services/agent/home/scan_cache_changes.h"

#include <string_view>
#include <utility>

#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/store/manifest.h"

namespace bailiwick::agent {
namespace {

// Magic (8, its last byte is the format), roots of the cache and of both (algorithm 1, digest 32 each), then for each
// path in order: flags (1), path length (2), path, and where it has a record size, mtime, ctime, inode, device (8 each);
// at the end the SHA-256 of all before.
constexpr std::string_view kMagic("BWSCHG\0\1", 8);
constexpr uint8_t kHasRecord = 1;
constexpr uint8_t kBelow = 2;
constexpr size_t kMaxChanges = 64 * 1024;  // with more the cache is written anew
constexpr size_t kMaxBytes = kMaxChanges * (4096 + 64);

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

std::string Encode(const ScanCacheChanges::Changes& changes, const Digest& base, const Digest& root) {
  std::string out(kMagic);
  PutDigest(&out, base);
  PutDigest(&out, root);
  for (const auto& [path, change] : changes) {
    Put(&out, (change.record ? kHasRecord : 0) | (change.below ? kBelow : 0), 1);
    Put(&out, path.size(), 2);
    out += path;
    if (!change.record) continue;
    Put(&out, change.record->size, 8);
    Put(&out, static_cast<uint64_t>(change.record->mtime_ns), 8);
    Put(&out, static_cast<uint64_t>(change.record->ctime_ns), 8);
    Put(&out, change.record->inode, 8);
    Put(&out, change.record->device, 8);
  }
  out.append(crypto::Sha256(out).view());
  return out;
}

}  // namespace

void ScanCacheChanges::DropBelow(const std::string& path) {
  changes_[path].below = true;
  auto from = changes_.upper_bound(path);
  auto to = from;
  while (to != changes_.end() && store::IsBelow(to->first, path)) ++to;
  changes_.erase(from, to);
}

ScanCacheChanges ScanCacheChanges::Load(os::Files* files, const std::string& cache_path) {
  ScanCacheChanges loaded;
  auto text = os::ReadFile(files, FilePath(cache_path), kMaxBytes);
  if (!text.ok() || text->size() < kMagic.size() + Digest::kSize || !text->starts_with(kMagic)) return loaded;
  const std::string_view all(*text);
  const std::string_view body = all.substr(0, all.size() - Digest::kSize);
  if (crypto::Sha256(body).view() != all.substr(body.size())) return loaded;
  Reader in(body.substr(kMagic.size()));
  loaded.base_ = in.ReadDigest();
  loaded.root_ = in.ReadDigest();
  while (in.ok() && !in.done()) {
    const uint64_t flags = in.Number(1);
    const std::string path(in.Bytes(in.Number(2)));
    Change& change = loaded.changes_[path];
    change.below = (flags & kBelow) != 0;
    if ((flags & kHasRecord) == 0) continue;
    ScanRecord record;
    record.path = path;
    record.size = in.Number(8);
    record.mtime_ns = static_cast<int64_t>(in.Number(8));
    record.ctime_ns = static_cast<int64_t>(in.Number(8));
    record.inode = in.Number(8);
    record.device = in.Number(8);
    change.record = std::move(record);
  }
  return in.ok() ? loaded : ScanCacheChanges();
}

void ScanCacheChanges::Merge(const ScanCacheChanges& newer) {
  for (const auto& [path, change] : newer.changes_) {
    if (change.below) DropBelow(path);
    Change& merged = changes_[path];
    merged.record = change.record;
    merged.below = merged.below || change.below;
  }
}

void ScanCacheChanges::Save(os::Files* files, const std::string& cache_path, const Digest& from,
                            const Digest& to) const {
  auto cache = ScanCacheReader::Open(files, cache_path);
  if (cache == nullptr || cache->root() != from) return;  // it is another version's: of no use to the next scan
  ScanCacheChanges all = Load(files, cache_path);
  if (all.root_ != from) {
    all = ScanCacheChanges();
    all.base_ = from;
  }
  all.Merge(*this);
  const std::string path = FilePath(cache_path);
  // Written beside and renamed, but not synced: see the invariants.
  files->Remove(path + ".new").IgnoreError();
  {
    auto file = files->CreateNew(path + ".new");
    if (!file.ok() || !(*file)->WriteAt(0, Encode(all.changes_, all.base_, to)).ok()) return;
  }
  if (!files->Rename(path + ".new", path).ok() || all.changes_.size() <= kMaxChanges) return;
  // Too many: one file again, of what a reader sees.
  auto both = ScanCacheReader::Open(files, cache_path);
  auto writer = ScanCacheWriter::Create(files, cache_path);
  if (both == nullptr || !writer.ok()) return;
  ScanRecord record;
  while (both->Next(&record)) {
    if (!(*writer)->Add(record).ok()) return;
  }
  if (both->intact()) (*writer)->Finish(to).IgnoreError();
}

void ScanCacheChanges::Remove(os::Files* files, const std::string& cache_path) {
  files->Remove(FilePath(cache_path)).IgnoreError();  // one that is left is bound to a cache that is gone
}

}  // namespace bailiwick::agent
