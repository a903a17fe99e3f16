// The binary form of manifest nodes: see "Formats" in ARCHITECTURE.md.
#include "common/store/manifest.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/dataset_store.h"
#include "common/store/manifest_walker.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kMagic("BWN\x01", 4);  // and the format, 1
constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxNodeItems =
    1024;  // more than a builder puts into one; with the path limit it bounds what a node expands to
constexpr uint32_t kModeMask = 07777;
constexpr uint64_t kMaxFileBytes = INT64_MAX;  // an off_t

constexpr uint8_t kTypeMask = 0x03;
constexpr uint8_t kHasOwner = 0x04;
constexpr uint8_t kHasHoles = 0x08;
constexpr uint8_t kHasList = 0x10;

void PutVarint(std::string& out, uint64_t v) {
  while (v >= 0x80) {
    out.push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out.push_back(static_cast<char>(v));
}

void PutBytes(std::string& out, std::string_view bytes) {
  PutVarint(out, bytes.size());
  out.append(bytes);
}

uint64_t ZigZag(int64_t v) { return (static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63); }
int64_t UnZigZag(uint64_t v) { return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1); }

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

void PutPath(std::string& out, std::string_view previous, std::string_view path) {
  const size_t shared = CommonPrefix(previous, path);
  PutVarint(out, shared);
  PutBytes(out, path.substr(shared));
}

uint64_t HoleBytes(const Entry& e) {
  uint64_t sum = 0;
  for (const Hole& h : e.holes) sum += h.length;
  return sum;
}

absl::Status Bad(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("manifest node: ", std::string(what)));
}

// Reads and remembers the first failure: callers check once.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool done() const { return rest_.empty(); }
  uint8_t Byte() {
    if (rest_.empty()) return Fail();
    const uint8_t b = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return b;
  }
  uint64_t Varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = Byte();
      if (!ok_ || (shift == 63 && b > 1)) return Fail();
      v |= uint64_t{static_cast<uint8_t>(b & 0x7f)} << shift;
      if ((b & 0x80) == 0) return v;
    }
    return Fail();
  }
  std::string_view Bytes(uint64_t n) {
    if (n > rest_.size()) {
      Fail();
      return {};
    }
    std::string_view out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }
  Digest ReadDigest() {
    Digest d;
    std::string_view bytes = Bytes(Digest::kSize);
    if (!ok_) return d;
    d.algorithm = Digest::kSha256;
    std::memcpy(d.bytes.data(), bytes.data(), Digest::kSize);
    return d;
  }
  std::string Path(std::string_view previous) {
    const uint64_t shared = Varint();
    const uint64_t rest = Varint();
    if (!ok_ || shared > previous.size() || rest > kMaxPathBytes || shared + rest > kMaxPathBytes) {
      Fail();
      return "";
    }
    std::string path(previous.substr(0, shared));
    path.append(Bytes(rest));
    return path;
  }

 private:
  uint8_t Fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }
  std::string_view rest_;
  bool ok_ = true;
};

void EncodeEntry(std::string& out, const Entry& e, std::string_view previous_path, int64_t previous_mtime) {
  uint8_t flags = static_cast<uint8_t>(e.type);
  if (e.owner.has_value()) flags |= kHasOwner;
  if (!e.holes.empty()) flags |= kHasHoles;
  if (e.list_height > 0) flags |= kHasList;
  out.push_back(static_cast<char>(flags));
  PutPath(out, previous_path, e.path);
  PutVarint(out, e.mode);
  PutVarint(out,
            ZigZag(static_cast<int64_t>(static_cast<uint64_t>(e.mtime_ns) - static_cast<uint64_t>(previous_mtime))));
  if (e.owner.has_value()) {
    PutVarint(out, e.owner->first);
    PutVarint(out, e.owner->second);
  }
  if (e.type == EntryType::kSymlink) PutBytes(out, e.target);
  if (e.type != EntryType::kFile) return;
  PutVarint(out, e.size);
  if (!e.holes.empty()) {
    PutVarint(out, e.holes.size());
    uint64_t end = 0;
    for (const Hole& h : e.holes) {
      PutVarint(out, h.offset - end);
      PutVarint(out, h.length);
      end = h.offset + h.length;
    }
  }
  if (e.list_height > 0) {
    out.push_back(static_cast<char>(e.list_height));
    out.append(e.chunks[0].digest.view());
    return;
  }
  PutVarint(out, e.chunks.size());
  for (const Reference& r : e.chunks) {
    out.append(r.digest.view());
    if (e.chunks.size() > 1) PutVarint(out, r.length);  // a single chunk is as long as the file's data
  }
}

absl::Status DecodeFile(Reader& in, uint8_t flags, Entry& e) {
  e.size = in.Varint();
  if (!in.ok() || e.size > kMaxFileBytes) return Bad("size");
  if (flags & kHasHoles) {
    const uint64_t n = in.Varint();
    if (!in.ok() || n == 0 || n > kMaxHoles) return Bad("number of holes");
    uint64_t end = 0;
    for (uint64_t i = 0; i < n; ++i) {
      Hole h;
      const uint64_t gap = in.Varint();
      h.length = in.Varint();
      if (!in.ok() || h.length == 0 || (i > 0 && gap == 0) || gap > e.size - end || h.length > e.size - end - gap) {
        return Bad("holes");
      }
      h.offset = end + gap;
      end = h.offset + h.length;
      e.holes.push_back(h);
    }
  }
  const uint64_t data = e.size - HoleBytes(e);
  if (flags & kHasList) {
    e.list_height = in.Byte();
    if (!in.ok() || e.list_height == 0 || e.list_height > kMaxHeight || data == 0) return Bad("chunk list height");
    e.chunks.push_back({in.ReadDigest(), data});
    return in.ok() ? absl::OkStatus() : Bad("cut short");
  }
  const uint64_t n = in.Varint();
  if (!in.ok() || n > kMaxInlineChunks) return Bad("number of chunks");
  uint64_t sum = 0;
  for (uint64_t i = 0; i < n; ++i) {
    Reference r;
    r.digest = in.ReadDigest();
    r.length = n > 1 ? in.Varint() : data;
    if (!in.ok() || r.length == 0 || r.length > kMaxChunkBytes || r.length > data - sum) return Bad("chunk lengths");
    sum += r.length;
    e.chunks.push_back(r);
  }
  if (sum != data) return Bad("chunks and holes do not add up to the size");
  return absl::OkStatus();
}

absl::StatusOr<Entry> DecodeEntry(Reader& in, std::string_view previous_path, int64_t previous_mtime) {
  Entry e;
  const uint8_t flags = in.Byte();
  const uint8_t type = flags & kTypeMask;
  if (!in.ok() || type == 0 || (flags & ~(kTypeMask | kHasOwner | kHasHoles | kHasList)) != 0)
    return Bad("entry flags");
  e.type = static_cast<EntryType>(type);
  if (e.type != EntryType::kFile && (flags & (kHasHoles | kHasList)) != 0)
    return Bad("content of something that is no file");
  e.path = in.Path(previous_path);
  const uint64_t mode = in.Varint();
  e.mtime_ns =
      static_cast<int64_t>(static_cast<uint64_t>(previous_mtime) + static_cast<uint64_t>(UnZigZag(in.Varint())));
  if (!in.ok() || (mode & ~uint64_t{kModeMask}) != 0) return Bad("mode");
  e.mode = static_cast<uint32_t>(mode);
  BW_RETURN_IF_ERROR(CheckPath(e.path));
  if (flags & kHasOwner) {
    const uint64_t uid = in.Varint();
    const uint64_t gid = in.Varint();
    if (!in.ok() || uid > UINT32_MAX || gid > UINT32_MAX) return Bad("owner");
    e.owner = {static_cast<uint32_t>(uid), static_cast<uint32_t>(gid)};
  }
  if (e.type == EntryType::kSymlink) {
    const uint64_t n = in.Varint();
    if (!in.ok() || n == 0 || n > kMaxPathBytes) return Bad("symlink target");
    e.target = std::string(in.Bytes(n));
    if (!in.ok() || e.target.find('\0') != std::string::npos) return Bad("symlink target");
  }
  if (e.type == EntryType::kFile) BW_RETURN_IF_ERROR(DecodeFile(in, flags, e));
  return e;
}

}  // namespace

int ComparePaths(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  const size_t i = CommonPrefix(a, b);
  if (i == n) return a.size() < b.size() ? -1 : (a.size() > b.size() ? 1 : 0);
  if (a[i] == '/') return -1;
  if (b[i] == '/') return 1;
  return static_cast<uint8_t>(a[i]) < static_cast<uint8_t>(b[i]) ? -1 : 1;
}

bool IsBelow(std::string_view path, std::string_view directory) {
  return path.size() > directory.size() && path[directory.size()] == '/' && path.starts_with(directory);
}

absl::Status CheckPath(std::string_view path) {
  if (path.empty()) return absl::InvalidArgumentError("an empty path");
  if (path.size() > kMaxPathBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a path of ", path.size(), " bytes, more than the ", kMaxPathBytes, " of a manifest"));
  }
  if (path.find('\0') != std::string_view::npos) return absl::InvalidArgumentError("a path with a NUL byte");
  size_t start = 0;
  while (true) {
    const size_t slash = path.find('/', start);
    std::string_view component = path.substr(start, slash == std::string_view::npos ? slash : slash - start);
    if (component.empty()) return absl::InvalidArgumentError("a path with an empty component or an absolute path");
    if (component == "." || component == "..") return absl::InvalidArgumentError("a path with a . or .. component");
    if (component.size() > 255) return absl::InvalidArgumentError("a name longer than 255 bytes");
    if (slash == std::string_view::npos) return absl::OkStatus();
    start = slash + 1;
  }
}

absl::Status CheckEntry(const Entry& e) {
  BW_RETURN_IF_ERROR(CheckPath(e.path));
  auto bad = [&e](std::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest entry ", absl::Utf8SafeCHexEscape(e.path), " with ", std::string(what)));
  };
  if ((e.mode & ~kModeMask) != 0) return bad("a mode that is more than permissions");
  if (e.type != EntryType::kFile) {
    if (e.type != EntryType::kDirectory && e.type != EntryType::kSymlink) return bad("an unknown type");
    if (e.size != 0 || !e.holes.empty() || !e.chunks.empty() || e.list_height != 0) return bad("content, but no file");
    if (e.type == EntryType::kDirectory) return e.target.empty() ? absl::OkStatus() : bad("a target, but no symlink");
    const bool valid =
        !e.target.empty() && e.target.size() <= kMaxPathBytes && e.target.find('\0') == std::string::npos;
    return valid ? absl::OkStatus() : bad("an unusable symlink target");
  }
  if (!e.target.empty()) return bad("a target, but no symlink");
  if (e.size > kMaxFileBytes) return bad("a size beyond any file's");
  if (e.holes.size() > kMaxHoles) return bad("more holes than a manifest can hold");
  uint64_t end = 0;
  uint64_t covered = 0;
  for (size_t i = 0; i < e.holes.size(); ++i) {
    const Hole& h = e.holes[i];
    if (h.length == 0 || h.offset < end || (i > 0 && h.offset == end))
      return bad("holes that touch or are out of order");
    if (h.offset > e.size || h.length > e.size - h.offset) return bad("holes beyond its size");
    end = h.offset + h.length;
    covered += h.length;
  }
  for (const Reference& r : e.chunks) {
    const uint64_t longest = e.list_height > 0 ? kMaxFileBytes : kMaxChunkBytes;
    if (r.digest.algorithm != Digest::kSha256) return bad("a chunk without a digest");
    if (r.length == 0 || r.length > longest || r.length > e.size - covered) return bad("chunk lengths that cannot be");
    covered += r.length;
  }
  if (covered != e.size) return bad("chunks and holes that do not add up to its size");
  if (e.list_height > kMaxHeight || (e.list_height > 0 && e.chunks.size() != 1)) return bad("an unusable chunk list");
  return absl::OkStatus();
}

std::vector<NodeChild> Node::Children() const {
  std::vector<NodeChild> children;
  switch (kind) {
    case NodeKind::kInner:
      children.reserve(inner.size());
      for (const Child& c : inner) children.push_back({c.digest, c.bytes, true});
      break;
    case NodeKind::kLeaf:
      children.reserve(entries.size());
      for (const Entry& e : entries) {
        for (const Reference& r : e.chunks) children.push_back({r.digest, r.length, e.list_height > 0});
      }
      break;
    case NodeKind::kList:
      children.reserve(references.size());
      for (const Reference& r : references) children.push_back({r.digest, r.length, height > 1});
      break;
  }
  return children;
}

std::string EncodeNode(const Node& node) {
  std::string out(kMagic);
  out.push_back(static_cast<char>(node.kind));
  out.push_back(static_cast<char>(node.height));
  out.push_back(static_cast<char>(Digest::kSha256));  // of every digest in the node
  std::string_view previous;
  switch (node.kind) {
    case NodeKind::kInner:
      PutVarint(out, node.inner.size());
      for (const Node::Child& c : node.inner) {
        PutPath(out, previous, c.first_path);
        previous = c.first_path;
        out.append(c.digest.view());
        PutVarint(out, c.entries);
        PutVarint(out, c.bytes);
      }
      break;
    case NodeKind::kLeaf: {
      PutVarint(out, node.entries.size());
      int64_t mtime = 0;
      for (const Entry& e : node.entries) {
        EncodeEntry(out, e, previous, mtime);
        previous = e.path;
        mtime = e.mtime_ns;
      }
      break;
    }
    case NodeKind::kList:
      PutVarint(out, node.references.size());
      for (const Reference& r : node.references) {
        out.append(r.digest.view());
        PutVarint(out, r.length);
      }
      break;
  }
  return out;
}

absl::StatusOr<Node> DecodeNode(std::string_view bytes) {
  if (bytes.size() > kMaxNodeBytes) return Bad("too large");
  if (bytes.substr(0, kMagic.size()) != kMagic) return Bad("not one, or of a format that is not known here");
  Reader in(bytes.substr(kMagic.size()));
  Node node;
  const uint8_t kind = in.Byte();
  node.height = in.Byte();
  const uint8_t algorithm = in.Byte();
  const uint64_t count = in.Varint();
  if (!in.ok()) return Bad("cut short");
  if (algorithm != Digest::kSha256) return Bad("unknown digest algorithm");
  if (count > kMaxNodeItems || node.height > kMaxHeight) return Bad("too many items or too high");
  if (kind == static_cast<uint8_t>(NodeKind::kInner)) {
    node.kind = NodeKind::kInner;
    if (node.height == 0 || count == 0) return Bad("height of an inner node");
    uint64_t entries = 0;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < count; ++i) {
      Node::Child c;
      c.first_path = in.Path(node.inner.empty() ? std::string_view() : std::string_view(node.inner.back().first_path));
      c.digest = in.ReadDigest();
      c.entries = in.Varint();
      c.bytes = in.Varint();
      if (!in.ok()) return Bad("cut short");
      BW_RETURN_IF_ERROR(CheckPath(c.first_path));
      if (c.entries == 0) return Bad("an empty child");
      if (c.entries > UINT64_MAX - entries || c.bytes > UINT64_MAX - bytes) return Bad("counts");
      entries += c.entries;
      bytes += c.bytes;
      if (!node.inner.empty() && ComparePaths(node.inner.back().first_path, c.first_path) >= 0)
        return Bad("children out of order");
      node.inner.push_back(std::move(c));
    }
  } else if (kind == static_cast<uint8_t>(NodeKind::kLeaf)) {
    node.kind = NodeKind::kLeaf;
    if (node.height != 0) return Bad("height of a leaf");
    for (uint64_t i = 0; i < count; ++i) {
      const Entry* last = node.entries.empty() ? nullptr : &node.entries.back();
      BW_ASSIGN_OR_RETURN(Entry e, DecodeEntry(in, last == nullptr ? std::string_view() : std::string_view(last->path),
                                               last == nullptr ? 0 : last->mtime_ns));
      if (last != nullptr && ComparePaths(last->path, e.path) >= 0) return Bad("entries out of order");
      node.entries.push_back(std::move(e));
    }
  } else if (kind == static_cast<uint8_t>(NodeKind::kList)) {
    node.kind = NodeKind::kList;
    if (node.height == 0 || count == 0) return Bad("height of a chunk list");
    const uint64_t longest = node.height == 1 ? kMaxChunkBytes : kMaxFileBytes;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; ++i) {
      Reference r;
      r.digest = in.ReadDigest();
      r.length = in.Varint();
      if (!in.ok() || r.length == 0 || r.length > longest || r.length > kMaxFileBytes - sum) return Bad("chunk list");
      sum += r.length;
      node.references.push_back(r);
    }
  } else {
    return Bad("unknown kind");
  }
  if (!in.ok()) return Bad("cut short");
  if (!in.done()) return Bad("trailing bytes");
  // One encoding only: a second form of the same node would be a second identity of the same version.
  if (EncodeNode(node) != bytes) return Bad("not in canonical form");
  return node;
}

}  // namespace bailiwick::store
