// How a record of the log is written. In its region, as a line of JSON that sha256sum and jq can check as well:
//
//   {"seq":7,"at":"2026-11-23T12:00:00.123456789Z","kind":"...","subject":"...","detail":{...},"salt":"..","hash":".."}
//
// hash = SHA-256("bailiwick-audit-v2" NUL, the 16 bytes of salt, the line up to and without `,"salt":`): a commitment
// that tells nothing of the line to who has not got the salt. And as what the tree is made of, which may leave the
// region, the entry:
//
//   bailiwick-audit/2 2026-11-23T12:00:00.123456789Z grant-accepted <hash>
//
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"

namespace bailiwick::audit {

struct Record {
  uint64_t sequence = 0;  // from 0, no gaps: its index in the tree
  absl::Time at;
  std::string kind;     // grant-accepted, transfer-refused, transfer-ended, version-dropped, policy-installed, ...
  std::string subject;  // dataset, site, transfer: ids and digests, never names of files
  std::string detail;   // JSON object
};

inline constexpr size_t kMaxDetail = 64 << 10;  // a decision, not a document
inline constexpr size_t kMaxKind = 64;
inline constexpr size_t kMaxSubject = 4096;
inline constexpr size_t kMaxLine = 256 << 10;  // with all escapes; longer is no record of ours
inline constexpr size_t kSaltBytes = 16;

// INVALID_ARGUMENT: a detail that is not one JSON object, or too long. An empty detail is {}.
absl::StatusOr<std::string> CompactDetail(std::string_view detail);
// INVALID_ARGUMENT: a kind that is not lower-case words joined by dashes, or a name that is too long.
absl::Status CheckNames(std::string_view kind, std::string_view subject);

struct Encoded {
  std::string line;   // with its line end
  std::string entry;  // of the tree
};
// `detail` as CompactDetail gave it.
Encoded Encode(const Record& record, std::string_view salt);

struct Decoded {
  Record record;
  std::string salt;   // hex
  std::string entry;  // of the tree
};
// A line without its end. DATA_LOSS with the reason unless it is record `sequence`.
absl::StatusOr<Decoded> Decode(std::string_view line, uint64_t sequence);
// The same of a line that is only compared with the tree, at half the price.
absl::StatusOr<std::string> EntryOf(std::string_view line, uint64_t sequence);
// Whether the line is a record that is true in itself, wherever it belongs.
bool IsSomeRecord(std::string_view line);

// What an entry tells without its record. DATA_LOSS: it is none of ours.
struct Entry {
  absl::Time at;
  std::string kind;
  Digest hash;
};
absl::StatusOr<Entry> DecodeEntry(std::string_view entry);

}  // namespace bailiwick::audit
