// People: how they log in, what they may, and what takes two of them.
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/config/check.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kPersonLife = absl::Hours(24 * 30);  // of a certificate; then they log in again
constexpr absl::Duration kDefaultTokenLife = absl::Hours(1);
constexpr absl::Duration kMaxTokenLife = absl::Hours(24 * 7);
constexpr size_t kMaxProposals = 100;
constexpr absl::Duration kProposalLife = absl::Hours(24 * 30);  // whoever approves later knows less and less why
constexpr char kWaitsAlready[] = "it waits for the approval of another policy-admin already: bailiwick approve";

// Kept under another hash than join tokens: one never passes for the other.
std::string TokenHash(const std::string& token) {
  return std::string(crypto::Sha256(absl::StrCat("bailiwick-login-v1", token)).view());
}

std::string PersonOf(const std::string& who) {
  auto id = identity::ParseSpiffeId(who);
  return id.ok() ? id->name : who;
}

}  // namespace

rpc::People Core::PeopleOf(const config::Catalog& resources) {
  rpc::People people;
  for (const auto& [key, resource] : resources) {
    if (!resource.has_role_binding()) continue;
    people.bound = true;
    unsigned roles = 0;
    for (int role : resource.role_binding().roles()) roles |= 1u << static_cast<unsigned>(role);
    for (const std::string& name : resource.role_binding().people()) people.roles[name] |= roles;
  }
  return people;
}

void Core::ApplyPeople() {
  people_ = PeopleOf(state_.resources);
  config_.identities.gate->SetPeople(people_);
  for (const auto& [site, session] : sessions_) session->Send(TrustMessage());
}

bool Core::TakesTwo() const {
  size_t could = 0;
  for (const auto& [name, roles] : people_.roles) {
    const identity::SpiffeId id{.kind = identity::Kind::kAdmin,
                                .trust_domain = config_.identities.trust_domain,
                                .region = "",
                                .site = "",
                                .name = name};
    if ((roles & rpc::kPolicyAdmin) != 0 && CheckNotRevoked(id.str()).ok()) ++could;
  }
  return people_.bound && could >= 2;
}

bool Core::HasRole(const std::string& who, unsigned roles) const {
  return (people_.RolesOf(PersonOf(who)) & roles) != 0;
}

absl::Status Core::CheckStands(const std::string& who, absl::Time since, unsigned roles) const {
  auto denied = state_.denied.find(who);
  if (denied != state_.denied.end() &&
      (!denied->second.has_lifted() || since <= rpc::FromProto(denied->second.lifted()))) {
    return absl::FailedPreconditionError(absl::StrCat(who, " was revoked since"));
  }
  if (HasRole(who, roles)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(who, " is not ", rpc::RoleNames(roles), " any more"));
}

// Of the dataset or of any stream of the family, also of those that no site has any more.
bool Core::HasPast(const std::string& dataset, DatasetId id) const {
  for (const auto& [of, versions] : state_.versions) {
    if (versions.empty()) continue;
    const std::string& name = versions.rbegin()->second.record.dataset;
    const size_t at = name.rfind('@');
    if (of == id || (at != std::string::npos && config::StreamId(id, name.substr(at + 1)) == of)) return true;
  }
  return std::any_of(state_.holds.begin(), state_.holds.end(), [&](const auto& hold) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    auto of = DatasetId::From(hold.second.dataset_id());
    if (!of.ok()) return false;
    auto stream = streams_.find(*of);
    return *of == id || (stream != streams_.end() && stream->second.family == dataset);
  });
}

Stakes Core::StakesOf(const Change& change) const {
  Stakes stakes;
  for (const auto& [site, agent] : state_.agents) {
    if (!agent.spiffe_id.empty()) stakes.joined.insert(site);
  }
  for (const auto& [name, id] : state_.dataset_ids) {
    auto stays = change.dataset_ids.find(name);
    const bool same = stays != change.dataset_ids.end() && stays->second == id;
    if (!same && HasPast(name, id)) stakes.dropped.insert(name);
  }
  return stakes;
}

absl::Status Core::CheckMayApply(const std::string& who, const control::v1::ApplyRequest& request,
                                 const config::Catalog& after) const {
  const rpc::People next = PeopleOf(after);
  auto bindings = [](const config::Catalog& catalog) {
    std::map<std::string, std::string> all;
    for (const auto& [key, r] : catalog) {
      if (r.has_role_binding()) all[key.second] = r.SerializeAsString();
    }
    return all;
  };
  const bool people_change = bindings(after) != bindings(state_.resources);
  const std::string name = PersonOf(who);
  if ((people_change || request.has_bundle() || !request.roots().empty()) && !HasRole(who, rpc::kPolicyAdmin)) {
    return config_.identities.gate->Refused(
        who, identity::Forbid("NOT_ALLOWED",
                              absl::StrCat(name, " may not change law or people: it needs the role policy-admin")));
  }
  if (people_change && next.bound && (next.RolesOf(name) & rpc::kPolicyAdmin) == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        name,
        " would not be policy-admin any more; name yourself in a RoleBinding, or let another policy-admin apply it"));
  }
  return absl::OkStatus();
}

std::string Core::NeedsSecond(const std::string& who, const Change& change, const config::Catalog& after,
                              bool completes) const {
  if (!TakesTwo()) return "";
  const std::string& first = completes ? state_.pending->by : who;
  const bool another = PersonOf(first) != PersonOf(who) && HasRole(who, rpc::kPolicyAdmin);
  std::vector<config::Classification> changed;
  for (const auto& [id, envelope] : change.classifications) {
    auto c = config::ReadKeptClassification(envelope);
    if (c.ok()) changed.push_back(*std::move(c));
  }
  const std::vector<std::string> dangers =
      Dangers(state_.resources, after, classifications_, changed, StakesOf(change));
  if (dangers.empty()) return "";
  if (another) {
    const absl::Status stands = CheckStands(first, state_.pending->since, rpc::kOperator | rpc::kPolicyAdmin);
    return stands.ok() ? ""
                       : absl::StrCat("it ", absl::StrJoin(dangers, ", "), ", and ", stands.message(),
                                      "; reject it and apply it anew: bailiwick policy reject");
  }
  return absl::StrCat("it ", absl::StrJoin(dangers, ", "), ", which needs the approval of another policy-admin than ",
                      first, ": bailiwick approve");
}

const control::v1::Proposal* Core::FindSame(const std::string& who, const control::v1::Proposal& proposal) const {
  for (const auto& [id, other] : state_.proposals) {
    if (other.by() != who || other.act_case() != proposal.act_case() || !other.approved_by().empty()) continue;
    control::v1::Proposal act;  // without who, when and the words
    if (other.has_release()) *act.mutable_release() = other.release();
    if (other.has_allow_recoveries()) *act.mutable_allow_recoveries() = other.allow_recoveries();
    if (google::protobuf::util::MessageDifferencer::Equals(act, proposal)) return &other;
  }
  return nullptr;
}

absl::StatusOr<control::v1::Proposal> Core::Propose(const std::string& who, control::v1::Proposal proposal,
                                                    const std::string& what, Rehearsal* dry) {
  if (const control::v1::Proposal* same = FindSame(who, proposal); same != nullptr) {
    if (dry != nullptr) {
      dry->effects.push_back(what);
      dry->waits = kWaitsAlready;
    }
    return *same;
  }
  if (state_.proposals.size() >= kMaxProposals) {
    return absl::ResourceExhaustedError("100 proposals wait already; approve or withdraw some first");
  }
  if (dry != nullptr) {
    dry->effects.push_back(what);
    dry->waits = "it needs the approval of another policy-admin: bailiwick approve";
    return proposal;
  }
  proposal.set_id(absl::BytesToHexString(random_->Bytes(8)));
  proposal.set_what(what);
  proposal.set_by(who);
  rpc::ToProto(clock_->Now(), proposal.mutable_since());
  BW_RETURN_IF_ERROR(Audit("proposal-made", absl::StrCat("proposal/", proposal.id()),
                           audit::Detail().Text("by", who).Text("what", what)));
  BW_RETURN_IF_ERROR(catalog_->PutProposal(proposal));
  state_.proposals[proposal.id()] = proposal;
  Event("proposal-made", "", "", 0, absl::StrCat(what, ", by ", who));
  return proposal;
}

void Core::EndProposals() {
  for (auto it = state_.proposals.begin(); it != state_.proposals.end();) {
    const control::v1::Proposal& proposal = it->second;
    if (clock_->Now() - rpc::FromProto(proposal.since()) <= kProposalLife) {
      ++it;
      continue;
    }
    absl::Status ended = Audit("proposal-ended", absl::StrCat("proposal/", proposal.id()),
                               audit::Detail().Text("proposedBy", proposal.by()).Text("what", proposal.what()));
    if (ended.ok()) ended = catalog_->RemoveProposal(proposal.id());
    if (!ended.ok()) {  // again in the next round
      Log(Level::kError, "proposal-not-ended", {{"error", ended}});
      return;
    }
    Event("proposal-ended", "", "", 0,
          absl::StrCat(proposal.what(), ", by ", proposal.by(), ": it was made 30 days ago"));
    it = state_.proposals.erase(it);
  }
}

control::v1::ListProposalsResponse Core::Proposals() {
  absl::MutexLock lock(&mutex_);
  std::vector<control::v1::Proposal> all;
  for (const auto& [id, proposal] : state_.proposals) all.push_back(proposal);
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return rpc::FromProto(a.since()) < rpc::FromProto(b.since()); });
  control::v1::ListProposalsResponse response;
  for (auto& proposal : all) *response.add_proposals() = std::move(proposal);
  return response;
}

absl::StatusOr<control::v1::ApproveResponse> Core::Approve(const std::string& who,
                                                           const control::v1::ApproveRequest& request, Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  auto it = state_.proposals.find(request.id());
  if (it == state_.proposals.end()) return absl::NotFoundError(absl::StrCat("there is no proposal ", request.id()));
  const control::v1::Proposal proposal = it->second;
  if (PersonOf(proposal.by()) == PersonOf(who)) {
    return absl::FailedPreconditionError("that is your own proposal: another policy-admin must approve it");
  }
  BW_RETURN_IF_ERROR(Annotate(CheckStands(proposal.by(), rpc::FromProto(proposal.since()), rpc::kPolicyAdmin),
                              absl::StrCat("withdraw the proposal: bailiwick withdraw ", proposal.id())));
  if (!proposal.approved_by().empty()) {
    return absl::FailedPreconditionError(absl::StrCat(proposal.approved_by(), " approved it already"));
  }
  if (dry == nullptr)
    BW_RETURN_IF_ERROR(Audit("proposal-approved", absl::StrCat("proposal/", proposal.id()),
                             audit::Detail().Text("by", who).Text("proposedBy", proposal.by())));
  const std::string both = absl::StrCat(proposal.by(), " and ", who);
  control::v1::ApproveResponse response;
  *response.mutable_done() = proposal;
  if (proposal.has_release()) {
    if (proposal.release().hold_ids().empty()) {  // of a build of before: also those made since
      return absl::FailedPreconditionError(
          absl::StrCat("the proposal does not say which holds there were; propose it anew after: bailiwick withdraw ",
                       proposal.id()));
    }
    BW_RETURN_IF_ERROR(ReleaseNow(both, proposal.release(), dry).status());
  } else if (proposal.has_allow_recoveries()) {
    BW_RETURN_IF_ERROR(AllowRecoveriesNow(both, proposal.allow_recoveries(), dry).status());
  } else if (proposal.has_create_login_token()) {
    BW_RETURN_IF_ERROR(ApproveLogin(who, proposal, dry));
    return response;
  }
  if (dry != nullptr) return response;
  BW_RETURN_IF_ERROR(catalog_->RemoveProposal(proposal.id()));
  state_.proposals.erase(proposal.id());
  Event("proposal-approved", "", "", 0, absl::StrCat(proposal.what(), ", by ", both));
  return response;
}

absl::StatusOr<control::v1::WithdrawResponse> Core::Withdraw(const std::string& who,
                                                             const control::v1::WithdrawRequest& request,
                                                             Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  auto it = state_.proposals.find(request.id());
  if (it == state_.proposals.end()) {
    BW_RETURN_IF_ERROR(WithdrawRedaction(who, request.id(), dry));
    return control::v1::WithdrawResponse();
  }
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat("the proposal by ", it->second.by(), " is dropped: ", it->second.what()));
    return control::v1::WithdrawResponse();
  }
  BW_RETURN_IF_ERROR(
      Audit("proposal-withdrawn", absl::StrCat("proposal/", request.id()), audit::Detail().Text("by", who)));
  BW_RETURN_IF_ERROR(catalog_->RemoveProposal(request.id()));
  Event("proposal-withdrawn", "", "", 0, absl::StrCat(it->second.what(), ", by ", who));
  state_.proposals.erase(it);
  return control::v1::WithdrawResponse();
}

absl::StatusOr<control::v1::CreateLoginTokenResponse> Core::CreateLoginToken(
    const std::string& who, const control::v1::CreateLoginTokenRequest& request, Rehearsal* dry) {
  // As RoleBindings take it: who could never have a role has nothing to log in for.
  if (const std::string problem = config::NameProblem(request.person()); !problem.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the name of the person: ", problem));
  }
  const absl::Duration ttl = request.has_ttl() ? absl::Seconds(request.ttl().seconds()) : kDefaultTokenLife;
  if (ttl <= absl::ZeroDuration() || ttl > kMaxTokenLife) {
    return absl::InvalidArgumentError("a login token lives from 1s to 7d");
  }
  absl::MutexLock lock(&mutex_);
  // Who could log in as the second person would be two.
  if (TakesTwo() && HasRole(request.person(), rpc::kPolicyAdmin)) return ProposeLogin(who, request, dry);
  return CreateLoginTokenNow(who, request, dry);
}

const control::v1::Proposal* Core::FindLogin(const std::string& who, const std::string& person) const {
  for (const auto& [id, proposal] : state_.proposals) {
    if (proposal.by() == who && proposal.create_login_token().person() == person) return &proposal;
  }
  return nullptr;
}

// The secret is made when who proposed it comes back for it: nobody else ever sees it, nor is it kept.
absl::StatusOr<control::v1::CreateLoginTokenResponse> Core::ProposeLogin(
    const std::string& who, const control::v1::CreateLoginTokenRequest& request, Rehearsal* dry) {
  control::v1::CreateLoginTokenResponse response;
  const control::v1::Proposal* found = FindLogin(who, request.person());
  if (found == nullptr) {
    control::v1::Proposal proposal;
    *proposal.mutable_create_login_token() = request;
    BW_ASSIGN_OR_RETURN(*response.mutable_proposal(),
                        Propose(who, std::move(proposal), absl::StrCat("let ", request.person(), " log in"), dry));
    return response;
  }
  const control::v1::Proposal proposal = *found;
  if (proposal.approved_by().empty()) {
    *response.mutable_proposal() = proposal;
    if (dry != nullptr) dry->waits = kWaitsAlready;
    return response;
  }
  BW_RETURN_IF_ERROR(
      Annotate(CheckStands(proposal.approved_by(), rpc::FromProto(proposal.approved()), rpc::kPolicyAdmin),
               absl::StrCat("the approval does not count; propose it anew after: bailiwick withdraw ", proposal.id())));
  if (dry == nullptr) {  // before the token: it is for once
    BW_RETURN_IF_ERROR(catalog_->RemoveProposal(proposal.id()));
    state_.proposals.erase(proposal.id());
  }
  return CreateLoginTokenNow(absl::StrCat(who, " and ", proposal.approved_by()), proposal.create_login_token(), dry);
}

absl::Status Core::ApproveLogin(const std::string& who, control::v1::Proposal proposal, Rehearsal* dry) {
  const std::string& person = proposal.create_login_token().person();
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat(proposal.by(), " can make a string with which ", person, " logs in once"));
    return absl::OkStatus();
  }
  proposal.set_approved_by(who);
  rpc::ToProto(clock_->Now(), proposal.mutable_approved());
  BW_RETURN_IF_ERROR(catalog_->PutProposal(proposal));
  state_.proposals[proposal.id()] = proposal;
  Event("proposal-approved", "", "", 0, absl::StrCat(proposal.what(), ", by ", proposal.by(), " and ", who));
  return absl::OkStatus();
}

absl::StatusOr<control::v1::CreateLoginTokenResponse> Core::CreateLoginTokenNow(
    const std::string& who, const control::v1::CreateLoginTokenRequest& request, Rehearsal* dry) {
  const absl::Duration ttl = request.has_ttl() ? absl::Seconds(request.ttl().seconds()) : kDefaultTokenLife;
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat(request.person(), " can log in once within ", FormatAge(ttl)));
    return control::v1::CreateLoginTokenResponse();
  }
  const std::string token = absl::WebSafeBase64Escape(random_->Bytes(32));
  const absl::Time expires = clock_->Now() + ttl;
  BW_RETURN_IF_ERROR(
      Audit("login-token-created", absl::StrCat("person/", request.person()), audit::Detail().Text("by", who)));
  BW_RETURN_IF_ERROR(catalog_->PutToken(TokenHash(token), request.person(), expires));
  control::v1::CreateLoginTokenResponse response;
  response.set_token(token);
  rpc::ToProto(expires, response.mutable_expires());
  return response;
}

absl::StatusOr<enroll::v1::JoinResponse> Core::Login(const enroll::v1::LoginRequest& request) {
  if (request.token().empty() || request.token().size() > 256) {
    return absl::InvalidArgumentError("the login request is malformed");
  }
  BW_RETURN_IF_ERROR(identity::CheckRequest(request.csr_der()));  // it must not cost the token
  absl::MutexLock lock(&mutex_);
  if (config_.control_address.empty() || stopping_)
    return absl::UnavailableError("the coordinator is starting or stopping; try again");
  BW_ASSIGN_OR_RETURN(std::string person, SpendToken(TokenHash(request.token())));
  const identity::SpiffeId id{.kind = identity::Kind::kAdmin,
                              .trust_domain = config_.identities.trust_domain,
                              .region = "",
                              .site = "",
                              .name = person};
  BW_RETURN_IF_ERROR(
      Audit("person-logged-in", absl::StrCat("person/", person), audit::Detail().Text("identity", id.str())));
  BW_RETURN_IF_ERROR(Lift(id.str()));
  Event("person-logged-in", "", "", 0, id.str());
  return Certify(id, request.csr_der(), kPersonLife);
}

control::v1::WhoAmIResponse Core::WhoAmI(const rpc::Peer& peer) {
  absl::MutexLock lock(&mutex_);
  control::v1::WhoAmIResponse response;
  response.set_spiffe_id(peer.uri);
  response.set_bound(people_.bound);
  const unsigned roles = people_.RolesOf(peer.id.name);
  for (unsigned role = 1; role <= 4; ++role) {
    if (roles & (1u << role)) response.add_roles(static_cast<resource::v1::Role>(role));
  }
  rpc::ToProto(peer.not_after, response.mutable_certificate_expires());
  return response;
}

}  // namespace bailiwick::coordinator
