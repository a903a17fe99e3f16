// Append-only log of decisions. Each record is an entry of a Merkle tree (RFC 6962) whose root is signed now and then,
// so that a record that was changed, dropped or moved is found by whoever holds a checkpoint, also one that was saved
// long ago, and one record can be proved without showing the others. In a directory:
//
//   checkpoint     the newest signed root: a signed note (c2sp.org/tlog-checkpoint)
//   witnessed      the newest checkpoint that others have cosigned, with their signatures; absent: none yet
//   tile/          the tree (c2sp.org/tlog-tiles): commitments, times and kinds of records, nothing else of them; its
//                  partial files are those of the two checkpoints (tiles.h)
//   payload/<N>    the records, kPayloadRecords a file, one a line (record.h): what must not leave the region
//   before.log     what an older build recorded, as it was (chain.h); its last hash is in the record `log-continued`
//
// Invariants: a record is durable in payload/ before Append returns: callers record, then act. A checkpoint covers only
// durable records, and its tiles are durable before it; what was signed once is never signed otherwise. Records after
// the last checkpoint are found again by Open. The first record, `log-began`, names the log: its origin is
// NAME/audit/<first 16 hex digits of the hash of that entry>, NAME being the signer's.
//
// Thread-safe; concurrent Appends share one fsync. No record is ever deleted by the log itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/audit/note.h"
#include "common/audit/record.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/os/random.h"

namespace bailiwick::audit {

inline constexpr uint64_t kPayloadRecords = 4096;
inline constexpr size_t kMaxOwed = 1024;
inline constexpr uint64_t kMaxRead = 10'000;  // records or entries that one call returns

std::string PayloadPath(uint64_t sequence);  // below the log's directory

class Log {
 public:
  // Creates the log, or recovers it: a torn last record (it was never acknowledged) is cut off. A file <directory>.log
  // of an older build is moved in as before.log. DATA_LOSS: what was acknowledged or signed is damaged; the log is left
  // as it is.
  static absl::StatusOr<std::unique_ptr<Log>> Open(os::Files* files, const os::Clock* clock, os::Random* random,
                                                   const std::string& directory);
  virtual ~Log() = default;  // signs what is not signed yet, when it can

  // The record's sequence. INVALID_ARGUMENT: not a record. Any other error: it is not recorded, so what it is about
  // must not be done; after a full disk later ones can succeed.
  virtual absl::StatusOr<uint64_t> Append(const std::string& kind, const std::string& subject,
                                          const std::string& detail) = 0;
  // Of what only reads, or makes things safer: a disk without space (RESOURCE_EXHAUSTED) is no reason to refuse it. The
  // record is then owed: kept in memory and written, with the time of now, before any later one. A crash before that
  // loses it; kMaxOwed are kept.
  virtual absl::Status AppendOrOwe(const std::string& kind, const std::string& subject, const std::string& detail) = 0;
  virtual absl::StatusOr<std::vector<Record>> Read(uint64_t from, uint64_t limit) = 0;
  // As they are written, with salt and hash.
  virtual absl::StatusOr<std::vector<std::string>> ReadLines(uint64_t from, uint64_t limit) = 0;
  virtual uint64_t size() const = 0;   // durable records
  virtual uint64_t bytes() const = 0;  // of them in payload/

  // From now on checkpoints are signed with this key, under this name. FAILED_PRECONDITION: the name is none.
  virtual absl::Status SignAs(const std::string& name, const crypto::SigningKey& key) = 0;
  // A checkpoint of all that is durable, unless the last one is just that. Durable on OK. No-op before SignAs.
  virtual absl::Status Sign() = 0;
  virtual std::string origin() const = 0;      // empty before SignAs
  virtual std::string checkpoint() const = 0;  // the newest, as a note; empty: none yet
  // Keeps a checkpoint of this log with what others signed on it, when it is newer than the one kept or has more
  // signatures on it. The caller has verified them. Durable on OK, and so are the tiles of its size.
  virtual absl::Status PutWitnessed(const Note& note) = 0;
  virtual std::string witnessed() const = 0;

  // Of signed entries: as they lie in the tree, and that the tree of `size` begins with that of `old_size`; sizes up to
  // that of the newest checkpoint.
  virtual absl::StatusOr<std::vector<std::string>> Entries(uint64_t from, uint64_t limit) = 0;
  virtual absl::StatusOr<std::vector<Digest>> Consistency(uint64_t old_size, uint64_t size) = 0;
  virtual absl::StatusOr<std::vector<Digest>> Inclusion(uint64_t sequence, uint64_t size) = 0;
  virtual absl::StatusOr<Digest> Root(uint64_t size) = 0;
};

}  // namespace bailiwick::audit
