// The authority one flow runs on, checked before the first byte and at every window by each end on its own: the live
// mTLS peer, the pinned enrolment key behind its certificate, the signed grant, the signed policy. Deny on any doubt.
// One thread; Offer may be called from another.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/digest.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/policy/at_rest.h"
#include "common/policy/grant.h"
#include "common/store/version.h"
#include "services/agent/law/law.h"
#include "services/agent/transfer/stream.h"

namespace bailiwick::agent {

class FlowGuard {
 public:
  FlowGuard(const Law* law, const os::Clock* clock, std::string self, bool self_is_source, FrameStream* stream)
      : law_(law), clock_(clock), self_(std::move(self)), self_is_source_(self_is_source), stream_(stream) {}

  // What the flow is about; set once, before the first check.
  void SetVersion(const store::VersionRecord& record, const Digest& identity);
  void SetBinding(const crypto::Envelope& binding) { binding_ = binding; }
  // How the copy is kept at rest, before the first check: the receiver's own, with what hinders it; or the peer's word.
  void SetStorage(const policy::Storage& storage, const std::string& problem) {
    storage_ = storage;
    storage_problem_ = problem;
  }
  void SetStatement(const crypto::Envelope& statement) { statement_ = statement; }
  // The grant that counts from now on if it verifies; a bad one changes nothing.
  policy::GrantDecision Offer(const crypto::Envelope& grant);
  // Everything again, now.
  policy::GrantDecision Check();
  policy::Grant grant() const;

 private:
  policy::GrantDecision CheckWith(const policy::Grant& grant, const LawSnapshot& law);
  // Whether the version may still come to lie at the destination: neither end lets one past its retention pass.
  policy::GrantDecision CheckRetention(const policy::Grant& grant, const policy::GrantDecision& permit,
                                       const policy::World& world, const config::Classification& of,
                                       absl::Time now) const;
  // What the permit obliges of the copy at rest.
  policy::GrantDecision CheckAtRest(const policy::Grant& grant, const policy::GrantDecision& permit,
                                    const LawSnapshot& law);

  const Law* const law_;
  const os::Clock* const clock_;
  const std::string self_;
  const bool self_is_source_;
  FrameStream* const stream_;
  store::VersionRecord record_;
  Digest identity_;
  crypto::Envelope binding_;
  policy::Storage storage_;
  std::string storage_problem_;
  crypto::Envelope statement_;
  mutable absl::Mutex mutex_;
  crypto::Envelope envelope_ ABSL_GUARDED_BY(mutex_);
  policy::Grant grant_ ABSL_GUARDED_BY(mutex_);
  std::string verified_under_ ABSL_GUARDED_BY(mutex_);  // digest of the bundle whose keys verified grant and binding
  std::string verified_certificate_ ABSL_GUARDED_BY(mutex_);
  std::string first_grant_ ABSL_GUARDED_BY(mutex_);         // id of the grant that the statement is about
  std::string verified_statement_ ABSL_GUARDED_BY(mutex_);  // digest of the bundle under which it was verified
  policy::Storage stated_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
