// Grants that this site signs itself while the coordinator is out of its reach: only where the signed law delegates
// flows between the two regions, only while the law was called current recently enough, only what the law permits, and
// never while there is a session with the coordinator. Both ends judge the flow anew under such a grant. Thread-safe.
#pragma once

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/audit/log.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/os/random.h"
#include "common/store/catalog.h"
#include "services/agent/law/law.h"

namespace bailiwick::agent {

class SelfGranter {
 public:
  // Without a session for so long the coordinator counts as out of reach: a restart of it is over sooner.
  static constexpr absl::Duration kAwayAfter = absl::Seconds(15);
  static constexpr absl::Duration kGrantLife = absl::Minutes(5);

  struct Environment {
    const Law* law = nullptr;
    const os::Clock* clock = nullptr;
    os::Random* random = nullptr;
    audit::Log* audit = nullptr;
    std::function<std::string()> self;        // own SPIFFE id
    const crypto::SigningKey* key = nullptr;  // the one that the signed registry pins
  };
  struct Flow {
    std::string transfer_id;
    store::CatalogVersion version;
    std::string destination;  // SPIFFE id
    std::string purpose;
  };

  explicit SelfGranter(Environment env) : env_(std::move(env)), away_from_(env_.clock->BootTime()) {}

  // What the session says; told often. Before the first word there is none.
  void SetConnected(bool connected);
  bool away() const;
  absl::Duration away_for() const;  // zero: there is a session
  // Until when this site may grant itself flows to that one, as things stand; the infinite past: not at all.
  absl::Time Until(const std::string& destination_site) const;
  // Recorded durably in the audit log before it is signed. FAILED_PRECONDITION: the coordinator is in reach.
  // PERMISSION_DENIED: not delegated, the law is too old for it or does not permit it; the sentence says which.
  absl::StatusOr<crypto::Envelope> Grant(const Flow& flow) const;

 private:
  const Environment env_;
  mutable absl::Mutex mutex_;
  bool connected_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration away_from_ ABSL_GUARDED_BY(mutex_);  // time since boot
};

}  // namespace bailiwick::agent
