#include "services/agent/transfer/flow_guard.h"

#include "absl/strings/str_cat.h"
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
  auto grant = rpc::OpenGrant(envelope, law->world.grant_keys);
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
  const absl::Time now = clock_->Now();
  auto peer = stream_->peer(now);
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
  return policy::CheckGrant({.world = &law.world,
                             .grant = &grant,
                             .self = self_,
                             .peer = peer->uri,
                             .self_is_source = self_is_source_,
                             .data = classification->labels,
                             .home_site = classification->home_site,
                             .dataset_id = record_.dataset_id,
                             .version = identity_,
                             .manifest_root = record_.manifest_root,
                             .now = now});
}

}  // namespace bailiwick::agent
