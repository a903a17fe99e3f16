// A Merkle log as files (c2sp.org/tlog-tiles): below a directory
//   tile/<L>/<N>[.p/<W>]        hashes of the tree, 256 a file; L: 0 for those of the entries, 1 for those of whole
//   tiles.. tile/entries/<N>[.p/<W>]    the entries, each with its length in two bytes (big-endian) before it
// N is written x001/x234/067; .p/<W> is a file that holds only W. Of those there are the ones of the checkpoints that
// lie beside them, until the full file is there; whoever holds another checkpoint reads the beginning of a wider file.
// What was written for a size never changes, so a reader that holds a signed root can check all.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/audit/merkle.h"
#include "common/base/digest.h"
#include "common/os/files.h"

namespace bailiwick::audit {

inline constexpr uint64_t kTileWidth = 256;
inline constexpr int kEntries = -1;         // in the place of a level
inline constexpr size_t kMaxEntry = 65535;  // bytes

// Below the log's directory. `width` kTileWidth: the full file.
std::string TilePath(int level, uint64_t n, uint64_t width);
std::string NumberPath(uint64_t n);  // x001/x234/067
// How many hashes (or entries) tile n of a level holds in a tree of `size` entries; 0: there is no such tile.
uint64_t TileWidth(int level, uint64_t n, uint64_t size);

std::string EncodeEntry(std::string_view entry);
// DATA_LOSS unless the bytes are exactly `width` entries.
absl::StatusOr<std::vector<std::string_view>> SplitEntries(std::string_view bundle, uint64_t width);

// One tile or bundle of a tree of `size`, checked for its length (a bundle: for being so many entries); a wider file,
// cut, when its own is gone, also while a writer removes and makes them. NOT_FOUND: none is there. DATA_LOSS: its
// length is wrong.
absl::StatusOr<std::string> ReadTile(os::Files* files, const std::string& directory, int level, uint64_t n,
                                     uint64_t size);

// Reads the hashes of a tree of `size` from its tiles; remembers tiles. Not thread-safe.
SubtreeReader ReadSubtrees(os::Files* files, const std::string& directory, uint64_t size);

// The right edge of a tree that grows, in memory, and the files that it has to leave behind. Not thread-safe; a copy is
// a tree of its own.
class TileTree {
 public:
  struct File {
    std::string path;
    std::string bytes;
  };
  TileTree() = default;
  // The tree of `size` entries that lies in the directory. DATA_LOSS or NOT_FOUND: its right edge is not that of a tree
  // with this root.
  static absl::StatusOr<TileTree> Load(os::Files* files, const std::string& directory, uint64_t size,
                                       const Digest& root);

  void Add(std::string_view entry);  // at most kMaxEntry bytes
  uint64_t size() const { return size_; }
  Digest Root() const;
  // What the files of this size lack since the last Written.
  std::vector<File> Unwritten() const;
  void Written(uint64_t size);

 private:
  struct Level {
    std::string hashes;  // of the tile that is not full
    uint64_t full = 0;   // tiles before it
  };
  void Push(size_t level, const Digest& hash);

  uint64_t size_ = 0;
  uint64_t written_ = 0;
  std::vector<Level> levels_;
  std::string bundle_;
  std::multimap<uint64_t, File> full_;  // by the size of the tree that completed them; not written yet
};

// Durable on OK; each file is whole or not there. One that is there was left by a crash before its size was signed, and
// is written again.
absl::Status WriteTiles(os::Files* files, const std::string& directory, const std::vector<TileTree::File>& tiles);
// Once a tree of `size` is what counts, durably, instead of one of `before`: removes the partial files that no reader
// asks for by their names any more: those of tiles that have filled, and those at the edge but of this size and of
// `other`. What cannot be removed is a warning: the next call finds it again at the edge, RemoveLeftPartials elsewhere.
void RemovePartials(os::Files* files, const std::string& directory, uint64_t before, uint64_t size, uint64_t other);
// Removes partial files of the last full tiles: a crash may have come before RemovePartials did.
void RemoveLeftPartials(os::Files* files, const std::string& directory, uint64_t size);
// Makes the partial files of a tree of `size` again, from the wider ones. Durable on OK.
absl::Status RestorePartials(os::Files* files, const std::string& directory, uint64_t size);

}  // namespace bailiwick::audit
