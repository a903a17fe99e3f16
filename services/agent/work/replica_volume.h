// The directory that replicas are laid out in, and whether it is the one that they were laid out in before: where a
// volume belongs that is not mounted lies an empty directory of the disk below, and what is laid out there is plain,
// fills that disk, and is hidden once the volume is back. A marker in it tells; a volume that was restored or moved to
// another device brings it along. It says whose the replicas are: two sites in one directory would lay out over each
// other. Thread-safe.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/agent/state/agent_state.h"

namespace bailiwick::agent {

class ReplicaVolume {
 public:
  static constexpr const char* kMarker = ".bailiwick-replicas";

  // `state` outlives this. `directory` is absolute. `owner`: the site, with its trust domain.
  ReplicaVolume(AgentState* state, std::string directory, std::string owner);
  // Before something is laid out; the first time it makes the marker. In the agent's data directory, on the same file
  // system, nothing needs one. FAILED_PRECONDITION: replicas lay here before, and the marker is missing; or another
  // site's lie here.
  absl::Status Use();
  // The same, of what lies there already: makes nothing.
  absl::Status Check();

 private:
  enum class Mark { kNone, kNobodys, kOurs };

  absl::StatusOr<Mark> Read() const;
  absl::StatusOr<bool> Known() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<bool> Apart() const;
  absl::Status Missing() const;

  AgentState* const state_;
  const std::string directory_;
  const std::string owner_;
  const std::string marker_;
  absl::Mutex mutex_;
  bool known_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bailiwick::agent
