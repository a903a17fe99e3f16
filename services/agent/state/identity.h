// Who this agent is: its enrolment key (made once, pinned by the policy bundle), its TLS certificate (renewed), where its
// coordinator is. Files in <data>/identity: enrolment.pem, live -> gen-N with key.pem, cert.pem, ca.pem; a renewal writes a new
// generation that verifies, then swaps the link. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/enroll/v1/enroll.pb.h"
#include "common/crypto/sign.h"
#include "common/identity/certificates.h"
#include "common/rpc/credential_store.h"
#include "common/rpc/proxy.h"
#include "services/agent/state/agent_state.h"
#include "services/agent/state/identity_proof.h"

namespace bailiwick::agent {

class AgentIdentity {
 public:
  // NOT_FOUND: the agent never joined.
  static absl::StatusOr<std::unique_ptr<AgentIdentity>> Load(AgentState* state);
  // A join string in parts: where to join, the hashes (hex) of the CA and of the policy root, a token. INVALID_ARGUMENT.
  static absl::StatusOr<enroll::v1::JoinString> JoinOf(const std::string& join_address, const std::string& ca_sha256,
                                                       const std::string& policy_root_sha256, const std::string& token);
  // NOT_FOUND, with the remedy: no agent is in the directory. DATA_LOSS: as AgentState::CheckDatabase. Looks only: nothing
  // is made.
  static absl::Status CheckThere(os::Files* files, const std::string& directory);
  // Whether this very string is the one that made this agent what it is.
  static absl::StatusOr<bool> Spent(AgentState* state, const enroll::v1::JoinString& join);
  // Spends the token and stores what came back. Working credentials are replaced only by working ones.
  static absl::Status Join(AgentState* state, const enroll::v1::JoinString& join, const rpc::Proxy& proxy);

  const std::string& spiffe_id() const { return spiffe_id_; }
  const std::string& site() const { return site_; }
  const std::string& control_address() const { return control_address_; }
  const std::string& trust_domain() const { return trust_domain_; }
  const std::string& policy_root_sha256() const { return policy_root_; }
  const crypto::SigningKey& enrolment_key() const { return *enrolment_; }
  std::string credentials_directory() const;  // .../identity/live
  identity::CertificateInfo certificate() const;  // in use now
  std::string roots() const;                      // PEM, trusted now
  std::shared_ptr<const IdentityProof> proof() const;
  // Puts these in place of those in use if they work at this time; an empty key and chain: only other roots. See
  // CredentialStore.
  absl::Status Install(rpc::Credentials credentials, absl::Time now);

 private:
  explicit AgentIdentity(AgentState* state);
  absl::Status Reload();
  AgentState* const state_;
  rpc::CredentialStore store_;
  absl::Mutex install_mutex_;
  mutable absl::Mutex mutex_;
  identity::CertificateInfo certificate_ ABSL_GUARDED_BY(mutex_);
  std::string roots_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const IdentityProof> proof_ ABSL_GUARDED_BY(mutex_);
  std::string spiffe_id_, site_, control_address_, trust_domain_, policy_root_;
  std::unique_ptr<crypto::SigningKey> enrolment_;
};

}  // namespace bailiwick::agent
