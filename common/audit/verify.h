// Verifies the directory of an audit log (log.h), offline: every record against its entry, every entry against the
// tree, the tree against the signed checkpoint, the checkpoint against the keys that the reader trusts, and what
// witnesses signed against all that. One pass, memory for two hashes of each level and the tiles at hand. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/audit/trust.h"
#include "common/os/files.h"

namespace bailiwick::audit {

enum class Finding {
  kTrue,         // all of it
  kUnwitnessed,  // true by the log's own word, but those who must have signed it did not
  kIncomplete,   // nothing is false, but something that was signed is missing
  kTampered,     // something is not what was signed, or not signed by whom it must be
};
std::string_view FindingWord(Finding finding);

struct Verdict {
  Finding finding = Finding::kTrue;
  std::vector<std::string> problems;  // a sentence each, the first few
  std::string origin;
  uint64_t size = 0;              // records that the checkpoint covers
  uint64_t unsigned_records = 0;  // after it: true in themselves
  uint64_t payload_missing = 0;   // records of which there is only the commitment
  uint64_t witnessed = 0;         // records that the newest sufficiently witnessed checkpoint covers
  std::vector<std::string> witnesses;
  std::optional<absl::Time> witnessed_at;  // when the last of them signed it
  std::optional<absl::Time> newest_at;     // of the records that the log's own checkpoint covers
  uint64_t before = 0;  // records of before.log
};

// Witnesses who are away say nothing against a log. But the coordinator's records that one disputes it: what it wrote
// after the last witnessed checkpoint may then wait so long, by the times of its records, and counts as unwitnessed
// from then on.
inline constexpr char kDisputeKind[] = "coordinator-log-disputed";
inline constexpr absl::Duration kMaxDisputed = absl::Minutes(15);

struct VerifyOptions {
  bool commitments_only = false;  // records that are kept elsewhere are not missed
  // Whether all is as the checkpoint in the directory says, whoever signed it: finds damage, not who rewrote the whole.
  bool any_signer = false;
  // How many of the records that the checkpoint covers have been read; called from time to time.
  std::function<void(uint64_t read, uint64_t of)> progress;
};

// Errors are of reading, or INVALID_ARGUMENT: the trust policy knows no such log.
absl::StatusOr<Verdict> VerifyLog(os::Files* files, const std::string& directory, const Trust& trust,
                                  const VerifyOptions& options = {});

}  // namespace bailiwick::audit
