#include "services/agent/state/identity.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "bailiwick/enroll/v1/enroll.grpc.pb.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/os/tree.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"

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
  return crypto::SigningKey::FromPem(*pem);
}

// A new generation directory, then the link: whoever reads through "live" sees the old pair or the new one.
absl::Status InstallGeneration(AgentState* state, const std::string& key_pem, const std::string& chain_pem,
                               const std::string& ca_pem) {
  BW_RETURN_IF_ERROR(identity::CheckPair(chain_pem, key_pem));
  os::Files* files = state->env().files;
  const std::string dir = IdentityDir(state);
  BW_RETURN_IF_ERROR(files->MakeDirs(dir));
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, files->List(dir));
  uint64_t newest = 0;
  for (const std::string& name : names) {
    uint64_t n = 0;
    if (absl::StartsWith(name, "gen-") && absl::SimpleAtoi(name.substr(4), &n)) newest = std::max(newest, n);
  }
  const std::string generation = absl::StrCat("gen-", newest + 1);
  const std::string path = os::JoinPath(dir, generation);
  BW_RETURN_IF_ERROR(files->MakeDirs(path));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(path, "key.pem"), key_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(path, "cert.pem"), chain_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(path, "ca.pem"), ca_pem));
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> tree, os::OpenTree(dir));
  absl::Status stale = tree->RemoveFile("live.new");
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  BW_RETURN_IF_ERROR(tree->MakeSymlink("live.new", generation));
  BW_RETURN_IF_ERROR(tree->Rename("live.new", "live"));
  BW_RETURN_IF_ERROR(files->SyncDir(dir));
  if (newest > 1) return files->RemoveTree(os::JoinPath(dir, absl::StrCat("gen-", newest - 1)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<AgentIdentity>> AgentIdentity::Load(AgentState* state) {
  std::unique_ptr<AgentIdentity> self(new AgentIdentity());
  self->state_ = state;
  BW_ASSIGN_OR_RETURN(self->spiffe_id_, state->GetMeta("spiffe-id"));
  if (self->spiffe_id_.empty()) {
    return absl::NotFoundError(absl::StrCat("the agent in ", state->directory(),
                                            " has not joined yet; run: bailiwick-agent join --data-dir ",
                                            state->directory(), " --join STRING (from: bailiwick site join-token SITE)"));
  }
  BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(self->spiffe_id_));
  self->site_ = id.site;
  self->trust_domain_ = id.trust_domain;
  BW_ASSIGN_OR_RETURN(self->control_address_, state->GetMeta("control-address"));
  BW_ASSIGN_OR_RETURN(self->policy_root_, state->GetMeta("policy-root"));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey key, EnrolmentKey(state, false));
  self->enrolment_ = std::make_unique<crypto::SigningKey>(std::move(key));
  return self;
}

absl::Status AgentIdentity::Join(AgentState* state, const std::string& join_string) {
  std::string bytes;
  enroll::v1::JoinString join;
  if (!absl::StartsWith(join_string, "bwj1.") || !absl::WebSafeBase64Unescape(join_string.substr(5), &bytes) ||
      !join.ParseFromString(bytes) || join.token().empty() || join.join_address().empty() ||
      join.ca_sha256().size() != 32 || join.policy_root_sha256().size() != 32) {
    return absl::InvalidArgumentError(
        "that is not a join string; it starts with bwj1. and comes from: bailiwick site join-token SITE");
  }
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
  BW_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, rpc::JoinChannel(join.join_address(), join.ca_sha256(), ""));
  auto stub = enroll::v1::Enroll::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(state->env().clock->Now() + absl::Seconds(30)));
  context.set_wait_for_ready(false);
  enroll::v1::JoinResponse response;
  grpc::Status called = stub->Join(&context, request, &response);
  if (!called.ok()) return Annotate(rpc::FromGrpc(called), absl::StrCat("joining at ", join.join_address()));
  BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(response.spiffe_id()));
  if (id.kind != identity::Kind::kAgent) return absl::PermissionDeniedError("the coordinator gave an identity that is not an agent's");
  if (identity::CertificateSha256(response.ca_pem()) != join.ca_sha256()) {
    return absl::PermissionDeniedError("the coordinator gave another CA than the join string pins");
  }
  BW_RETURN_IF_ERROR(InstallGeneration(state, tls.private_key_pem, response.certificate_chain_pem(), response.ca_pem()));
  BW_RETURN_IF_ERROR(state->PutMeta("control-address", response.control_address()));
  BW_RETURN_IF_ERROR(state->PutMeta("policy-root", join.policy_root_sha256()));
  return state->PutMeta("spiffe-id", response.spiffe_id());
}

std::string AgentIdentity::credentials_directory() const { return os::JoinPath(IdentityDir(state_), "live"); }

absl::StatusOr<identity::CertificateInfo> AgentIdentity::certificate() const {
  BW_ASSIGN_OR_RETURN(std::string pem,
                      os::ReadFile(state_->env().files, os::JoinPath(credentials_directory(), "cert.pem"), 1 << 20));
  return identity::InspectCertificate(pem);
}

crypto::Envelope AgentIdentity::Binding() const {
  auto info = certificate();
  return rpc::SignBinding(spiffe_id_, info.ok() ? info->sha256 : "", *enrolment_);
}

absl::Status AgentIdentity::Install(const std::string& key_pem, const std::string& chain_pem, const std::string& ca_pem) {
  BW_ASSIGN_OR_RETURN(identity::CertificateInfo info, identity::InspectCertificate(chain_pem));
  if (info.uri != spiffe_id_) {
    return absl::PermissionDeniedError(absl::StrCat("the renewed certificate names ", info.uri, ", not ", spiffe_id_));
  }
  return InstallGeneration(state_, key_pem, chain_pem, ca_pem);
}

}  // namespace bailiwick::agent
