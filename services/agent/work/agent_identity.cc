// The agent's own credentials: renewed in time, taken from files that somebody else renews, or got anew by the
// enrolment key when they expired while it slept. And whom it believes, as the coordinator says.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bailiwick/enroll/v1/enroll.grpc.pb.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/identity/verify.h"
#include "common/os/deadline.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"
#include "common/telemetry/log.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr char kTrustKey[] = "trust";
constexpr char kJoinAddressKey[] = "join-address";
constexpr absl::Duration kCall = absl::Seconds(30);
// Without a session for so long it is asked at the join port what time it is: a clock that is behind hides an expiry.
constexpr absl::Duration kAskTheTimeAfter = absl::Seconds(10);
constexpr absl::Duration kRecoverEvery = absl::Seconds(15);

std::string Combined(const std::string& one, const std::string& two) {
  std::set<std::string> seen;
  std::string all;
  for (const std::string& pem : {one, two}) {
    auto split = identity::SplitPem(pem, identity::kMaxRoots, true);
    if (!split.ok()) continue;
    for (const std::string& root : *split) {
      if (seen.insert(root).second) all += root;
    }
  }
  return all;
}

}  // namespace

void Agent::LookAtIdentity() {
  const absl::Duration boot = state_->env().clock->BootTime();
  const absl::Time now = gate_->Now();
  const identity::CertificateInfo info = identity_->certificate();
  const bool connected = session_->connected();
  bool recover = false;
  {
    absl::MutexLock lock(&mutex_);
    if (connected || away_since_ == absl::ZeroDuration()) away_since_ = boot;
    const bool expired = now >= info.not_after;
    recover = !connected && external_credentials_.empty() && boot >= next_recovery_ &&
              (expired || boot - away_since_ >= kAskTheTimeAfter);
    if (recover) next_recovery_ = boot + kRecoverEvery;
  }
  absl::Status status;
  if (!external_credentials_.empty()) {
    status = TakeExternal();
  } else if (connected && now >= info.renew_at()) {
    status = RenewCertificate();
  } else if (recover) {
    status = Recover(now >= info.not_after);
  }
  if (connected && session_->credentials() != identity_->proof()->generation) {
    session_->Refresh().IgnoreError();  // said by the session when it breaks; again in a second
  }
  const std::string error(status.message());
  absl::MutexLock lock(&mutex_);
  if (!status.ok() && error != identity_error_) Log(Level::kError, "certificate-not-renewed", {{"error", status}});
  identity_error_ = error;
  if (!status.ok() && external_credentials_.empty()) {
    // Not asked again at once: a coordinator in need gets no storm of requests.
    next_identity_look_ = boot + std::clamp((info.not_after - now) / 20, absl::Seconds(1), absl::Minutes(1));
  }
  looking_at_identity_ = false;
}

absl::Status Agent::TakeExternal() {
  BW_ASSIGN_OR_RETURN(rpc::Credentials external, rpc::ReadExternal(state_->env().files, external_credentials_));
  const std::shared_ptr<const IdentityProof> live = identity_->proof();
  const std::string roots = Combined(external.roots_pem, identity_->roots());
  if (live->chain_pem == external.chain_pem && roots == identity_->roots()) return absl::OkStatus();
  external.roots_pem = roots;
  BW_RETURN_IF_ERROR(
      Annotate(rpc::CheckCredentials(external, identity_->spiffe_id(), gate_->Now()), external_credentials_));
  if (live->chain_pem != external.chain_pem && recorded_chain_ != external.chain_pem) {
    BW_ASSIGN_OR_RETURN(std::string detail, rpc::CertificateDetail(external.chain_pem));
    BW_RETURN_IF_ERROR(
        state_->audit()->AppendOrOwe("certificate-installed", absl::StrCat("site/", identity_->site()), detail));
    recorded_chain_ = external.chain_pem;
  }
  BW_RETURN_IF_ERROR(Annotate(identity_->Install(std::move(external), gate_->Now()), external_credentials_));
  Log(Level::kInfo, "certificate-renewed", {{"from", external_credentials_}});
  return absl::OkStatus();
}

absl::Status Agent::MayRenew() {
  if (!external_credentials_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the certificate is renewed in ", external_credentials_, " by somebody else"));
  }
  return session_->connected() ? absl::OkStatus() : absl::UnavailableError("the coordinator is out of reach");
}

absl::Status Agent::RenewNow() {
  BW_RETURN_IF_ERROR(MayRenew());
  return RenewCertificate();
}

absl::Status Agent::RenewCertificate() {
  absl::MutexLock one(&renew_mutex_);
  auto channel = session_->channel();
  if (channel == nullptr) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(identity::KeyPair key, identity::NewTlsKey());
  agent::v1::RenewRequest request;
  request.set_csr_der(key.csr_der);
  request.set_enrolment_ed25519(identity_->enrolment_key().public_key());
  request.set_enrolment_proof(identity_->enrolment_key().Sign(
      absl::StrCat("bailiwick-renew-v1", std::string(crypto::Sha256(key.csr_der).view()), identity_->spiffe_id())));
  agent::v1::RenewResponse response;
  grpc::ClientContext context;
  context.set_deadline(os::DeadlineIn(kCall));
  BW_RETURN_IF_ERROR(rpc::FromGrpc(agent::v1::AgentSession::NewStub(channel)->Renew(&context, request, &response)));
  BW_RETURN_IF_ERROR(
      identity_->Install({key.private_key_pem, response.certificate_chain_pem(), response.ca_pem()}, gate_->Now()));
  Log(Level::kInfo, "certificate-renewed");
  return absl::OkStatus();
}

// Also for who only thinks that its certificate is valid: the time comes first, and then it is asked for nothing more.
absl::Status Agent::Recover(bool expired) {
  BW_ASSIGN_OR_RETURN(std::string address, state_->GetMeta(kJoinAddressKey));
  if (address.empty()) {
    if (!expired) return absl::OkStatus();
    return absl::FailedPreconditionError("the certificate has expired and no join address is known; join again");
  }
  auto dialled = rpc::JoinChannel(address,
                                  {.ca_sha256 = "",
                                   .roots_pem = identity_->roots(),
                                   .trust_domain = identity_->trust_domain(),
                                   .now = gate_->Now()},
                                  proxy_);
  if (absl::IsUnavailable(dialled.status()) && !expired) return absl::OkStatus();  // the session says that
  BW_RETURN_IF_ERROR(dialled.status());
  auto stub = enroll::v1::Enroll::NewStub(*dialled);
  enroll::v1::ChallengeResponse challenge;
  {
    grpc::ClientContext context;
    context.set_deadline(os::DeadlineIn(kCall));
    grpc::Status asked = stub->Challenge(&context, {}, &challenge);
    if (asked.error_code() == grpc::StatusCode::UNIMPLEMENTED && !expired) return absl::OkStatus();  // an older one
    BW_RETURN_IF_ERROR(rpc::FromGrpc(asked));
  }
  if (challenge.has_policy_timestamp()) {
    absl::Status learned = law_->LearnTime(rpc::FromProto(challenge.policy_timestamp()));
    if (!learned.ok()) Log(Level::kWarning, "time-not-learned", {{"error", learned}});
  }
  BW_RETURN_IF_ERROR(MoveTo(challenge.control_address()));
  if (gate_->Now() < identity_->certificate().not_after) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(identity::KeyPair key, identity::NewTlsKey());
  enroll::v1::RecoverRequest request;
  request.set_spiffe_id(identity_->spiffe_id());
  request.set_csr_der(key.csr_der);
  request.set_nonce(challenge.nonce());
  request.set_incarnation(state_->incarnation().str());
  request.set_enrolment_proof(identity_->enrolment_key().Sign(
      absl::StrCat("bailiwick-recover-v1", std::string(crypto::Sha256(key.csr_der).view()), challenge.nonce(),
                   identity_->spiffe_id())));
  enroll::v1::JoinResponse response;
  grpc::ClientContext context;
  context.set_deadline(os::DeadlineIn(kCall));
  BW_RETURN_IF_ERROR(Annotate(rpc::FromGrpc(stub->Recover(&context, request, &response)), "recovering"));
  BW_RETURN_IF_ERROR(
      identity_->Install({key.private_key_pem, response.certificate_chain_pem(), response.ca_pem()}, gate_->Now()));
  Log(Level::kInfo, "certificate-recovered");
  session_->Hurry();
  return absl::OkStatus();
}

// A coordinator that moved says where it is, at the port that it kept. Whoever is there is believed only as the
// coordinator.
absl::Status Agent::MoveTo(const std::string& control_address) {
  if (address_is_set_ || control_address.empty()) return absl::OkStatus();  // an older coordinator says nothing
  {
    absl::MutexLock lock(&mutex_);
    if (coordinator_address_ == control_address) return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(Annotate(ParseHostPort(control_address).status(), "the coordinator's address"));
  BW_RETURN_IF_ERROR(state_->PutMeta({{"control-address", control_address}}));
  Log(Level::kInfo, "coordinator-moved", {{"address", control_address}});
  {
    absl::MutexLock lock(&mutex_);
    coordinator_address_ = control_address;
  }
  session_->Hurry();
  return absl::OkStatus();
}

absl::Status Agent::InstallRoots(const std::string& roots_pem) {
  std::string roots = roots_pem;
  if (!external_credentials_.empty()) {
    BW_ASSIGN_OR_RETURN(rpc::Credentials external, rpc::ReadExternal(state_->env().files, external_credentials_));
    roots = Combined(external.roots_pem, roots);
  }
  if (roots == identity_->roots()) return absl::OkStatus();
  return identity_->Install({"", "", roots}, gate_->Now());
}

void Agent::ApplyDenied(const agent::v1::Trust& trust) {
  std::vector<rpc::Denied> denied;
  for (const auto& one : trust.denied()) {
    denied.push_back({one.spiffe_id(), one.has_lifted() ? rpc::FromProto(one.lifted()) : absl::InfiniteFuture()});
  }
  gate_->SetDenied(denied);
  rpc::People people;
  people.bound = trust.people_size() != 0;
  for (const auto& person : trust.people()) {
    for (int role : person.roles()) people.roles[person.name()] |= 1u << static_cast<unsigned>(role);
  }
  gate_->SetPeople(people);
}

absl::Status Agent::LoadTrust() {
  BW_ASSIGN_OR_RETURN(std::string bytes, state_->GetMeta(kTrustKey));
  agent::v1::Trust trust;
  if (!trust.ParseFromString(bytes)) return absl::DataLossError("the agent's database holds an unreadable deny list");
  ApplyDenied(trust);
  return absl::OkStatus();
}

void Agent::OnTrust(const agent::v1::Trust& trust) {
  ApplyDenied(trust);  // first: a disk that is full is no reason to talk to who was revoked
  absl::MutexLock lock(&trust_mutex_);
  unkept_trust_.reset();
  KeepTrust(trust);
}

void Agent::RetryTrust() {
  absl::MutexLock lock(&trust_mutex_);
  if (!unkept_trust_.has_value()) return;
  KeepTrust(*std::exchange(unkept_trust_, std::nullopt));
  if (!unkept_trust_.has_value()) Log(Level::kInfo, "trust-kept");
}

void Agent::KeepTrust(const agent::v1::Trust& trust) {
  auto keep = [&]() -> absl::Status {
    agent::v1::Trust kept = trust;
    kept.clear_roots_pem();
    BW_RETURN_IF_ERROR(
        state_->PutMeta({{kTrustKey, kept.SerializeAsString()}, {kJoinAddressKey, trust.join_address()}}));
    return trust.roots_pem().empty() ? absl::OkStatus() : InstallRoots(trust.roots_pem());
  };
  if (absl::Status done = keep(); !done.ok()) {
    Log(Level::kError, "trust-not-kept", {{"error", done}});
    unkept_trust_ = trust;
  }
}

}  // namespace bailiwick::agent
