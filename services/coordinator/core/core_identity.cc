// Who is who: join, renewal, recovery, revocation, and what agents are told to believe.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/base/units.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

constexpr absl::Duration kChallengeLife = absl::Minutes(1);
constexpr size_t kMaxChallenges = 10'000;  // a fleet that is switched on together, twice
constexpr uint32_t kMaxRecoveries = 1000;
constexpr size_t kMaxReason = 1000;

void Unseat(AgentRow* agent) {
  agent->newcomer_key.clear();
  agent->newcomer_incarnation.clear();
  agent->newcomer_joined = absl::UnixEpoch();
}

}  // namespace

using telemetry::Level;
using telemetry::Log;

absl::StatusOr<enroll::v1::JoinResponse> Core::Certify(const identity::SpiffeId& id, const std::string& csr_der,
                                                       absl::Duration life) {
  // A certificate of somebody who was revoked and comes back must begin after that.
  absl::Time earliest = absl::InfinitePast();
  if (auto denied = state_.denied.find(id.str()); denied != state_.denied.end()) {
    if (!denied->second.has_lifted()) return CheckNotRevoked(id.str());
    earliest = rpc::FromProto(denied->second.lifted()) + absl::Seconds(1);
  }
  Authority* const authority = config_.identities.authority;
  enroll::v1::JoinResponse response;
  BW_ASSIGN_OR_RETURN(std::string chain, authority->Issue(csr_der, id, life, earliest));
  response.set_spiffe_id(id.str());
  response.set_certificate_chain_pem(chain);
  response.set_ca_pem(config_.identities.roots());
  response.set_control_address(config_.control_address);
  return response;
}

absl::StatusOr<enroll::v1::JoinResponse> Core::Join(const enroll::v1::JoinRequest& request) {
  if (request.enrolment_ed25519().size() != crypto::kPublicKeySize || request.incarnation().size() != 16 ||
      request.csr_der().empty() || request.token().empty() || request.token().size() > 256) {
    return absl::InvalidArgumentError("the join request is malformed");
  }
  const std::string proof =
      absl::StrCat("bailiwick-join-v1", std::string(crypto::Sha256(request.csr_der()).view()), request.token());
  if (!crypto::VerifySignature(request.enrolment_ed25519(), proof, request.enrolment_proof())) {
    return absl::InvalidArgumentError("the join request does not prove that the agent holds its enrolment key");
  }
  absl::MutexLock lock(&mutex_);
  if (config_.control_address.empty() || stopping_)
    return absl::UnavailableError("the coordinator is starting or stopping; try again");
  const absl::Time now = clock_->Now();
  // A request that cannot succeed must not cost the token.
  BW_RETURN_IF_ERROR(identity::CheckRequest(request.csr_der()));
  BW_ASSIGN_OR_RETURN(std::string site, SpendToken(std::string(crypto::Sha256(request.token()).view())));
  auto resource = state_.resources.find({"Site", site});
  if (resource == state_.resources.end()) {
    return config_.identities.gate->Refused(
        "unknown", identity::Refuse("UNKNOWN_SITE", absl::StrCat("site ", site, " no longer exists")));
  }
  const identity::SpiffeId id{.kind = identity::Kind::kAgent,
                              .trust_domain = config_.identities.trust_domain,
                              .region = resource->second.site().region(),
                              .site = site,
                              .name = site};
  BW_RETURN_IF_ERROR(Audit("agent-joined", absl::StrCat("site/", site),
                           audit::Detail()
                               .Text("identity", id.str())
                               .Text("enrolmentKey", absl::BytesToHexString(request.enrolment_ed25519()))));
  // A string to join with gives nobody the place of a machine whose key the law pins: that takes a policy key.
  const bool serves = Approved(site) && CheckNotRevoked(id.str()).ok();
  BW_RETURN_IF_ERROR(Lift(id.str()));
  BW_ASSIGN_OR_RETURN(enroll::v1::JoinResponse response,
                      Certify(id, request.csr_der(), config_.identities.authority->leaf_life()));
  AgentRow agent = state_.agents[site];
  agent.proves_key |= !agent.enrolment_key.empty() && agent.enrolment_key != request.enrolment_ed25519();
  if (serves && agent.enrolment_key != request.enrolment_ed25519()) {
    agent.newcomer_key = request.enrolment_ed25519();
    agent.newcomer_incarnation = request.incarnation();
    agent.newcomer_joined = now;
    BW_RETURN_IF_ERROR(catalog_->PutAgent(agent));
    state_.agents[site] = agent;
    Event("agent-joined", site, "", 0,
          absl::StrCat(id.str(), ": another machine, with key ", absl::BytesToHexString(agent.newcomer_key),
                       "; the one that the law pins serves the site until that key is: bailiwick site approve ", site));
    return response;
  }
  agent.site = site;
  agent.spiffe_id = id.str();
  agent.enrolment_key = request.enrolment_ed25519();
  agent.incarnation = request.incarnation();
  agent.renewed = now;
  agent.certificate_expires = now + config_.identities.authority->leaf_life();
  agent.recoveries_left = kRecoveries;
  Unseat(&agent);
  BW_RETURN_IF_ERROR(catalog_->PutAgent(agent));
  state_.agents[site] = agent;
  Event("agent-joined", site, "", 0, absl::StrCat(id.str(), Approved(site) ? "" : "; its key is not approved yet"));
  Wake();
  return response;
}

absl::Status Core::CheckMachine(const std::string& spiffe_id, const AgentRow& row, const MachineProof& proof) const {
  const std::string& key = proof.key;
  if (key.empty()) {  // a build of before; where it could be one of two it has to prove which
    if (row.newcomer_key.empty() && !row.proves_key) return absl::OkStatus();
    return identity::Forbid("NOT_ALLOWED", absl::StrCat("more than one machine joined as ", spiffe_id,
                                                        ", and this one does not prove which it is; upgrade it"));
  }
  if (!crypto::VerifySignature(key, proof.message, proof.signature)) {
    return identity::Forbid("NOT_ALLOWED",
                            absl::StrCat("what ", spiffe_id, " says of itself is not signed by the key that it names"));
  }
  if (row.enrolment_key.empty() || key == row.enrolment_key) return absl::OkStatus();
  if (key == row.newcomer_key) {
    return identity::Forbid("NOT_ALLOWED",
                            absl::StrCat("the law pins the key of another machine as site ", row.site,
                                         "; this one takes its place once a policy key approves it: bailiwick site "
                                         "approve ",
                                         row.site));
  }
  return identity::Forbid("NOT_ALLOWED",
                          absl::StrCat("another machine joined as site ", row.site,
                                       " since; if it was meant to be this one: bailiwick site join-token ", row.site));
}

void Core::SeatNewcomers() {
  for (auto& [site, agent] : state_.agents) {
    if (agent.newcomer_key.empty() || Pins(site, agent.enrolment_key) || !Pins(site, agent.newcomer_key)) continue;
    AgentRow row = agent;
    row.enrolment_key = row.newcomer_key;
    row.incarnation = row.newcomer_incarnation;
    row.renewed = row.newcomer_joined;
    row.recoveries_left = kRecoveries;
    auto resource = state_.resources.find({"Site", site});
    if (auto id = identity::ParseSpiffeId(row.spiffe_id); id.ok() && resource != state_.resources.end()) {
      id->region = resource->second.site().region();
      row.spiffe_id = id->str();
    }
    Unseat(&row);
    const absl::Status kept = catalog_->PutAgent(row);
    if (!kept.ok()) Log(Level::kError, "agent-not-kept", {{"site", site}, {"error", kept}});  // again at the next start
    agent = std::move(row);
    ForgetKeptHolds(site);
    Event("agent-replaced", site, "", 0, "the law pins the key of the machine that joined last");
    auto session = sessions_.find(site);
    if (session == sessions_.end()) continue;
    session->second->Close(identity::Forbid("NOT_ALLOWED", absl::StrCat("another machine serves site ", site, " now")));
  }
}

absl::StatusOr<std::string> Core::SpendToken(const std::string& sha256) {
  auto spent = catalog_->SpendToken(sha256, clock_->Now());
  if (!absl::IsUnauthenticated(spent.status())) return spent;
  return config_.identities.gate->Refused("unknown", spent.status());
}

absl::StatusOr<agent::v1::RenewResponse> Core::Renew(const rpc::Peer& peer, const agent::v1::RenewRequest& request) {
  absl::MutexLock lock(&mutex_);
  const rpc::Gate& gate = *config_.identities.gate;
  BW_RETURN_IF_ERROR(gate.Refused(peer.uri, CheckSite(peer.id)));
  BW_RETURN_IF_ERROR(identity::CheckRequest(request.csr_der()));
  const std::string csr_sha256(crypto::Sha256(request.csr_der()).view());
  auto known = state_.agents.find(peer.id.site);
  AgentRow agent = known == state_.agents.end() ? AgentRow{} : known->second;
  BW_RETURN_IF_ERROR(
      gate.Refused(peer.uri, CheckMachine(peer.uri, agent,
                                          {.key = request.enrolment_ed25519(),
                                           .message = absl::StrCat("bailiwick-renew-v1", csr_sha256, peer.uri),
                                           .signature = request.enrolment_proof()})));
  BW_RETURN_IF_ERROR(Audit("certificate-renewed", absl::StrCat("site/", peer.id.site), "{}"));
  BW_ASSIGN_OR_RETURN(enroll::v1::JoinResponse certified,
                      Certify(peer.id, request.csr_der(), config_.identities.authority->leaf_life()));
  agent.site = peer.id.site;
  agent.spiffe_id = peer.uri;
  agent.renewed = clock_->Now();
  agent.certificate_expires = agent.renewed + config_.identities.authority->leaf_life();
  BW_RETURN_IF_ERROR(catalog_->PutAgent(agent));
  state_.agents[peer.id.site] = std::move(agent);
  agent::v1::RenewResponse response;
  response.set_certificate_chain_pem(certified.certificate_chain_pem());
  response.set_ca_pem(certified.ca_pem());
  return response;
}

absl::StatusOr<enroll::v1::ChallengeResponse> Core::Challenge() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_->BootTime();
  if (challenges_.size() >= kMaxChallenges) {
    std::erase_if(challenges_, [now](const auto& open) { return open.second < now; });
    if (challenges_.size() >= kMaxChallenges) {
      return absl::ResourceExhaustedError("too many agents recover at once; try again in a minute");
    }
  }
  enroll::v1::ChallengeResponse response;
  response.set_nonce(random_->Bytes(32));
  response.set_control_address(config_.control_address);
  challenges_[response.nonce()] = now + kChallengeLife;
  if (auto timestamp = MakeTimestamp(); timestamp.has_value()) {
    rpc::ToProto(*timestamp, response.mutable_policy_timestamp());
  }
  return response;
}

absl::StatusOr<enroll::v1::JoinResponse> Core::Recover(const enroll::v1::RecoverRequest& request) {
  absl::MutexLock lock(&mutex_);
  const rpc::Gate& gate = *config_.identities.gate;
  if (config_.control_address.empty() || stopping_)
    return absl::UnavailableError("the coordinator is starting or stopping; try again");
  auto open = challenges_.find(request.nonce());
  const bool answered = open != challenges_.end() && clock_->BootTime() <= open->second;
  if (open != challenges_.end()) challenges_.erase(open);
  if (!answered) return absl::UnauthenticatedError("the recovery answers no open challenge; ask for a new one");
  BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(request.spiffe_id()));
  auto agent = state_.agents.find(id.site);
  auto check = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::Status {
    if (id.kind != identity::Kind::kAgent || agent == state_.agents.end() ||
        agent->second.spiffe_id != request.spiffe_id() || agent->second.incarnation != request.incarnation()) {
      return identity::Forbid("NOT_ALLOWED", absl::StrCat(id.str(), " did not join here as it is; join again"));
    }
    const std::string proof =
        absl::StrCat("bailiwick-recover-v1", std::string(crypto::Sha256(request.csr_der()).view()), request.nonce(),
                     request.spiffe_id());
    if (!crypto::VerifySignature(agent->second.enrolment_key, proof, request.enrolment_proof())) {
      return identity::Forbid(
          "NOT_ALLOWED", absl::StrCat("the recovery of ", id.str(), " is not signed by the key that it joined with"));
    }
    BW_RETURN_IF_ERROR(CheckSite(id));
    BW_RETURN_IF_ERROR(CheckNotRevoked(id.str()));
    if (!Approved(id.site)) {
      return identity::Forbid("NOT_ALLOWED", absl::StrCat("the key of ", id.str(), " is not approved"));
    }
    if (agent->second.recoveries_left == 0) {
      return identity::Forbid("NOT_ALLOWED",
                              absl::StrCat("site ", id.site, " came back by its key as often as it may; an admin can",
                                           " allow more: bailiwick agent allow-recoveries ", id.site, " N"));
    }
    return absl::OkStatus();
  };
  BW_RETURN_IF_ERROR(gate.Refused(absl::CEscape(id.str()), check(), rpc::Named::kClaimed));
  BW_RETURN_IF_ERROR(identity::CheckRequest(request.csr_der()));
  AgentRow row = agent->second;
  --row.recoveries_left;
  row.renewed = clock_->Now();
  row.certificate_expires = row.renewed + config_.identities.authority->leaf_life();
  BW_RETURN_IF_ERROR(Audit("agent-recovered", absl::StrCat("site/", id.site),
                           audit::Detail().Text("identity", id.str()).Number("left", row.recoveries_left)));
  BW_RETURN_IF_ERROR(catalog_->PutAgent(row));
  agent->second = row;
  Event("agent-recovered", id.site, "", 0, absl::StrCat(row.recoveries_left, " more times without an admin"));
  return Certify(id, request.csr_der(), config_.identities.authority->leaf_life());
}

absl::Status Core::CheckSite(const identity::SpiffeId& id) const {
  auto site = state_.resources.find({"Site", id.site});
  if (id.trust_domain != config_.identities.trust_domain || site == state_.resources.end()) {
    return identity::Forbid("UNKNOWN_SITE", absl::StrCat("site ", id.site, " is not declared here"));
  }
  if (site->second.site().region() != id.region) {
    return identity::Forbid("WRONG_REGION",
                            absl::StrCat("site ", id.site, " is in region ", site->second.site().region(),
                                         ", the certificate says ", id.region, "; join again"));
  }
  return absl::OkStatus();
}

absl::Status Core::CheckNotRevoked(const std::string& spiffe_id) const {
  auto denied = state_.denied.find(spiffe_id);
  if (denied == state_.denied.end() || denied->second.has_lifted()) return absl::OkStatus();
  return identity::Forbid("REVOKED", absl::StrCat(spiffe_id, " was revoked; join again"));
}

absl::Status Core::Lift(const std::string& spiffe_id) {
  auto denied = state_.denied.find(spiffe_id);
  if (denied == state_.denied.end() || denied->second.has_lifted()) return absl::OkStatus();
  agent::v1::Denied lifted = denied->second;
  rpc::ToProto(clock_->Now(), lifted.mutable_lifted());
  BW_RETURN_IF_ERROR(catalog_->PutDenied(lifted));
  denied->second = lifted;
  ApplyDenied();
  return absl::OkStatus();
}

agent::v1::CoordinatorMessage Core::TrustMessage() const {
  agent::v1::CoordinatorMessage message;
  auto* trust = message.mutable_trust();
  trust->set_roots_pem(config_.identities.roots());
  trust->set_join_address(config_.join_address);
  for (const auto& [id, denied] : state_.denied) *trust->add_denied() = denied;
  for (const auto& [name, roles] : people_.roles) {
    auto* person = trust->add_people();
    person->set_name(name);
    for (unsigned role = 1; role <= 4; ++role) {
      if (roles & (1u << role)) person->add_roles(static_cast<resource::v1::Role>(role));
    }
  }
  return message;
}

void Core::TrustChanged() {
  absl::MutexLock lock(&mutex_);
  for (const auto& [site, session] : sessions_) session->Send(TrustMessage());
}

void Core::ApplyDenied() {
  std::vector<rpc::Denied> denied;
  for (const auto& [id, row] : state_.denied) {
    denied.push_back({id, row.has_lifted() ? rpc::FromProto(row.lifted()) : absl::InfiniteFuture()});
  }
  config_.identities.gate->SetDenied(denied);
  for (const auto& [site, session] : sessions_) session->Send(TrustMessage());
}

control::v1::ListAgentsResponse Core::Agents() {
  absl::MutexLock lock(&mutex_);
  control::v1::ListAgentsResponse response;
  for (const auto& [site, row] : state_.agents) {
    if (row.spiffe_id.empty()) continue;
    auto* agent = response.add_agents();
    agent->set_site(site);
    agent->set_spiffe_id(row.spiffe_id);
    agent->set_connected(sessions_.count(site) != 0);
    rpc::ToProto(row.last_seen, agent->mutable_last_seen());
    if (row.certificate_expires != absl::UnixEpoch()) {
      rpc::ToProto(row.certificate_expires, agent->mutable_certificate_expires());
    }
    if (row.renewed != absl::UnixEpoch()) rpc::ToProto(row.renewed, agent->mutable_renewed());
    agent->set_policy_revision(row.policy_revision);
    if (auto said = policy_said_.find(site); said != policy_said_.end() && said->second.has_called_current()) {
      *agent->mutable_policy_called_current() = said->second.called_current();
    }
    agent->set_approved(Approved(site) && !Awaits(site));
    agent->set_recoveries_left(row.recoveries_left);
    if (!row.newcomer_key.empty()) {
      agent->set_newcomer_ed25519(row.newcomer_key);
      rpc::ToProto(row.newcomer_joined, agent->mutable_newcomer_joined());
    }
    if (!CheckNotRevoked(row.spiffe_id).ok()) *agent->mutable_revoked() = state_.denied.at(row.spiffe_id);
  }
  return response;
}

absl::Status Core::CheckPerson(const std::string& name, bool* never_seen) const {
  *never_seen = false;
  if (people_.roles.count(name) != 0) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(const bool spent, catalog_->HasSpentToken(name));
  *never_seen = !spent;
  if (!people_.bound) return absl::OkStatus();  // any name may be meant
  std::vector<std::string> names;
  for (const auto& [known, roles] : people_.roles) names.push_back(known);
  const std::string near = Suggest(name, names);
  // One that is like no other may be of before: the first admin came without a login.
  if (spent || near.empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("no RoleBinding names ", name, ", nor did anybody log in by that name",
                                          "; did you mean ", near, "?"));
}

absl::StatusOr<control::v1::RevokeResponse> Core::Revoke(const std::string& who,
                                                         const control::v1::RevokeRequest& request, Rehearsal* dry) {
  if (request.reason().empty() || request.reason().size() > kMaxReason) {
    return absl::InvalidArgumentError("say why, in at most 1000 characters");
  }
  if (request.site().empty() == request.admin().empty()) {
    return absl::InvalidArgumentError("name a site or an admin");
  }
  absl::MutexLock lock(&mutex_);
  std::string id;
  bool never_seen = false;
  if (!request.admin().empty()) {
    const identity::SpiffeId admin{.kind = identity::Kind::kAdmin,
                                   .trust_domain = config_.identities.trust_domain,
                                   .region = "",
                                   .site = "",
                                   .name = request.admin()};
    BW_RETURN_IF_ERROR(identity::ParseSpiffeId(admin.str()).status());
    if (!HasRole(who, rpc::kPolicyAdmin)) {
      return config_.identities.gate->Refused(
          who,
          identity::Forbid("NOT_ALLOWED", absl::StrCat(who, " may not revoke people: it needs the role policy-admin")));
    }
    id = admin.str();
    if (id == who) return absl::FailedPreconditionError("that is you: ask another admin to revoke you");
    BW_RETURN_IF_ERROR(CheckPerson(request.admin(), &never_seen));
  } else {
    auto agent = state_.agents.find(request.site());
    if (agent == state_.agents.end() || agent->second.spiffe_id.empty()) {
      return absl::NotFoundError(absl::StrCat("no agent ever joined as site ", request.site()));
    }
    id = agent->second.spiffe_id;
  }
  std::vector<std::string> ended;
  for (const auto& [transfer_id, transfer] : transfers_) {
    if (!request.site().empty() && (transfer.dialler == request.site() || transfer.other == request.site())) {
      ended.push_back(transfer_id);
    }
  }
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat(id, " is out until it joins or logs in anew"));
    if (never_seen) dry->effects.push_back(absl::StrCat("nobody is known to have logged in as ", request.admin()));
    for (const std::string& transfer_id : ended)
      dry->effects.push_back(absl::StrCat("transfer ", transfer_id, " ends"));
    return control::v1::RevokeResponse();
  }
  agent::v1::Denied denied;
  denied.set_spiffe_id(id);
  denied.set_reason(request.reason());
  denied.set_by(who);
  rpc::ToProto(clock_->Now(), denied.mutable_at());
  BW_RETURN_IF_ERROR(Audit("identity-revoked", absl::StrCat("identity/", id),
                           audit::Detail().Text("by", who).Text("reason", request.reason())));
  BW_RETURN_IF_ERROR(catalog_->PutDenied(denied));
  state_.denied[id] = denied;
  ApplyDenied();
  CloseSilentSessions();
  for (const std::string& transfer_id : ended) EndTransfer(transfer_id, false, "WRONG_PEER", "an end was revoked");
  Event("identity-revoked", request.site(), "", 0, absl::StrCat(id, ": ", request.reason()));
  Wake();
  control::v1::RevokeResponse response;
  response.set_spiffe_id(id);
  response.set_never_seen(never_seen);
  return response;
}

absl::StatusOr<control::v1::AllowRecoveriesResponse> Core::AllowRecoveries(
    const std::string& who, const control::v1::AllowRecoveriesRequest& request, Rehearsal* dry) {
  if (request.count() > kMaxRecoveries) return absl::InvalidArgumentError("at most 1000 recoveries can be allowed");
  absl::MutexLock lock(&mutex_);
  auto agent = state_.agents.find(request.site());
  if (TakesTwo() && agent != state_.agents.end() && request.count() > agent->second.recoveries_left) {
    control::v1::Proposal proposal;
    *proposal.mutable_allow_recoveries() = request;
    control::v1::AllowRecoveriesResponse response;
    response.set_before(agent->second.recoveries_left);
    BW_ASSIGN_OR_RETURN(
        *response.mutable_proposal(),
        Propose(who, std::move(proposal),
                absl::StrCat("let site ", request.site(), " come back ", request.count(), " times"), dry));
    return response;
  }
  return AllowRecoveriesNow(who, request, dry);
}

absl::StatusOr<control::v1::AllowRecoveriesResponse> Core::AllowRecoveriesNow(
    const std::string& who, const control::v1::AllowRecoveriesRequest& request, Rehearsal* dry) {
  auto agent = state_.agents.find(request.site());
  if (agent == state_.agents.end() || agent->second.spiffe_id.empty()) {
    return absl::NotFoundError(absl::StrCat("no agent ever joined as site ", request.site()));
  }
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat("the agent of site ", request.site(), " may come back ", request.count(),
                                        " times by itself, instead of ", agent->second.recoveries_left));
    return control::v1::AllowRecoveriesResponse();
  }
  BW_RETURN_IF_ERROR(Audit("recoveries-allowed", absl::StrCat("site/", request.site()),
                           audit::Detail().Text("by", who).Number("count", request.count())));
  control::v1::AllowRecoveriesResponse response;
  response.set_before(agent->second.recoveries_left);
  AgentRow row = agent->second;
  row.recoveries_left = request.count();
  BW_RETURN_IF_ERROR(catalog_->PutAgent(row));
  agent->second = row;
  return response;
}

absl::StatusOr<control::v1::RotateAuthorityResponse> Core::RotateAuthority(const std::string& who, Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  if (dry != nullptr) {
    BW_RETURN_IF_ERROR(config_.identities.authority->MayRotate());
    dry->effects.push_back(absl::StrCat("a new CA is trusted beside the old one, and signs in ",
                                        FormatAge(config_.identities.authority->leaf_life())));
    return control::v1::RotateAuthorityResponse();
  }
  BW_RETURN_IF_ERROR(Audit("authority-rotated", "ca", audit::Detail().Text("by", who)));
  BW_RETURN_IF_ERROR(config_.identities.authority->Rotate());
  control::v1::RotateAuthorityResponse response;
  rpc::ToProto(clock_->Now() + config_.identities.authority->leaf_life(), response.mutable_signs_from());
  return response;
}

control::v1::ListAuthoritiesResponse Core::Authorities() {
  control::v1::ListAuthoritiesResponse response;
  for (const Authority::Known& known : config_.identities.authority->List()) {
    auto* out = response.add_authorities();
    const bool next = known.state == Authority::State::kNext, signs = known.state == Authority::State::kSigns;
    out->set_state(signs ? "signs" : next ? "next" : "trusted");
    if (next) rpc::ToProto(known.signs_from, out->mutable_signs_from());
    auto certificate = identity::InspectCertificate(known.certificate_pem);
    if (!certificate.ok()) continue;
    out->set_sha256(certificate->sha256);
    rpc::ToProto(signs || next ? certificate->not_after : std::min(certificate->not_after, known.trusted_until),
                 out->mutable_expires());
  }
  return response;
}

}  // namespace bailiwick::coordinator
