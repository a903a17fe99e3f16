// Digest -> where the chunk lies, for all datasets of an agent: a log-structured merge tree (O'Neil et al., 1996) of
// sorted runs with filters, RAM bounded whatever the number of chunks. One instance, keys with the dataset's id:
// lookups never cross datasets. Always rebuildable from the packs' sidecars; a power cut may lose the newest entries,
// which DatasetStore::Open puts back. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/base/ids.h"

namespace bailiwick::store {

using PackId = uint64_t;  // per dataset; never reused

struct ChunkLocation {
  PackId pack = 0;
  uint64_t offset = 0;  // of the stored bytes in the pack
  uint32_t stored_length = 0;
  uint32_t raw_length = 0;
  uint8_t codec = 0;      // Codec
  uint64_t checksum = 0;  // XXH3-64 of the stored bytes
};

class ChunkIndex {
 public:
  virtual ~ChunkIndex() = default;
  // Opens or creates. One that is corrupt, or was found so while it was used (INTERNAL, from any of these), is moved
  // aside (name.corrupt, one at most) and made anew: every DatasetStore that is opened over it then reloads its
  // sidecars.
  static absl::StatusOr<std::unique_ptr<ChunkIndex>> Open(const std::string& path, uint64_t filter_bytes);
  virtual absl::StatusOr<std::optional<ChunkLocation>> Get(DatasetId dataset, const Digest& digest) = 0;
  virtual absl::StatusOr<std::vector<std::optional<ChunkLocation>>> GetMany(DatasetId dataset,
                                                                            std::span<const Digest> digests) = 0;
  // All of one pack, with the mark that the pack is indexed.
  virtual absl::Status PutPack(DatasetId dataset, PackId pack,
                               std::span<const std::pair<Digest, ChunkLocation>> chunks) = 0;
  virtual absl::StatusOr<bool> HasPack(DatasetId dataset, PackId pack) = 0;
  // Removes the mark and those of `digests` that still point into the pack.
  virtual absl::Status DropPack(DatasetId dataset, PackId pack, std::span<const Digest> digests) = 0;
  // Removes one entry if it still points into the pack: the chunk there is damaged.
  virtual absl::Status Forget(DatasetId dataset, const Digest& digest, PackId pack) = 0;
  virtual absl::Status DropDataset(DatasetId dataset) = 0;
  virtual absl::Status Flush() = 0;  // everything before it is durable on OK
  // It was found corrupt since Open: what it is asked may fail until the next one.
  virtual bool damaged() const = 0;
};

}  // namespace bailiwick::store
