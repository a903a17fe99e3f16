// Reads every copy here back, chunk by chunk against its digest, once a month and slowly, so that rot is found while
// another site still has what it took. What is damaged is quarantined (DatasetStore::Read); nothing is dropped. When
// each copy was last read whole, and what was found, is durable in agent.db; a verification that an admin asked for
// counts too. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/agent/state/agent_state.h"
#include "services/agent/work/verify.h"

namespace bailiwick::agent {

class Scrubber {
 public:
  static constexpr absl::Duration kEvery = absl::Hours(30 * 24);
  static constexpr uint64_t kBytesPerSecond = 32 << 20;  // a fraction of what a disk reads: others have work to do

  struct Result {
    absl::Time at;         // when it was last read whole; where it never was, when it was seen here first
    uint64_t damaged = 0;  // chunks that were not what they must be
  };

  // `state` outlives this.
  explicit Scrubber(AgentState* state) : state_(state) {}
  ~Scrubber() { Stop(); }

  // Begins to look, every ten minutes, for the copy whose turn it is. `may_read`: whether it is in use and can be read.
  // `read`: what was found in it; called on the scrubber's thread.
  void Start(std::function<bool(DatasetHandle&)> may_read,
             std::function<void(DatasetHandle&, const VerifyReport&)> read);
  void Stop();  // a copy that is being read will be read anew

  // Durable on OK, also the beginning for a copy that was not known.
  absl::StatusOr<Result> Of(const DatasetHandle& dataset);
  // All versions of it were read.
  absl::Status Note(const DatasetHandle& dataset, const VerifyReport& report);
  // What was damaged is here again, verified when it came. Durable on OK.
  absl::Status Healed(const DatasetHandle& dataset);
  // Reads it now. CANCELLED: Stop.
  absl::StatusOr<VerifyReport> ReadBack(DatasetHandle& dataset);

 private:
  void Run();
  void Look();
  absl::Status Put(const DatasetHandle& dataset, const Result& result);

  AgentState* const state_;
  std::function<bool(DatasetHandle&)> may_read_;
  std::function<void(DatasetHandle&, const VerifyReport&)> read_;
  std::map<DatasetId, absl::Time> failed_;  // when last; the thread's own
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  std::map<DatasetId, Result> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
