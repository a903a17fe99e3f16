// The authority one flow runs on, checked before the first byte and at every window by each end on its own: the live
// mTLS peer, the pinned enrolment key behind its certificate, the signed grant, the signed policy. Deny on any doubt.
// One thread; Offer may be called from another.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/digest.h"
#include "common/crypto/sign.h"
#include "common/policy/at_rest.h"
#include "common/policy/grant.h"
#include "common/policy/hops.h"
#include "common/rpc/gate.h"
#include "common/rpc/provenance.h"
#include "common/store/version.h"
#include "services/agent/law/law.h"
#include "services/agent/transfer/stream.h"

namespace bailiwick::agent {

class FlowGuard {
 public:
  FlowGuard(const Law* law, std::shared_ptr<const rpc::Gate> gate, std::string self, bool self_is_source,
            FrameStream* stream)
      : law_(law), gate_(std::move(gate)), self_(std::move(self)), self_is_source_(self_is_source), stream_(stream) {}

  // What the flow is about; set once, before the first check.
  void SetVersion(const store::VersionRecord& record, const Digest& identity);
  void SetBindings(std::vector<crypto::Envelope> bindings) { bindings_ = std::move(bindings); }
  // The peer renewed its certificate: the flow may go on for as long as that one is valid. Denied, and nothing changes:
  // it is not valid by these roots, not of the peer, or not bound by its pinned key.
  policy::GrantDecision OfferIdentity(const std::string& chain_pem, const crypto::Envelope& binding,
                                      const std::string& roots_pem);
  // How the copy is kept at rest, before the first check: the receiver's own, with what hinders it; or the peer's word.
  void SetStorage(const policy::Storage& storage, const std::string& problem) {
    storage_ = storage;
    storage_problem_ = problem;
  }
  void SetStatement(const crypto::Envelope& statement) { statement_ = statement; }
  // By which hops the version came, before the first check: to the source, as it kept them; or to the receiver, as the
  // source says, the hop of this flow at their end.
  void SetProvenance(rpc::Chain chain) { provenance_ = std::move(chain); }
  // Whether the grant would be accepted from a peer that is who it names and keeps the copy as it must. For a source
  // that dials, before it says anything.
  policy::GrantDecision Foresee(const crypto::Envelope& grant, policy::Grant* opened);
  // Those hops, as verified by the law of the last check; at the home: none. Nothing: not known.
  std::optional<rpc::Chain> chain() const;
  bool HopsUnmet();                           // whether by the law of now the version has come too far
  bool Leads(const rpc::Chain& chain) const;  // whether a chain leads here, by the law of now
  // The grant that counts from now on if it verifies; a bad one changes nothing.
  policy::GrantDecision Offer(const crypto::Envelope& grant);
  // Everything again, now.
  policy::GrantDecision Check();
  policy::Grant grant() const;

 private:
  // What is known of the hops behind the source's copy, by one law.
  struct Trail {
    std::string law;       // digest of its bundle
    uint64_t record = 0;   // revision of the classification
    bool bounded = false;  // it matters
    bool known = false;
    std::string code, message;  // why it is not, or cannot be judged
    size_t hops = 0;
    policy::HopLimit carried;
  };
  policy::GrantDecision CheckWith(const policy::Grant& grant, const LawSnapshot& law);
  policy::GrantDecision CheckPeer(const LawSnapshot& law, std::string* uri);
  policy::GrantDecision CheckFlow(const policy::Grant& grant, const std::string& peer, const LawSnapshot& law);
  // Whether the version may still come to lie at the destination: neither end lets one past its retention pass.
  policy::GrantDecision CheckRetention(const policy::Grant& grant, const policy::GrantDecision& permit,
                                       const policy::World& world, const config::Classification& of,
                                       absl::Time now) const;
  // How far the version may go.
  policy::GrantDecision CheckHops(const policy::Grant& grant, const policy::GrantDecision& permit,
                                  const config::Classification& what, const LawSnapshot& law, absl::Time now);
  rpc::ChainOf Way(const config::Classification& what) const;  // that a chain to this site has to lead
  Trail FollowTrail(const config::Classification& what, const LawSnapshot& law) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the permit obliges of the copy at rest.
  policy::GrantDecision CheckAtRest(const policy::Grant& grant, const policy::GrantDecision& permit,
                                    const LawSnapshot& law);

  const Law* const law_;
  const std::shared_ptr<const rpc::Gate> gate_;
  const std::string self_;
  const bool self_is_source_;
  FrameStream* const stream_;
  store::VersionRecord record_;
  Digest identity_;
  std::vector<crypto::Envelope> bindings_;
  policy::Storage storage_;
  std::string storage_problem_;
  crypto::Envelope statement_;
  rpc::Chain provenance_;
  mutable absl::Mutex mutex_;
  crypto::Envelope envelope_ ABSL_GUARDED_BY(mutex_);
  policy::Grant grant_ ABSL_GUARDED_BY(mutex_);
  std::string verified_under_ ABSL_GUARDED_BY(mutex_);  // digest of the bundle whose keys verified grant and binding
  std::string verified_certificate_ ABSL_GUARDED_BY(mutex_);
  absl::Time proven_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // by a certificate that came later
  policy::Grant first_grant_ ABSL_GUARDED_BY(mutex_);  // that the statement and the last hop are about
  Trail trail_ ABSL_GUARDED_BY(mutex_);
  std::string verified_statement_ ABSL_GUARDED_BY(mutex_);  // digest of the bundle under which it was verified
  policy::Storage stated_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::agent
