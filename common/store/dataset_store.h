// The chunks of one dataset on this machine: append-only packs with sidecar indexes under <dir>/packs. A chunk is named
// by the SHA-256 of its raw bytes and kept raw or zstd-compressed, whichever is smaller by enough.
//
// Invariants: a pack with a sidecar is sealed and never changes; a pack without one is an unfinished write, kept up to
// its last whole record on the next Open (so what arrived before a crash is not sent again); a chunk read back matches
// its XXH3 or is DATA_LOSS; an index entry points into a sealed pack or into the writer's own.
//
// At rest: a dataset with a data key (data_key.h) writes encrypted packs only; what was plain before is rewritten by
// the next collection. The key file is durable before the first pack under it is begun. Without its key an encrypted
// dataset is locked: every call is FAILED_PRECONDITION with the remedy, and nothing on disk is changed.
//
// Redacted chunks (redaction.h) are not here for anybody: Has says no, Read is NOT_FOUND and says by which order, Put is
// FAILED_PRECONDITION, collections leave behind those that are to be erased. Purge is what erases them.
//
// Thread-safe. Writers may be open at the same time; each has its own pack.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/os/files.h"
#include "common/os/random.h"
#include "common/store/chunk_index.h"
#include "common/store/key_provider.h"
#include "common/store/redaction.h"

namespace bailiwick::store {

enum class Codec : uint8_t { kRaw = 0, kZstd = 1 };

inline constexpr uint32_t kMaxChunkBytes = 16 << 20;
// A pack is sealed once it is larger, which bounds what one barrier covers, or holds so many chunks: their places are
// in memory until then, some 250 bytes each, and files of a few bytes would come to a million of them.
inline constexpr uint64_t kPackBytes = 64 << 20;
inline constexpr size_t kPackChunks = 64 << 10;

struct StoredChunk {
  Codec codec = Codec::kRaw;
  uint32_t raw_length = 0;
  std::string bytes;  // as stored
};

// A chunk as stored, in one or more parts that lie in somebody else's memory: what passes from a socket or a file into
// a pack is not copied on its way.
struct ChunkParts {
  Codec codec = Codec::kRaw;
  uint32_t raw_length = 0;
  std::span<const std::string_view> parts;
  size_t size() const;  // of all parts
};

// A chunk as stored, in a buffer that it may share with its neighbours in the pack.
struct ChunkView {
  Codec codec = Codec::kRaw;
  uint32_t raw_length = 0;
  std::string_view bytes;
  std::shared_ptr<const void> buffer;  // keeps `bytes`
};

// Compresses into `out` when it pays (probe first); false: it does not, keep it raw.
bool CompressChunk(std::string_view raw, std::string* out);
// By CompressChunk, or a copy of the raw bytes.
StoredChunk EncodeChunk(std::string_view raw);
// Raw bytes, digest not checked. DATA_LOSS when they do not decompress to raw_length.
absl::StatusOr<std::string> Decompress(Codec codec, uint32_t raw_length, std::string_view bytes);
// Raw bytes; DATA_LOSS when they do not decompress to raw_length or do not match the digest. Checks limits first.
absl::StatusOr<std::string> DecodeChunk(const StoredChunk& chunk, const Digest& expected);
// The same check, without giving the raw bytes.
absl::Status VerifyChunk(const ChunkParts& chunk, const Digest& expected);
// The same of several, in their order: those that came as they are by two at once. `chunks` and `expected` match.
std::vector<absl::Status> VerifyEach(std::span<const ChunkParts> chunks, std::span<const Digest> expected);

struct StoreStats {
  uint64_t packs = 0;
  uint64_t small_packs = 0;  // of them, that a collection merges when there are many
  uint64_t pack_bytes = 0;
  uint64_t chunks = 0;  // in them, dead ones until a collection
};

// How a dataset is kept at rest.
struct AtRest {
  std::string wrapping_key;  // id of the key that wraps the dataset's data key; empty: kept plain
  uint64_t plain_packs = 0;  // that are still to be rewritten, when it is encrypted
  absl::Status locked;       // not OK: why nothing of it can be read
  bool encrypted() const { return !wrapping_key.empty() && plain_packs == 0 && locked.ok(); }
};

class DatasetStore {
 public:
  struct Options {
    os::Files* files = nullptr;
    ChunkIndex* index = nullptr;
    std::string directory;  // <data>/datasets/<id>
    DatasetId dataset;
    KeyProvider* keys = nullptr;  // null: an encrypted dataset is locked
    os::Random* random = os::Random::System();
    uint64_t disk_reserve = 0;  // bytes of the file system that new content leaves free, for what must be written
    std::shared_ptr<const RedactionBook> redactions;  // null: nothing is redacted
  };
  // Creates the directory if needed; recovers unfinished packs; indexes sealed packs that the index does not know.
  static absl::StatusOr<std::unique_ptr<DatasetStore>> Open(Options options);
  virtual ~DatasetStore() = default;

  // One stream of new chunks (a commit, a transfer). Thread-safe.
  class Writer {
   public:
    virtual ~Writer() = default;  // what Flush did not cover is dropped (after a crash the next Open keeps it)
    // Stores the chunk unless the dataset has it. Returns true if it was new. The caller has checked the digest.
    // RESOURCE_EXHAUSTED: the disk is full, or down to its reserve. After an error the writer takes no more; Flush still saves what it can.
    virtual absl::StatusOr<bool> Put(const Digest& digest, const ChunkParts& chunk) = 0;
    absl::StatusOr<bool> Put(const Digest& digest, const StoredChunk& chunk) {
      const std::string_view part = chunk.bytes;
      return Put(digest, {.codec = chunk.codec, .raw_length = chunk.raw_length, .parts = {&part, 1}});
    }
    // For a chunk that HasMany has said no to since this writer is open: not looked up again. When another writer has
    // brought it meanwhile it is stored twice, until a collection.
    virtual absl::Status PutMissing(const Digest& digest, const ChunkParts& chunk) = 0;
    // Everything put so far is durable and visible to every reader on OK. One fsync a pack. After a failed Put: seals
    // what reached the disk and returns that error.
    virtual absl::Status Flush() = 0;
    virtual uint64_t stored_bytes() const = 0;  // new bytes written, as stored
  };
  virtual std::unique_ptr<Writer> NewWriter() = 0;
  // RESOURCE_EXHAUSTED: no more than the reserve is free. A look of some microseconds.
  virtual absl::Status CheckRoom() = 0;

  // Sealed, durable chunks only: nobody may build on what another writer has not made durable yet.
  virtual absl::StatusOr<bool> Has(const Digest& digest) = 0;
  virtual absl::StatusOr<std::vector<bool>> HasMany(std::span<const Digest> digests) = 0;
  // Packs whose files somebody removed are not here any more from now on, though they may be open still: Has says no to
  // what they held.
  virtual absl::Status MissRemovedPacks() = 0;
  // How often since Open something that was here was found damaged or gone: when it has not changed, what Has said yes
  // to is as good as it was.
  virtual uint64_t losses() const = 0;
  // As stored, XXH3 checked; chunks of open writers are read too. NOT_FOUND, DATA_LOSS (the chunk is then quarantined:
  // Has says no, so that it is fetched anew).
  virtual absl::StatusOr<StoredChunk> Read(const Digest& digest) = 0;
  // The same for each of `digests`, in their order; neighbours in a pack are read at once. The caller bounds how much.
  virtual std::vector<absl::StatusOr<ChunkView>> ReadMany(std::span<const Digest> digests) = 0;
  // Decompressed, SHA-256 not checked (XXH3 is): for local use.
  virtual absl::StatusOr<std::string> ReadRaw(const Digest& digest) = 0;

  // Removes chunks that `mark` does not report, and merges small packs when there are many. Runs beside commits and
  // reads: packs that are half empty are condemned, writers that were open before are waited for (10 minutes at most,
  // else nothing happens this time), `mark` is called again, survivors are copied, then the packs go. A chunk of a
  // condemned pack that Has or Put says yes to is a survivor too. So: keep a writer open from before the first Has
  // until the version is in the catalog, and do not drop versions while a collection runs. What is all dead goes first:
  // that needs no room. `mark` reports every live chunk digest, nodes included; when it fails, nothing is removed. OK
  // with a part done when a later part failed.
  using Mark = std::function<absl::Status(const std::function<void(const Digest&)>& live)>;
  struct GcResult {
    uint64_t freed_bytes = 0;
    uint64_t packs_removed = 0;
    absl::Duration waited;  // for writers, of the time that it took
  };
  // UNAVAILABLE: a writer that was open did not end soon; nothing was done.
  virtual absl::StatusOr<GcResult> CollectGarbage(const Mark& mark) = 0;

  // The same to the last dead byte: every pack that holds one goes or is written anew, without what is damaged in it:
  // that does not keep what must go. No `mark`: all is live but what redactions erase. UNAVAILABLE: a writer that was
  // open did not end in time, or a pack cannot be opened or read now; DATA_LOSS: one in which no record can be told had
  // to stay.
  virtual absl::StatusOr<GcResult> Purge(const Mark& mark) = 0;
  // Nothing stays: no data key, no chunk, no file in the store's directory, readable or not. Waits for open writers as
  // Purge does (UNAVAILABLE); nobody may begin a new one meanwhile. Done again after a crash it ends the same; the
  // store goes on, plain and empty.
  virtual absl::Status EraseAll() = 0;

  // How many of them lie in some pack, finished or not, readable or redacted or not.
  virtual absl::StatusOr<uint64_t> CountStored(std::span<const Digest> digests) = 0;

  virtual absl::StatusOr<StoreStats> Stats() = 0;

  virtual AtRest at_rest() = 0;
  // From here on everything is written encrypted, under a data key that `wrapping_key` wraps: made when there is none,
  // wrapped anew when another wraps it (no data is written again). What is plain stays until the next collection.
  // Durable on OK. Errors of the provider: nothing changed.
  virtual absl::Status Encrypt(const std::string& wrapping_key) = 0;
  // Tries again to open a locked dataset: its wrapping key may be back.
  virtual absl::Status Unlock() = 0;
  // Destroys the data key: what is in the packs is noise from here on, for everybody. Durable on OK; idempotent. False:
  // the dataset has no data key, its packs are plain. Locks the dataset; removing its files is left to the caller,
  // after which Unlock begins it anew.
  virtual absl::StatusOr<bool> CryptoErase() = 0;
};

}  // namespace bailiwick::store
