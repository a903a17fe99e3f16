// Versions in the catalog of which something on disk is damaged or gone. They count as held by nobody: the coordinator
// is not told of them, or by a home that they are damaged, so that it has them sent anew, and the flow that receives one
// looks at everything instead of at what the catalog calls complete. What they have is kept.
#pragma once

#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/ids.h"

namespace bailiwick::agent {

// Of one dataset. Thread-safe; who changes it makes that durable.
class Damage {
 public:
  absl::Mutex looking;  // held from a look at what is there until what was seen is Set

  bool Has(VersionNumber version) const {
    absl::MutexLock lock(&mutex_);
    return versions_.count(version) != 0;
  }
  std::set<VersionNumber> versions() const {
    absl::MutexLock lock(&mutex_);
    return versions_;
  }
  void Set(std::set<VersionNumber> versions) {
    absl::MutexLock lock(&mutex_);
    versions_ = std::move(versions);
  }

 private:
  mutable absl::Mutex mutex_;
  std::set<VersionNumber> versions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
