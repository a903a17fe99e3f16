#include "common/audit/tiles.h"

#include <algorithm>
#include <memory>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace bailiwick::audit {
namespace {

constexpr uint64_t kMaxTileBytes = kTileWidth * (2 + kMaxEntry);
constexpr int kTileHeight = 8;

std::string LevelName(int level) { return level == kEntries ? "entries" : absl::StrCat(level); }
int HeightOf(int level) { return level == kEntries ? 0 : level * kTileHeight; }

Digest HashAt(std::string_view hashes, uint64_t i) {
  Digest digest;
  digest.algorithm = Digest::kSha256;
  std::copy_n(hashes.data() + i * Digest::kSize, Digest::kSize, reinterpret_cast<char*>(digest.bytes.data()));
  return digest;
}

// Root of the perfect tree over n hashes, n a power of two.
Digest PerfectRoot(std::string_view hashes, uint64_t n) {
  if (n == 1) return HashAt(hashes, 0);
  return NodeHash(PerfectRoot(hashes.substr(0, n / 2 * Digest::kSize), n / 2),
                  PerfectRoot(hashes.substr(n / 2 * Digest::kSize), n / 2));
}

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Where the partial files of a tile lie.
std::string PartialsPath(const std::string& directory, int level, uint64_t n) {
  return os::JoinPath(directory, absl::StrCat(TilePath(level, n, kTileWidth), ".p"));
}

// The narrowest partial file that begins with `width` of the tile; kTileWidth: there is none.
absl::StatusOr<uint64_t> WidthThere(os::Files* files, const std::string& directory, int level, uint64_t n,
                                    uint64_t width) {
  uint64_t narrowest = kTileWidth;
  const auto names = files->List(PartialsPath(directory, level, n));
  if (absl::IsNotFound(names.status())) return narrowest;
  BW_RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    uint64_t there = 0;
    if (!absl::SimpleAtoi(name, &there) || absl::StrCat(there) != name || there < width) continue;
    narrowest = std::min(narrowest, there);
  }
  return narrowest;
}

absl::Status RemoveUnneeded(os::Files* files, const std::string& directory, uint64_t before, uint64_t size,
                            uint64_t other) {
  for (int level = kEntries; level < kTileHeight; ++level) {
    const int height = HeightOf(level);
    if (before >> height == size >> height) break;  // here nothing has changed, nor above
    const uint64_t edge = size >> height >> kTileHeight;
    for (uint64_t n = before >> height >> kTileHeight; n < edge; ++n) {
      BW_RETURN_IF_ERROR(files->RemoveTree(PartialsPath(directory, level, n)));
    }
    const uint64_t width = TileWidth(level, edge, size);
    if (width == 0) continue;
    // Whatever else lies there, also what a write that failed has left, and the hundreds that older builds kept.
    const std::string needed[] = {absl::StrCat(width), absl::StrCat(TileWidth(level, edge, other))};
    const std::string partials = PartialsPath(directory, level, edge);
    BW_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List(partials));
    for (const std::string& name : names) {
      if (name == needed[0] || name == needed[1]) continue;
      BW_RETURN_IF_ERROR(files->Remove(os::JoinPath(partials, name)));
    }
  }
  return absl::OkStatus();
}

absl::Status RemoveLeft(os::Files* files, const std::string& directory, uint64_t size) {
  for (int level = kEntries; level < kTileHeight; ++level) {
    const uint64_t full = size >> HeightOf(level) >> kTileHeight;
    if (full == 0) break;
    const std::string whole = os::JoinPath(directory, TilePath(level, full - 1, kTileWidth));
    BW_ASSIGN_OR_RETURN(const bool there, files->Exists(whole));
    if (there) BW_RETURN_IF_ERROR(files->RemoveTree(PartialsPath(directory, level, full - 1)));
  }
  return absl::OkStatus();
}

// The log stands without it: what is too much takes nothing but space.
void SayNotRemoved(const std::string& directory, const absl::Status& status) {
  if (status.ok()) return;
  telemetry::Log(telemetry::Level::kWarning, "audit-tiles-not-removed", {{"directory", directory}, {"error", status}});
}

}  // namespace

std::string NumberPath(uint64_t n) {
  std::string path = absl::StrFormat("%03d", n % 1000);
  while ((n /= 1000) != 0) path = absl::StrCat(absl::StrFormat("x%03d/", n % 1000), path);
  return path;
}

std::string TilePath(int level, uint64_t n, uint64_t width) {
  std::string path = absl::StrCat("tile/", LevelName(level), "/", NumberPath(n));
  if (width != kTileWidth) absl::StrAppend(&path, ".p/", width);
  return path;
}

uint64_t TileWidth(int level, uint64_t n, uint64_t size) {
  const int height = HeightOf(level);
  const uint64_t hashes = height >= 64 ? 0 : size >> height;
  if (n >= (hashes >> kTileHeight) + 1) return 0;
  return std::min(kTileWidth, hashes - n * kTileWidth);
}

std::string EncodeEntry(std::string_view entry) {
  std::string out;
  out += static_cast<char>(entry.size() >> 8);
  out += static_cast<char>(entry.size());
  out += entry;
  return out;
}

absl::StatusOr<std::vector<std::string_view>> SplitEntries(std::string_view bundle, uint64_t width) {
  std::vector<std::string_view> out;
  while (out.size() < width) {
    if (bundle.size() < 2) return absl::DataLossError("a bundle of entries is too short");
    const size_t length = static_cast<size_t>(static_cast<uint8_t>(bundle[0])) << 8 | static_cast<uint8_t>(bundle[1]);
    if (bundle.size() - 2 < length) return absl::DataLossError("a bundle of entries is too short");
    out.push_back(bundle.substr(2, length));
    bundle.remove_prefix(2 + length);
  }
  if (!bundle.empty()) return absl::DataLossError("a bundle of entries is too long");
  return out;
}

absl::StatusOr<std::string> ReadTile(os::Files* files, const std::string& directory, int level, uint64_t n,
                                     uint64_t size) {
  const uint64_t width = TileWidth(level, n, size);
  if (width == 0) return absl::InvalidArgumentError(absl::StrCat("a log of ", size, " records has no such tile"));
  uint64_t found = width;
  auto bytes = os::ReadFile(files, os::JoinPath(directory, TilePath(level, n, width)), kMaxTileBytes);
  // A writer may remove what was listed, once it has made a wider one: then it is listed again.
  for (int tries = 0; tries < 2 && width != kTileWidth && absl::IsNotFound(bytes.status()); ++tries) {
    BW_ASSIGN_OR_RETURN(found, WidthThere(files, directory, level, n, width));
    bytes = os::ReadFile(files, os::JoinPath(directory, TilePath(level, n, found)), kMaxTileBytes);
  }
  const std::string path = os::JoinPath(directory, TilePath(level, n, found));
  if (absl::IsNotFound(bytes.status())) return absl::NotFoundError(absl::StrCat(path, " is missing"));
  if (absl::IsOutOfRange(bytes.status())) return absl::DataLossError(absl::StrCat(path, " is too long"));
  BW_RETURN_IF_ERROR(bytes.status());
  if (level != kEntries) {
    if (bytes->size() != found * Digest::kSize) return absl::DataLossError(absl::StrCat(path, " has a wrong length"));
    return bytes->substr(0, width * Digest::kSize);
  }
  absl::StatusOr<std::vector<std::string_view>> entries = SplitEntries(*bytes, found);
  if (!entries.ok()) return Annotate(entries.status(), path);
  if (found == width) return bytes;
  return bytes->substr(0, static_cast<size_t>((*entries)[width].data() - bytes->data()) - 2);
}

SubtreeReader ReadSubtrees(os::Files* files, const std::string& directory, uint64_t size) {
  auto known = std::make_shared<std::map<std::pair<int, uint64_t>, std::string>>();
  return [=](int level, uint64_t index) -> absl::StatusOr<Digest> {
    const int tile_level = level / kTileHeight;
    const uint64_t count = uint64_t{1} << (level % kTileHeight);
    const uint64_t first = index * count;
    const std::pair<int, uint64_t> key = {tile_level, first / kTileWidth};
    auto tile = known->find(key);
    if (tile == known->end()) {
      BW_ASSIGN_OR_RETURN(std::string bytes, ReadTile(files, directory, key.first, key.second, size));
      tile = known->emplace(key, std::move(bytes)).first;
    }
    const size_t at = first % kTileWidth * Digest::kSize;
    if (at + count * Digest::kSize > tile->second.size()) return absl::InvalidArgumentError("no such subtree");
    return PerfectRoot(std::string_view(tile->second).substr(at, count * Digest::kSize), count);
  };
}

absl::StatusOr<TileTree> TileTree::Load(os::Files* files, const std::string& directory, uint64_t size,
                                        const Digest& root) {
  TileTree tree;
  tree.size_ = tree.written_ = size;
  for (int level = 0; level == 0 || size >> (level * kTileHeight) != 0; ++level) {
    Level edge{.full = size >> (level * kTileHeight) >> kTileHeight};
    if (TileWidth(level, edge.full, size) != 0) {
      BW_ASSIGN_OR_RETURN(edge.hashes, ReadTile(files, directory, level, edge.full, size));
    }
    tree.levels_.push_back(std::move(edge));
  }
  const uint64_t entries = size % kTileWidth;
  if (entries != 0) {
    BW_ASSIGN_OR_RETURN(tree.bundle_, ReadTile(files, directory, kEntries, size / kTileWidth, size));
    BW_ASSIGN_OR_RETURN(std::vector<std::string_view> split, SplitEntries(tree.bundle_, entries));
    for (uint64_t i = 0; i < entries; ++i) {
      if (LeafHash(split[i]) == HashAt(tree.levels_[0].hashes, i)) continue;
      return absl::DataLossError(absl::StrCat(directory, ": entry ", size - entries + i, " was changed"));
    }
  }
  if (tree.Root() != root) {
    return absl::DataLossError(absl::StrCat(directory, ": the tiles are not those of the signed checkpoint"));
  }
  return tree;
}

void TileTree::Push(size_t level, const Digest& hash) {
  if (levels_.size() <= level) levels_.resize(level + 1);
  levels_[level].hashes += hash.view();
  if (levels_[level].hashes.size() < kTileWidth * Digest::kSize) return;
  const Digest root = PerfectRoot(levels_[level].hashes, kTileWidth);
  full_.emplace(size_, File{TilePath(static_cast<int>(level), levels_[level].full, kTileWidth),
                            std::move(levels_[level].hashes)});
  levels_[level].hashes.clear();
  ++levels_[level].full;
  Push(level + 1, root);
}

void TileTree::Add(std::string_view entry) {
  ++size_;
  bundle_ += EncodeEntry(entry);
  if (size_ % kTileWidth == 0) {
    full_.emplace(size_, File{TilePath(kEntries, size_ / kTileWidth - 1, kTileWidth), std::move(bundle_)});
    bundle_.clear();
  }
  Push(0, LeafHash(entry));
}

Digest TileTree::Root() const {
  std::vector<Digest> peaks;  // largest first
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    std::string_view rest = level->hashes;
    const uint64_t width = rest.size() / Digest::kSize;
    for (uint64_t n = kTileWidth / 2; n != 0; n /= 2) {
      if ((width & n) == 0) continue;
      peaks.push_back(PerfectRoot(rest.substr(0, n * Digest::kSize), n));
      rest.remove_prefix(n * Digest::kSize);
    }
  }
  if (peaks.empty()) return EmptyRoot();
  Digest root = peaks.back();
  for (size_t i = peaks.size() - 1; i > 0; --i) root = NodeHash(peaks[i - 1], root);
  return root;
}

std::vector<TileTree::File> TileTree::Unwritten() const {
  std::vector<File> out;
  if (size_ == written_) return out;
  for (const auto& [size, file] : full_) out.push_back(file);
  for (size_t level = 0; level < levels_.size(); ++level) {
    const uint64_t width = levels_[level].hashes.size() / Digest::kSize;
    // A level whose edge did not change since the last time has its file.
    const int height = static_cast<int>(level) * kTileHeight;
    if (width == 0 || (written_ >> height) == (size_ >> height)) continue;
    out.push_back({TilePath(static_cast<int>(level), levels_[level].full, width), levels_[level].hashes});
  }
  const uint64_t entries = size_ % kTileWidth;
  if (entries != 0) out.push_back({TilePath(kEntries, size_ / kTileWidth, entries), bundle_});
  return out;
}

void TileTree::Written(uint64_t size) {
  written_ = size;
  full_.erase(full_.begin(), full_.upper_bound(size));
}

absl::Status WriteTiles(os::Files* files, const std::string& directory, const std::vector<TileTree::File>& tiles) {
  std::set<std::string> directories;
  for (const TileTree::File& tile : tiles) {
    const std::string path = os::JoinPath(directory, tile.path);
    const std::string parent = DirectoryOf(path);
    if (directories.insert(parent).second) BW_RETURN_IF_ERROR(files->MakeDirs(parent));
    const std::string unfinished = path + ".new";
    BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, files->OpenReadWrite(unfinished, /*create=*/true));
    BW_ASSIGN_OR_RETURN(const uint64_t there, file->Size());
    if (there != 0) BW_RETURN_IF_ERROR(file->Truncate(0));
    BW_RETURN_IF_ERROR(file->WriteAt(0, tile.bytes));
    BW_RETURN_IF_ERROR(file->Sync());
    BW_RETURN_IF_ERROR(files->Rename(unfinished, path));
  }
  for (const std::string& parent : directories) BW_RETURN_IF_ERROR(files->SyncDir(parent));
  return absl::OkStatus();
}

void RemovePartials(os::Files* files, const std::string& directory, uint64_t before, uint64_t size, uint64_t other) {
  SayNotRemoved(directory, RemoveUnneeded(files, directory, before, size, other));
}

void RemoveLeftPartials(os::Files* files, const std::string& directory, uint64_t size) {
  SayNotRemoved(directory, RemoveLeft(files, directory, size));
}

absl::Status RestorePartials(os::Files* files, const std::string& directory, uint64_t size) {
  std::vector<TileTree::File> gone;
  for (int level = kEntries; level < kTileHeight; ++level) {
    const uint64_t n = size >> HeightOf(level) >> kTileHeight, width = TileWidth(level, n, size);
    if (width == 0) continue;
    bool there = false;
    for (const uint64_t enough : {width, kTileWidth}) {
      if (there) break;
      BW_ASSIGN_OR_RETURN(there, files->Exists(os::JoinPath(directory, TilePath(level, n, enough))));
    }
    if (there) continue;
    BW_ASSIGN_OR_RETURN(std::string bytes, ReadTile(files, directory, level, n, size));
    gone.push_back({TilePath(level, n, width), std::move(bytes)});
  }
  return WriteTiles(files, directory, gone);
}

}  // namespace bailiwick::audit
