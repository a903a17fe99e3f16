// Versions in the catalog of which something on disk is damaged or gone. They count as held by nobody: the coordinator
// is not told of them, or by a home that they are damaged, so that it has them sent anew. A flow that receives a
// version while there are any looks at everything instead of at what the catalog calls complete: what is damaged may be
// the new one's, too. What they have is kept.
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
  // Others of which something is gone: committed here by a home of then, they stay announced, and nobody sends them
  // anew.
  std::set<VersionNumber> lacking() const {
    absl::MutexLock lock(&mutex_);
    return lacking_;
  }
  void SetLacking(std::set<VersionNumber> versions) {
    absl::MutexLock lock(&mutex_);
    lacking_ = std::move(versions);
  }
  bool any() const {
    absl::MutexLock lock(&mutex_);
    return !versions_.empty() || !lacking_.empty();
  }
  // False: somebody is about to look already. Looking says that he begins.
  bool Suspect() {
    absl::MutexLock lock(&mutex_);
    return !std::exchange(suspected_, true);
  }
  void Looking() {
    absl::MutexLock lock(&mutex_);
    suspected_ = false;
  }
  // The store's losses that both account for: all versions were looked at since, but those that were given up.
  void Looked(uint64_t losses) {
    absl::MutexLock lock(&mutex_);
    looked_ = losses;
  }
  bool Accounts(uint64_t losses) const {
    absl::MutexLock lock(&mutex_);
    return looked_ >= losses;
  }

 private:
  mutable absl::Mutex mutex_;
  std::set<VersionNumber> versions_ ABSL_GUARDED_BY(mutex_);
  std::set<VersionNumber> lacking_ ABSL_GUARDED_BY(mutex_);
  bool suspected_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t looked_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace bailiwick::agent
