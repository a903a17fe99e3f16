// Versions whose content the home gave up because other sites hold it (Dataset's dropAfterCopies). Their records and
// manifests stay: the next version is built on them.
//
// Invariant: what of a version is not here is in every version from its base on to it, the base included; the base is
// the newest one before it that was given up. So who has the base, or one between, gets the rest from here.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "common/base/ids.h"

namespace bailiwick::agent {

// Of one dataset. Thread-safe; who changes it makes that durable.
class Dropped {
 public:
  using Versions = std::map<VersionNumber, std::vector<std::string>>;  // and who held them then

  bool empty() const {
    absl::MutexLock lock(&mutex_);
    return versions_.empty();
  }
  Versions versions() const {
    absl::MutexLock lock(&mutex_);
    return versions_;
  }
  void Set(Versions versions) {
    absl::MutexLock lock(&mutex_);
    versions_ = std::move(versions);
  }
  // The version itself when it was given up; 0: it is whole.
  VersionNumber BaseOf(VersionNumber version) const {
    absl::MutexLock lock(&mutex_);
    auto after = versions_.upper_bound(version);
    return after == versions_.begin() ? 0 : std::prev(after)->first;
  }
  // Why its content is not all here, and where it is; empty: it is all here.
  std::string Why(const std::string& dataset, VersionNumber version) const {
    const VersionNumber base = BaseOf(version);
    if (base == 0) return "";
    std::vector<std::string> sites;
    {
      absl::MutexLock lock(&mutex_);
      auto it = versions_.find(base);
      if (it != versions_.end()) sites = it->second;
    }
    const std::string where =
        sites.empty() ? "other sites hold that"
                      : absl::StrCat(absl::StrJoin(sites, ", "), " held that then; ask there: --site ", sites.front());
    return base == version ? absl::StrCat("the home gave up its content of version ", version, " of ", dataset,
                                          " (dropAfterCopies); ", where)
                           : absl::StrCat("the home has of version ", version, " of ", dataset,
                                          " only what differs from version ", base, " (dropAfterCopies); ", where);
  }

 private:
  mutable absl::Mutex mutex_;
  Versions versions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
