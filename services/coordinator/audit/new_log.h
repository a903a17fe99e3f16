// Ends the coordinator's audit log and begins another that names it: the way on when witnesses dispute the log, as they
// do for ever once an older copy of its directory was put back. The old log is kept beside it, whole, as what it is
// evidence of. Agents take the new one up and record that (`coordinator-log-replaced`, with the last that they saw of
// the old). Functions; the caller holds the lock of the data directory.
//
//   <data>/audit               the log
//   <data>/audit-before-<ID>   one that was ended
//   <data>/audit.new           the next one, which is whole before it takes the place of the other
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/audit/note.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/os/random.h"

namespace bailiwick::coordinator {

// Its first record after that which begins a log: `log`, `size` and `root` of the old one, `reason`.
inline constexpr char kLogBegunAnew[] = "log-begun-anew";

struct NewLog {
  audit::Checkpoint before, now;
  std::string kept;  // where the old one is
};
// The new log is signed by `key` under `name`. Durable on OK; after an error, or a loss of power, either log is in its
// place once FinishNewLog was called. NOT_FOUND: there is no log. DATA_LOSS: it is damaged, and stays as it is.
absl::StatusOr<NewLog> BeginNewLog(os::Files* files, const os::Clock* clock, os::Random* random,
                                   const std::string& data_dir, const std::string& name, const crypto::SigningKey& key,
                                   const std::string& reason);
// What it would end: the newest checkpoint of the log.
absl::StatusOr<audit::Checkpoint> LogToEnd(os::Files* files, const std::string& data_dir);
// Before the log is opened: puts a new one in its place if power went when only that was left to do. Idempotent.
absl::Status FinishNewLog(os::Files* files, const std::string& data_dir);

}  // namespace bailiwick::coordinator
