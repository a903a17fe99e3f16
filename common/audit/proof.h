// One record with the proof that it is in a signed log (c2sp.org/tlog-proof): the record itself is the proof's extra
// data. Whoever holds the file and trusts the keys needs nothing else. And logs as others hand them over: export.
// Thread-safe functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/audit/tiles.h"
#include "common/audit/trust.h"
#include "common/audit/verify.h"
#include "common/os/files.h"

namespace bailiwick::audit {

inline constexpr std::string_view kProofMagic = "c2sp.org/tlog-proof@v1";

struct RecordProof {
  std::string line;  // the record, as it is written in the log
  uint64_t sequence = 0;
  std::vector<Digest> hashes;
  std::string checkpoint;  // a note

  std::string Encode() const;
  static absl::StatusOr<RecordProof> Parse(std::string_view text);  // INVALID_ARGUMENT
};

// INVALID_ARGUMENT: it is none, or of a log that the trust policy does not know.
absl::StatusOr<Verdict> VerifyProof(std::string_view text, const Trust& trust);

// The proof of a record in a log's directory. NOT_FOUND: the newest checkpoint does not cover it, or it is not here.
absl::StatusOr<RecordProof> ProveRecord(os::Files* files, const std::string& directory, uint64_t sequence);

// That the log in the directory begins with what `old_note` signed: OK, or DATA_LOSS. Signatures are the caller's.
absl::Status CheckConsistency(os::Files* files, const std::string& directory, const SignedCheckpoint& old_note,
                              const SignedCheckpoint& newest);

// Writes a log's directory from its records, in their order. Not thread-safe.
class LogWriter {
 public:
  LogWriter(os::Files* files, std::string directory) : files_(files), directory_(std::move(directory)) {}
  absl::Status Add(std::string_view line);  // DATA_LOSS: it is not the next record
  // DATA_LOSS: the records are not those that the checkpoint signed. Durable on OK.
  absl::Status Finish(const std::string& checkpoint, const std::string& witnessed);
  uint64_t size() const { return tree_.size(); }

 private:
  absl::Status Flush();
  os::Files* const files_;
  const std::string directory_;
  TileTree tree_;
  std::string payload_;  // of the file that is not full
};

}  // namespace bailiwick::audit
