#include "services/agent/state/identity.h"

#include <grpcpp/grpcpp.h>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "bailiwick/enroll/v1/enroll.grpc.pb.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/os/deadline.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"
#include "common/rpc/invitation.h"

namespace bailiwick::agent {
namespace {

std::string IdentityDir(AgentState* state) { return os::JoinPath(state->directory(), "identity"); }

absl::StatusOr<crypto::SigningKey> EnrolmentKey(AgentState* state, bool create) {
  os::Files* files = state->env().files;
  const std::string path = os::JoinPath(IdentityDir(state), "enrolment.pem");
  auto pem = os::ReadFile(files, path, 64 << 10);
  if (absl::IsNotFound(pem.status()) && create) {
    BW_ASSIGN_OR_RETURN(crypto::SigningKey key, crypto::SigningKey::Generate());
    BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, path, key.ToPem()));
    return key;
  }
  BW_RETURN_IF_ERROR(pem.status());
  absl::StatusOr<crypto::SigningKey> key = crypto::SigningKey::FromPem(*pem);
  if (key.ok()) return key;
  return Annotate(key.status(),
                  absl::StrCat(path, ", by which the site is known; put it back from a backup, or join anew"));
}

// After a join, also one that a crash interrupted: the credentials that were staged are the ones in use.
absl::Status FinishStaged(AgentState* state, rpc::CredentialStore& store) {
  BW_ASSIGN_OR_RETURN(std::string staged, state->GetMeta("staged"));
  if (staged.empty()) return absl::OkStatus();
  BW_RETURN_IF_ERROR(store.Swap(staged));
  return state->PutMeta("staged", "");
}

absl::Status NotJoined(const std::string& directory) {
  return absl::NotFoundError(absl::StrCat("the agent in ", directory,
                                          " has not joined yet; run: bailiwick-agent join --data-dir ", directory,
                                          " --join-file FILE (what bailiwick site join-token SITE printed)"));
}

}  // namespace

absl::Status AgentIdentity::CheckThere(os::Files* files, const std::string& directory) {
  BW_RETURN_IF_ERROR(AgentState::CheckDatabase(files, directory));
  BW_ASSIGN_OR_RETURN(const bool there, files->Exists(os::JoinPath(directory, "agent.db")));
  return there ? absl::OkStatus() : NotJoined(directory);
}

AgentIdentity::AgentIdentity(AgentState* state) : state_(state), store_(state->env().files, IdentityDir(state)) {}

absl::StatusOr<std::unique_ptr<AgentIdentity>> AgentIdentity::Load(AgentState* state) {
  std::unique_ptr<AgentIdentity> self(new AgentIdentity(state));
  BW_ASSIGN_OR_RETURN(self->spiffe_id_, state->GetMeta("spiffe-id"));
  if (self->spiffe_id_.empty()) return NotJoined(state->directory());
  BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(self->spiffe_id_));
  self->site_ = id.site;
  self->trust_domain_ = id.trust_domain;
  BW_ASSIGN_OR_RETURN(self->control_address_, state->GetMeta("control-address"));
  BW_ASSIGN_OR_RETURN(self->policy_root_, state->GetMeta("policy-root"));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey key, EnrolmentKey(state, false));
  self->enrolment_ = std::make_unique<crypto::SigningKey>(std::move(key));
  BW_RETURN_IF_ERROR(FinishStaged(state, self->store_));
  BW_RETURN_IF_ERROR(self->Reload());
  return self;
}

absl::StatusOr<enroll::v1::JoinString> AgentIdentity::JoinOf(const std::string& join_address,
                                                             const std::string& ca_sha256,
                                                             const std::string& policy_root_sha256,
                                                             const std::string& token) {
  enroll::v1::JoinString join;
  join.set_join_address(join_address);
  const auto hash = [](const std::string& hex) {
    return hex.size() == 64 && absl::c_all_of(hex, absl::ascii_isxdigit) ? absl::HexStringToBytes(hex) : std::string();
  };
  join.set_ca_sha256(hash(ca_sha256));
  join.set_policy_root_sha256(hash(policy_root_sha256));
  join.set_token(token);
  if (!join_address.empty()) BW_RETURN_IF_ERROR(Annotate(ParseHostPort(join_address).status(), "--coordinator"));
  if (!rpc::CheckJoinString(join).ok()) {
    return absl::InvalidArgumentError(
        "joining takes --join-file FILE, or --join STRING, or --coordinator HOST:PORT, --token TOKEN, and --ca-sha256 "
        "and --policy-root-sha256 with 64 hexadecimal digits each: bailiwick site join-token SITE -o json has them");
  }
  return join;
}

absl::StatusOr<bool> AgentIdentity::Spent(AgentState* state, const enroll::v1::JoinString& join) {
  BW_ASSIGN_OR_RETURN(std::string spent, state->GetMeta("join-token-sha256"));
  return spent == crypto::Sha256(join.token()).view();
}

absl::Status AgentIdentity::Join(AgentState* state, const enroll::v1::JoinString& join, const rpc::Proxy& proxy) {
  BW_RETURN_IF_ERROR(state->env().files->MakeDirs(IdentityDir(state)));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey enrolment, EnrolmentKey(state, true));
  BW_ASSIGN_OR_RETURN(identity::KeyPair tls, identity::NewTlsKey());
  enroll::v1::JoinRequest request;
  request.set_token(join.token());
  request.set_csr_der(tls.csr_der);
  request.set_enrolment_ed25519(enrolment.public_key());
  request.set_enrolment_proof(
      enrolment.Sign(absl::StrCat("bailiwick-join-v1", std::string(crypto::Sha256(tls.csr_der).view()), join.token())));
  request.set_incarnation(state->incarnation().str());
  BW_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                      rpc::JoinChannel(join.join_address(), join.ca_sha256(), "", proxy));
  auto stub = enroll::v1::Enroll::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(os::DeadlineIn(absl::Seconds(30)));
  context.set_wait_for_ready(false);
  enroll::v1::JoinResponse response;
  grpc::Status called = stub->Join(&context, request, &response);
  if (!called.ok()) return Annotate(rpc::FromGrpc(called), absl::StrCat("joining at ", join.join_address()));
  BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(response.spiffe_id()));
  if (id.kind != identity::Kind::kAgent)
    return absl::PermissionDeniedError("the coordinator gave an identity that is not an agent's");
  // What lies here was let in by the law of the site that it is at.
  BW_ASSIGN_OR_RETURN(const std::string known, state->GetMeta("spiffe-id"));
  if (auto was = identity::ParseSpiffeId(known); was.ok() && was->site != id.site) {
    return absl::FailedPreconditionError(absl::StrCat("the string, which is spent now, is for site ", id.site, ", and ",
                                                      state->directory(), " is that of site ", was->site,
                                                      "; give each site a directory of its own (--data-dir)"));
  }
  if (identity::CertificateSha256(response.ca_pem()) != join.ca_sha256()) {
    return absl::PermissionDeniedError("the coordinator gave another CA than the join string pins");
  }
  // What is known of this agent and what it presents change together: the link comes last, and until then Load goes by
  // what was there.
  rpc::CredentialStore store(state->env().files, IdentityDir(state));
  BW_ASSIGN_OR_RETURN(std::string staged,
                      store.Stage({tls.private_key_pem, response.certificate_chain_pem(), response.ca_pem()},
                                  response.spiffe_id(), state->env().clock->Now()));
  BW_RETURN_IF_ERROR(state->PutMeta({{"control-address", response.control_address()},
                                     {"join-address", join.join_address()},
                                     {"join-token-sha256", std::string(crypto::Sha256(join.token()).view())},
                                     {"policy-root", join.policy_root_sha256()},
                                     {"spiffe-id", response.spiffe_id()},
                                     {"staged", staged}}));
  return FinishStaged(state, store);
}

std::string AgentIdentity::credentials_directory() const { return os::JoinPath(IdentityDir(state_), "live"); }

absl::Status AgentIdentity::Reload() {
  BW_ASSIGN_OR_RETURN(rpc::Credentials credentials, store_.Load());
  BW_ASSIGN_OR_RETURN(identity::CertificateInfo info, identity::InspectCertificate(credentials.chain_pem));
  if (info.uri != spiffe_id_) {
    return absl::FailedPreconditionError(absl::StrCat("the certificate in ", store_.live(), " names ", info.uri,
                                                      ", this agent is ", spiffe_id_, "; join again"));
  }
  auto proof = std::make_shared<IdentityProof>();
  proof->chain_pem = credentials.chain_pem;
  for (const std::string& chain : store_.Chains()) {
    const std::string sha256 = identity::CertificateSha256(chain);
    if (!sha256.empty()) proof->bindings.push_back(rpc::SignBinding(spiffe_id_, sha256, *enrolment_));
  }
  absl::MutexLock lock(&mutex_);
  proof->generation = proof_ == nullptr ? 1 : proof_->generation + 1;
  certificate_ = info;
  roots_ = credentials.roots_pem;
  proof_ = std::move(proof);
  return absl::OkStatus();
}

identity::CertificateInfo AgentIdentity::certificate() const {
  absl::MutexLock lock(&mutex_);
  return certificate_;
}

std::string AgentIdentity::roots() const {
  absl::MutexLock lock(&mutex_);
  return roots_;
}

std::shared_ptr<const IdentityProof> AgentIdentity::proof() const {
  absl::MutexLock lock(&mutex_);
  return proof_;
}

absl::Status AgentIdentity::Install(rpc::Credentials credentials, absl::Time now) {
  absl::MutexLock lock(&install_mutex_);
  if (credentials.key_pem.empty()) {
    BW_ASSIGN_OR_RETURN(rpc::Credentials live, store_.Load());
    credentials.key_pem = live.key_pem;
    credentials.chain_pem = live.chain_pem;
  }
  BW_RETURN_IF_ERROR(store_.Install(credentials, spiffe_id_, now));
  return Reload();
}

}  // namespace bailiwick::agent
