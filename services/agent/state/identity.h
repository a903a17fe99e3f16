// Who this agent is: its enrolment key (made once, pinned by the policy bundle), its TLS certificate (renewed), where its
// coordinator is. Files in <data>/identity: enrolment.pem, live -> gen-N with key.pem, cert.pem, ca.pem; a renewal writes a new
// generation, checks that key and certificate match, then swaps the link. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/crypto/sign.h"
#include "common/identity/certificates.h"
#include "services/agent/state/agent_state.h"

namespace bailiwick::agent {

class AgentIdentity {
 public:
  // NOT_FOUND: the agent never joined.
  static absl::StatusOr<std::unique_ptr<AgentIdentity>> Load(AgentState* state);
  // Spends the join string's token and stores what came back. Working credentials are replaced only by working ones.
  static absl::Status Join(AgentState* state, const std::string& join_string);

  const std::string& spiffe_id() const { return spiffe_id_; }
  const std::string& site() const { return site_; }
  const std::string& control_address() const { return control_address_; }
  const std::string& trust_domain() const { return trust_domain_; }
  const std::string& policy_root_sha256() const { return policy_root_; }
  const crypto::SigningKey& enrolment_key() const { return *enrolment_; }
  std::string credentials_directory() const;  // .../identity/live
  absl::StatusOr<identity::CertificateInfo> certificate() const;
  crypto::Envelope Binding() const;  // of the certificate in use now
  absl::Status Install(const std::string& key_pem, const std::string& chain_pem, const std::string& ca_pem);

 private:
  AgentIdentity() = default;
  AgentState* state_ = nullptr;
  std::string spiffe_id_, site_, control_address_, trust_domain_, policy_root_;
  std::unique_ptr<crypto::SigningKey> enrolment_;
};

}  // namespace bailiwick::agent
