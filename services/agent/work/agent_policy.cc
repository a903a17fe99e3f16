// The agent and its law: what is offered, whether it is still current, what is said about it.
#include "absl/strings/str_cat.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kKeepTimeEvery = absl::Minutes(10);

}  // namespace

void Agent::OnPolicy(const agent::v1::PolicyOffer& message) {
  LawOffer offer;
  if (message.has_bundle()) offer.bundle = rpc::FromProto(message.bundle());
  for (const auto& root : message.roots()) offer.roots.push_back(rpc::FromProto(root));
  for (const auto& c : message.classifications()) offer.classifications.push_back(rpc::FromProto(c));
  if (message.has_timestamp()) offer.timestamp = rpc::FromProto(message.timestamp());
  const uint64_t before = law_->revision();
  absl::Status installed =
      law_->Install(offer, [this](uint64_t revision) { return RecordLaw(state_->audit(), revision); });
  if (!installed.ok()) {
    Log(Level::kError, "policy-refused", {{"error", installed}, {"keeping", before}});
    MissedFor(installed);
  } else if (law_->revision() != before) {
    Log(Level::kInfo, "policy-installed", {{"revision", law_->revision()}});
    KeepAllSoon();
    AnnounceAgain();
  }
  if (installed.ok())
    JudgeAll();  // what may no longer lie here is fenced before the coordinator hears that the law is here
  SendPolicyState(installed.ok() ? "" : std::string(installed.message()));
}

// What the coordinator refused under the law before it may take under this one.
void Agent::AnnounceAgain() {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, work] : work_) {
    if (work->report_again != absl::InfiniteDuration()) work->report_again = absl::ZeroDuration();
  }
}

void Agent::OnTimestamp(const types::v1::Envelope& timestamp) {
  absl::Status refreshed = law_->Refresh(rpc::FromProto(timestamp));
  if (!refreshed.ok()) Log(Level::kWarning, "policy-timestamp-refused", {{"error", refreshed}});
  SendPolicyState("");
}

void Agent::SendPolicyState(const std::string& error) {
  agent::v1::AgentMessage message;
  auto* state = message.mutable_policy();
  state->set_revision(law_->revision());
  state->set_error(error);
  const absl::Time until = law_->vouched_until();
  if (until != absl::InfinitePast()) rpc::ToProto(until, state->mutable_vouched_until());
  const absl::Time called_current = law_->called_current();
  if (called_current != absl::InfinitePast()) rpc::ToProto(called_current, state->mutable_called_current());
  const policy::GrantDecision fresh = law_->CheckFresh();
  if (!fresh.permitted && law_->revision() != 0) state->set_stale(fresh.message);
  {
    absl::MutexLock lock(&mutex_);
    stale_code_ = fresh.code;
  }
  session_->Send(std::move(message));
}

// Time alone makes a law stale: said when it happens, once. What is known of the time is kept for a start without a
// clock.
void Agent::LookAtPolicyAge() {
  const policy::GrantDecision fresh = law_->CheckFresh();
  const absl::Duration now = state_->env().clock->BootTime();
  bool changed, keep;
  {
    absl::MutexLock lock(&mutex_);
    changed = fresh.code != stale_code_;
    stale_code_ = fresh.code;
    keep = now >= next_time_kept_;
    if (keep) next_time_kept_ = now + kKeepTimeEvery;
  }
  if (changed) {
    if (!fresh.permitted) Log(Level::kError, "nothing-may-flow", {{"code", fresh.code}, {"reason", fresh.message}});
    SendPolicyState("");
  }
  if (!keep) return;
  absl::Status kept = law_->KeepTime();
  if (!kept.ok()) Log(Level::kError, "time-not-kept", {{"error", kept}});
}

}  // namespace bailiwick::agent
