// How one audit record is written: a line of JSON that sha256sum and jq can check as well.
//
//   {"seq":7,"at":"2026-11-23T12:00:00.123456789Z","kind":"...","subject":"...","detail":{...},"prev":"..",
//    "hash":".."}  (one line; prev and hash in hex)
//
// hash = SHA-256("bailiwick-audit-v1" NUL, the 32 bytes of prev, the line up to and without `,"hash":`). prev is the
// hash of the record before; 32 zero bytes for the first. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/audit/log.h"
#include "common/base/digest.h"

namespace bailiwick::audit {

inline constexpr size_t kMaxDetail = 64 << 10;  // a decision, not a document
inline constexpr size_t kMaxName = 4096;        // kind, subject
inline constexpr size_t kMaxLine = 256 << 10;   // with all escapes; longer is no record of ours

struct Encoded {
  std::string line;  // with its line end
  Digest hash;
};

// INVALID_ARGUMENT: an empty kind, a detail that is not one JSON object, or too long. An empty detail is {}.
absl::StatusOr<std::string> CompactDetail(std::string_view detail);
absl::Status CheckNames(std::string_view kind, std::string_view subject);

// `detail` as CompactDetail gave it.
Encoded Encode(const Record& record, const Digest& previous);

struct Decoded {
  Record record;
  Digest hash;
};

// A line without its end. DATA_LOSS with the reason unless it is record `sequence` after `previous`.
absl::StatusOr<Decoded> Decode(std::string_view line, uint64_t sequence, const Digest& previous);
// Whether the line is a record that is true in itself, wherever it belongs.
bool IsSomeRecord(std::string_view line);

Digest FirstPrevious();

}  // namespace bailiwick::audit
