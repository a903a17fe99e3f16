#include "services/agent/transfer/flow_guard.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/identity/spiffe.h"
#include "common/policy/residence.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {
namespace {

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

policy::GrantDecision FlowGuard::CheckWith(const policy::Grant& grant, const LawSnapshot& law) {
  policy::GrantDecision fresh = law_->CheckFresh();
  if (!fresh.permitted) return fresh;
  const absl::Time now = law_->clock().Now();
  auto peer = stream_->peer(clock_->Now());
  if (!peer.ok()) return Deny("WRONG_PEER", Text(peer.status()));
  bool bound;
  {
    absl::MutexLock lock(&mutex_);
    bound = verified_under_ == law.world.digest && verified_certificate_ == peer->certificate_sha256;
  }
  if (!bound) {
    absl::Status binding = rpc::CheckBinding(binding_, peer->uri, peer->certificate_sha256, law.world);
    if (!binding.ok()) return Deny("WRONG_PEER", Text(binding));
    absl::MutexLock lock(&mutex_);
    verified_certificate_ = peer->certificate_sha256;
  }
  auto classification = law.Classify(record_.dataset_id, record_.dataset);
  if (!classification.ok()) return Deny("POLICY_ERROR", Text(classification.status()));
  policy::GrantDecision decision = policy::CheckGrant({.world = &law.world,
                                                       .grant = &grant,
                                                       .self = self_,
                                                       .peer = peer->uri,
                                                       .self_is_source = self_is_source_,
                                                       .data = classification->labels,
                                                       .home_site = classification->home_site,
                                                       .dataset_id = record_.dataset_id,
                                                       .version = identity_,
                                                       .manifest_root = record_.manifest_root,
                                                       .now = now,
                                                       .called_current = law_->called_current()});
  if (decision.permitted) decision = CheckRetention(grant, decision, law.world, *classification, now);
  return decision.permitted ? CheckAtRest(grant, decision, law) : decision;
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
    if (first_grant_.empty()) first_grant_ = grant.grant_id;
    if (verified_statement_ != law.world.digest) {
      if (statement_.payload.empty()) {
        unmet.message = absl::StrCat("site ", site->first,
                                     " did not say how it keeps the copy at rest, which must be"
                                     " encrypted; its agent may be older than the obligation");
        return unmet;
      }
      auto stated = rpc::OpenStorage(statement_, grant.destination, record_.dataset_id, first_grant_, law.world);
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
