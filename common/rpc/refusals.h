// Refused peers in the log and the audit log, so that nobody fills a disk by knocking. The first refusal of a peer for
// a reason is recorded at once. What follows is counted, and is one record with how often, since when and until when:
// after a minute, after two more, and so on up to one an hour; who was quiet for an hour begins anew. Names that
// nothing stands behind, which a knocker makes up, get kClaims records an hour together; the rest of theirs is counted
// under `many`, with how many names they were. So however many strangers knock, it is less than 2,000 records a day;
// and less than 100 for each peer that proved its name and reason.
//
// Nothing is left out of the counts: what cannot be recorded is tried again a minute later. What was counted and not
// recorded yet is lost with the process. Durable when Record returns for what it records. Thread-safe.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/audit/log.h"
#include "common/os/clock.h"
#include "common/rpc/gate.h"

namespace bailiwick::rpc {

class Refusals {
 public:
  static constexpr absl::Duration kEvery = absl::Minutes(1);
  static constexpr absl::Duration kSeldom = absl::Hours(1);
  static constexpr size_t kMaxPeers = 256;  // more at a time are counted as one
  static constexpr int kClaims = 20;
  static constexpr size_t kMaxNames = 65536;  // that `many` tells apart in one record; so many stand for more

  Refusals(audit::Log* audit, const os::Clock* clock) : audit_(audit), clock_(clock) {}
  void Record(const std::string& who, const absl::Status& why, Named named);
  // What was counted and not recorded yet, once it is due; with `all` whether or not. Call it every few seconds.
  void Flush(bool all);

 private:
  struct Count {
    absl::Time first, last;
    absl::Duration seen, due;  // boot time; a new one is due at once
    absl::Duration every;      // zero: nothing was recorded yet
    uint64_t pending = 0;
    std::string sentence;
    absl::flat_hash_set<size_t> names;  // their hashes; of `many` alone
  };
  using Key = std::tuple<std::string, std::string, Named>;  // who, code
  struct Due {
    Key key;
    Count count;
  };
  bool SpendClaim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Add(const Key& key, const Count& count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Close(const Key& key, std::vector<Due>* due) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Write(const Due& due) ABSL_LOCKS_EXCLUDED(mutex_);

  audit::Log* const audit_;
  const os::Clock* const clock_;
  absl::Mutex mutex_;
  std::map<Key, Count> counts_ ABSL_GUARDED_BY(mutex_);
  absl::Duration hour_began_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  int claims_ ABSL_GUARDED_BY(mutex_) = 0;  // of the hour
};

}  // namespace bailiwick::rpc
