// The log as it was before it was a tree: one file of lines of JSON, each with the hash of the one before. Read only,
// so that what was recorded then can still be read and verified:
//
//   {"seq":7,"at":"..","kind":"..","subject":"..","detail":{..},"prev":"..","hash":".."}
//
// hash = SHA-256("bailiwick-audit-v1" NUL, the 32 bytes of prev, the line up to and without `,"hash":`). prev is the
// hash of the record before; 32 zero bytes for the first, whose seq is 1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/audit/record.h"
#include "common/base/digest.h"
#include "common/os/files.h"

namespace bailiwick::audit {

struct Chain {
  uint64_t records = 0;
  Digest head;  // hash of the last record
};

// The whole chain of a file. A last record that a crash tore does not count. DATA_LOSS names the first bad record.
absl::StatusOr<Chain> VerifyChain(os::Files* files, const std::string& path);

}  // namespace bailiwick::audit
