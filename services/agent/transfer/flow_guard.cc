#include "services/agent/transfer/flow_guard.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/identity/spiffe.h"
#include "common/policy/residence.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {
namespace {

constexpr char kMissing[] = "PROVENANCE_MISSING";
constexpr char kInvalid[] = "PROVENANCE_INVALID";

policy::GrantDecision Deny(std::string code, std::string_view message) {
  return {.permitted = false, .code = std::move(code), .message = std::string(message), .rule = ""};
}

std::string_view Text(const absl::Status& status) { return {status.message().data(), status.message().size()}; }

}  // namespace

void FlowGuard::SetVersion(const store::VersionRecord& record, const Digest& identity) {
  record_ = record;
  identity_ = identity;
}

policy::Grant FlowGuard::grant() const {
  absl::MutexLock lock(&mutex_);
  return grant_;
}

policy::GrantDecision FlowGuard::Offer(const crypto::Envelope& envelope) {
  auto law = law_->current();
  if (law == nullptr) return Deny("POLICY_DENIED", "no policy is installed here yet");
  auto grant = rpc::OpenGrant(envelope, law->world);
  if (!grant.ok()) return Deny("GRANT_INVALID", Text(grant.status()));
  policy::GrantDecision decision = CheckWith(*grant, *law);
  if (!decision.permitted) return decision;
  absl::MutexLock lock(&mutex_);
  envelope_ = envelope;
  grant_ = *grant;
  verified_under_ = law->world.digest;
  return decision;
}

policy::GrantDecision FlowGuard::Check() {
  auto law = law_->current();
  if (law == nullptr) return Deny("POLICY_DENIED", "no policy is installed here yet");
  policy::Grant grant;
  crypto::Envelope envelope;
  bool again;
  {
    absl::MutexLock lock(&mutex_);
    grant = grant_;
    again = verified_under_ != law->world.digest;
    if (again) envelope = envelope_;
  }
  if (again) return Offer(envelope);  // the bundle moved: its keys and pins may have
  return CheckWith(grant, *law);
}

policy::GrantDecision FlowGuard::Foresee(const crypto::Envelope& envelope, policy::Grant* opened) {
  auto law = law_->current();
  if (law == nullptr) return Deny("POLICY_DENIED", "no policy is installed here yet");
  auto grant = rpc::OpenGrant(envelope, law->world);
  if (!grant.ok()) return Deny("GRANT_INVALID", Text(grant.status()));
  *opened = *grant;
  policy::GrantDecision fresh = law_->CheckFresh();
  return fresh.permitted ? CheckFlow(*grant, self_is_source_ ? grant->destination : grant->source, *law) : fresh;
}

policy::GrantDecision FlowGuard::CheckWith(const policy::Grant& grant, const LawSnapshot& law) {
  policy::GrantDecision fresh = law_->CheckFresh();
  if (!fresh.permitted) return fresh;
  std::string peer;
  policy::GrantDecision bound = CheckPeer(law, &peer);
  if (!bound.permitted) return bound;
  policy::GrantDecision decision = CheckFlow(grant, peer, law);
  return decision.permitted ? CheckAtRest(grant, decision, law) : decision;
}

policy::GrantDecision FlowGuard::CheckPeer(const LawSnapshot& law, std::string* uri) {
  policy::GrantDecision good;
  good.permitted = true;
  auto peer = stream_->peer();
  if (!peer.ok()) return Deny("WRONG_PEER", Text(gate_->Refused("unknown", peer.status())));
  *uri = peer->uri;
  absl::Time until;
  {
    absl::MutexLock lock(&mutex_);
    until = std::max(peer->not_after, proven_until_);
  }
  if (absl::Status valid = gate_->Check(*peer, until); !valid.ok()) return Deny("WRONG_PEER", Text(valid));
  {
    absl::MutexLock lock(&mutex_);
    if (verified_under_ == law.world.digest && verified_certificate_ == peer->certificate_sha256) return good;
  }
  absl::Status binding = rpc::CheckBindings(bindings_, peer->uri, peer->certificate_sha256, law.world);
  if (!binding.ok()) return Deny("WRONG_PEER", Text(binding));
  absl::MutexLock lock(&mutex_);
  verified_certificate_ = peer->certificate_sha256;
  return good;
}

policy::GrantDecision FlowGuard::OfferIdentity(const std::string& chain_pem, const crypto::Envelope& binding,
                                               const std::string& roots_pem) {
  auto law = law_->current();
  if (law == nullptr) return Deny("POLICY_DENIED", "no policy is installed here yet");
  auto peer = stream_->peer();
  if (!peer.ok()) return Deny("WRONG_PEER", Text(peer.status()));
  auto info = gate_->CheckChain(chain_pem, roots_pem, identity::Use::kEither, identity::Early::kRefuse);
  if (!info.ok()) return Deny("WRONG_PEER", Text(info.status()));
  if (info->uri != peer->uri) {
    return Deny("WRONG_PEER", absl::StrCat(peer->uri, " goes on with a certificate of another identity"));
  }
  absl::Status bound = rpc::CheckBinding(binding, peer->uri, info->sha256, law->world);
  if (!bound.ok()) return Deny("WRONG_PEER", Text(bound));
  absl::MutexLock lock(&mutex_);
  proven_until_ = std::max(proven_until_, info->not_after);
  policy::GrantDecision good;
  good.permitted = true;
  return good;
}

policy::GrantDecision FlowGuard::CheckFlow(const policy::Grant& grant, const std::string& peer,
                                           const LawSnapshot& law) {
  const absl::Time now = law_->clock().Now();
  auto classification = law.Classify(record_.dataset_id, record_.dataset);
  if (!classification.ok()) return Deny("POLICY_ERROR", Text(classification.status()));
  policy::GrantDecision decision = policy::CheckGrant({.world = &law.world,
                                                       .grant = &grant,
                                                       .self = self_,
                                                       .peer = peer,
                                                       .self_is_source = self_is_source_,
                                                       .data = classification->labels,
                                                       .home_site = classification->home_site,
                                                       .dataset_id = record_.dataset_id,
                                                       .version = identity_,
                                                       .manifest_root = record_.manifest_root,
                                                       .now = now,
                                                       .called_current = law_->called_current()});
  if (decision.permitted) decision = CheckRetention(grant, decision, law.world, *classification, now);
  return decision.permitted ? CheckHops(grant, decision, *classification, law, now) : decision;
}

std::optional<rpc::Chain> FlowGuard::chain() const {
  absl::MutexLock lock(&mutex_);
  if (!trail_.known) return std::nullopt;
  return self_is_source_ && trail_.hops == 0 ? rpc::Chain{} : provenance_;
}

bool FlowGuard::HopsUnmet() {
  auto law = law_->current();
  const policy::Grant now = grant();
  if (law == nullptr || now.grant_id.empty()) return false;
  const std::string code = CheckFlow(now, self_is_source_ ? now.destination : now.source, *law).code;
  return code == "OBLIGATION_UNMET" || code == kMissing || code == kInvalid;
}

bool FlowGuard::Leads(const rpc::Chain& chain) const {
  auto law = law_->current();
  if (law == nullptr) return false;
  auto what = law->Classify(record_.dataset_id, record_.dataset);
  return what.ok() && rpc::OpenChain(chain, Way(*what), law->world).ok();
}

rpc::ChainOf FlowGuard::Way(const config::Classification& what) const {
  auto self = identity::ParseSpiffeId(self_);
  rpc::ChainOf of{record_.dataset_id, identity_, {what.home_site}, self.ok() ? self->site : ""};
  // What was committed before the home moved began at the home of then, whose key signed the record.
  if (record_.home_epoch < what.epoch) of.begins.insert(record_.home_site);
  return of;
}

FlowGuard::Trail FlowGuard::FollowTrail(const config::Classification& what, const LawSnapshot& law) {
  Trail trail;
  trail.law = law.world.digest;
  trail.record = what.revision;
  trail.bounded = policy::BoundsHops(law.world, what.labels);
  const rpc::ChainOf of = Way(what);
  if (self_is_source_ && of.begins.count(of.holder) != 0) {
    trail.known = true;
    return trail;
  }
  trail.code = provenance_.empty() ? kMissing : kInvalid;
  auto hops = rpc::OpenChain(provenance_, of, law.world);
  absl::Status opened = hops.status();
  if (opened.ok() && !self_is_source_) {
    opened = rpc::CheckHopOfGrant(hops->back(), first_grant_);
    hops->pop_back();  // the flow that this is about
  }
  if (!opened.ok()) {
    trail.message = std::string(opened.message());
    return trail;
  }
  trail.known = true;
  trail.hops = hops->size();
  trail.code.clear();
  if (!trail.bounded) return trail;
  auto carried = policy::CarriedLimit(law.world, what.labels, what.home_site, rpc::HopsOf(*hops));
  if (carried.ok()) {
    trail.carried = *carried;
  } else {
    trail.code = "POLICY_ERROR";
    trail.message = std::string(carried.status().message());
  }
  return trail;
}

policy::GrantDecision FlowGuard::CheckHops(const policy::Grant& grant, const policy::GrantDecision& permit,
                                           const config::Classification& what, const LawSnapshot& law, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  if (first_grant_.grant_id.empty()) first_grant_ = grant;
  if (trail_.law != law.world.digest || trail_.record != what.revision) trail_ = FollowTrail(what, law);
  if (!trail_.bounded) return permit;
  policy::GrantDecision refusal = permit;
  refusal.permitted = false;
  refusal.code = trail_.code;
  refusal.message = trail_.message;
  if (!trail_.code.empty()) return refusal;
  auto source = identity::ParseSpiffeId(grant.source);
  auto destination = identity::ParseSpiffeId(grant.destination);
  if (!source.ok() || !destination.ok()) return Deny("GRANT_INVALID", "the grant names a malformed identity");
  const policy::Flow flow{what.labels, source->site, destination->site, grant.purpose, what.home_site};
  policy::HopVerdict verdict = policy::CheckHops(law.world, trail_.carried, trail_.hops, flow, permit.obligations, now);
  if (verdict.permitted) return permit;
  refusal.code = "OBLIGATION_UNMET";
  refusal.message = verdict.sentence;
  if (!verdict.rule.empty()) refusal.rule = verdict.rule;
  return refusal;
}

policy::GrantDecision FlowGuard::CheckRetention(const policy::Grant& grant, const policy::GrantDecision& permit,
                                                const policy::World& world, const config::Classification& of,
                                                absl::Time now) const {
  const bool bounded = std::any_of(world.rules.begin(), world.rules.end(), [](const policy::Rule& rule) {
    return rule.obligations.max_retention != absl::InfiniteDuration();
  });
  if (!bounded) return permit;  // asked at every window
  auto destination = identity::ParseSpiffeId(grant.destination);
  if (!destination.ok()) return Deny("GRANT_INVALID", Text(destination.status()));
  // As the destination judges what lies there, which knows no purpose; what it would evict at once is not sent.
  const policy::Decision there = policy::EvaluateResidence(world, of.labels, of.home_site, destination->site, now);
  const bool by_residence = there.permitted && there.obligations.max_retention <= permit.obligations.max_retention;
  const absl::Duration limit = by_residence ? there.obligations.max_retention : permit.obligations.max_retention;
  if (now - record_.committed_at <= limit) return permit;
  policy::GrantDecision past = permit;
  past.permitted = false;
  past.code = "PAST_RETENTION";
  past.rule = by_residence ? there.retention_rule : permit.rule;
  past.message =
      absl::StrCat("version ", record_.number, " of ", record_.dataset, " was committed ",
                   absl::FormatDuration(absl::Trunc(now - record_.committed_at, absl::Seconds(1))),
                   " ago, and the law lets a version lie at ", destination->site, " for ", absl::FormatDuration(limit));
  return past;
}

policy::GrantDecision FlowGuard::CheckAtRest(const policy::Grant& grant, const policy::GrantDecision& permit,
                                             const LawSnapshot& law) {
  if (permit.obligations.encrypt_key_regions.empty()) return permit;
  policy::GrantDecision unmet = permit;
  unmet.permitted = false;
  unmet.code = "OBLIGATION_UNMET";
  auto destination = identity::ParseSpiffeId(grant.destination);
  auto site = law.world.sites.find(destination.ok() ? destination->site : "");
  if (site == law.world.sites.end()) return Deny("GRANT_INVALID", "the grant names a destination that is not declared");
  policy::Storage storage = storage_;
  if (self_is_source_) {
    absl::MutexLock lock(&mutex_);
    if (verified_statement_ != law.world.digest) {
      if (statement_.payload.empty()) {
        unmet.message = absl::StrCat("site ", site->first,
                                     " did not say how it keeps the copy at rest, which must be"
                                     " encrypted; its agent may be older than the obligation");
        return unmet;
      }
      auto stated =
          rpc::OpenStorage(statement_, grant.destination, record_.dataset_id, first_grant_.grant_id, law.world);
      if (!stated.ok()) {
        unmet.message = std::string(stated.status().message());
        return unmet;
      }
      stated_ = {.wrapping_key = stated->wrapping_key};
      verified_statement_ = law.world.digest;
    }
    storage = stated_;
  }
  unmet.message = policy::UnmetAtRest(permit.obligations, site->second, storage);
  if (unmet.message.empty()) return permit;
  if (!self_is_source_ && !storage_problem_.empty()) unmet.message = storage_problem_;
  return unmet;
}

}  // namespace bailiwick::agent
