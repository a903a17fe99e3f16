// The coordinator's CA: signs certificates, and is replaced by a new one without anybody noticing.
//
// A new CA is published first: its root is trusted beside the old one and told to everybody. One life of an agent's
// certificate later it signs, and the key of the old one is destroyed. An old root is trusted until the last
// certificate under it has expired. Each new root comes with a link, its certificate signed by the CA before, which
// travels in every chain: who slept through the overlap is led from the root that it knows.
//
// Invariants: there is always one that signs; who is trusted is durable before anything is issued that needs it; what
// was issued leads to a root of Roots() until it expires. Thread-safe.
//   <dir>/cert.pem, key.pem (the first), gen-N/{cert,key,link}.pem, generations (text: number, when published, until
//   when trusted; seconds)
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "common/os/files.h"

namespace bailiwick::coordinator {

// Told of what is done to identities without anybody asking for it, before it is done; an error: it is not done now.
using RecordIdentity =
    std::function<absl::Status(const std::string& kind, const std::string& subject, const std::string& detail)>;

class Authority {
 public:
  static constexpr absl::Duration kLife = absl::Hours(24 * 3650);  // of a root's certificate
  static constexpr size_t kMaxTrusted = 8;                         // no further rotation while so many are

  struct Options {
    absl::Duration leaf_life = identity::kAgentCertificateLife;  // of machines' certificates, at most 24 h
    absl::Duration rotate_every = kLife / 2;
    RecordIdentity record;  // empty: nobody is told
  };
  // NOT_FOUND: there is no CA in `directory`. DATA_LOSS: what is there does not go together.
  static absl::StatusOr<std::unique_ptr<Authority>> Open(os::Files* files, const os::Clock* clock,
                                                         const std::string& directory, const std::string& trust_domain,
                                                         const Options& options);

  // A chain: the leaf, the CA that signed it, the one before, then links: who knows one of the last dozen roots is led
  // to it. Errors as identity::IssueCertificate.
  absl::StatusOr<std::string> Issue(std::string_view csr_der, const identity::SpiffeId& id, absl::Duration life,
                                    absl::Time earliest = absl::InfinitePast());
  absl::Duration leaf_life() const { return options_.leaf_life; }
  std::string Roots() const;   // PEM, all that are trusted now, the one that signs first
  std::string Signer() const;  // PEM, the one that signs
  // What time brings: a rotation that is due begins, one that began goes on. True: Roots() or Signer() changed.
  absl::StatusOr<bool> Tick();
  // Begins one now, which the caller has recorded. FAILED_PRECONDITION: one is going on, or too many are trusted still.
  absl::Status Rotate();
  absl::Status MayRotate() const;  // whether Rotate would begin one
  enum class State { kSigns, kNext, kTrusted };
  struct Known {
    std::string certificate_pem;
    State state = State::kTrusted;
    absl::Time signs_from;     // of the next one
    absl::Time trusted_until;  // of one that signs no more
  };
  std::vector<Known> List() const;  // all that are trusted now, the one that signs first

 private:
  struct Generation {
    uint64_t number = 1;
    identity::CertificateAuthority ca;  // the key is empty once destroyed
    std::string link;                   // empty: the first
    absl::Time published, trusted_until;
  };
  Authority(os::Files* files, const os::Clock* clock, std::string directory, std::string trust_domain, Options options);
  std::string PathOf(const Generation& generation) const;
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadGeneration(Generation* generation);
  absl::Status Persist() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MayRotateLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RotateLocked(bool by_itself) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t SignerIndex() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Trusted(size_t index) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string RootsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Record(const std::string& kind, uint64_t generation, const std::string& by)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DestroyOldKeys() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  os::Files* const files_;
  const os::Clock* const clock_;
  const std::string directory_;
  const std::string trust_domain_;
  const Options options_;
  mutable absl::Mutex mutex_;
  std::vector<Generation> generations_ ABSL_GUARDED_BY(mutex_);       // oldest first
  std::string said_ ABSL_GUARDED_BY(mutex_);                          // roots as of the last Tick
  std::map<std::string, uint64_t> recorded_ ABSL_GUARDED_BY(mutex_);  // of each kind the last, for who tries again
};

}  // namespace bailiwick::coordinator
