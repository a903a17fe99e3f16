// Going on without the coordinator: the flows that it last said should be, under grants that the source signs itself.
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/identity/spiffe.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/agent/transfer/ask.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

}  // namespace

// Every second.
void Agent::LookAtStanding() {
  granter_.SetConnected(session_->connected());
  const bool away = granter_.away();
  if (away != std::exchange(on_its_own_, away)) {
    Log(away ? Level::kWarning : Level::kInfo, away ? "coordinator-out-of-reach" : "coordinator-back");
  }
  if (away) {
    for (const auto& work : AllWork()) GoOn(work);
    RenewStanding();
  }
  absl::Status written = status_file_.Write(LocalStatus());
  if (!written.ok()) Log(Level::kError, "status-not-written", {{"error", written}});
}

// The coordinator grants from here on: what runs under our own grants ends, and goes on where it was under its.
void Agent::StopStanding() {
  granter_.SetConnected(true);
  for (const auto& control : standing_.Clear()) control->Cancel("SHUTDOWN", "the coordinator is back");
}

void Agent::GoOn(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  std::vector<agent::v1::StandingPeer> peers;
  std::set<std::string> sending_to;
  bool home, receiving;
  {
    absl::MutexLock lock(&mutex_);
    if (!work->assigned) return;
    home = work->assignment.home();
    receiving = work->receiving > 0;
    for (const auto& peer : work->assignment.standing()) {
      if (!peer.endpoint().empty()) peers.push_back(peer);
    }
    for (const auto& [control, running] : work->flows) sending_to.insert(running.to);
  }
  if (peers.empty() || Closed(dataset.id)) return;
  if (!home) {
    if (!receiving) AskHome(dataset, peers.front());
    return;
  }
  auto version = VersionToShow(dataset, 0);
  if (!version.ok() || !version->has_value()) return;
  for (const auto& peer : peers) {
    if (sending_to.count(peer.site()) == 0) SendStanding(dataset, **version, peer);
  }
}

void Agent::SendStanding(DatasetHandle& dataset, const store::CatalogVersion& version,
                         const agent::v1::StandingPeer& peer) {
  const StandingFlows::Key key(dataset.id, peer.site());
  const absl::Duration now = state_->env().clock->BootTime();
  if (!standing_.Due(key, version.identity, now)) return;
  FlowOrder order;
  order.transfer_id = absl::BytesToHexString(state_->env().random->Bytes(8));
  order.receive = false;
  order.version_record = version.envelope;
  auto grant = granter_.Grant({order.transfer_id, version, peer.spiffe_id(), peer.purpose()});
  if (!grant.ok()) return standing_.Refused(key, std::string(grant.status().message()), now);
  order.grant = *std::move(grant);
  auto control = std::make_shared<FlowControl>();
  standing_.BeganToSend(key, {order.transfer_id, version, peer.spiffe_id(), peer.purpose(), control},
                        SelfGranter::kGrantLife, now);
  const std::string id = order.transfer_id;
  const bool launched = Launch(id, control, [this, order = std::move(order), peer, control] {
    auto channel = DialPeer(peer.spiffe_id(), peer.endpoint());
    if (!channel.ok())
      return (void)standing_.Ended(order.transfer_id, false, std::string(channel.status().message()),
                                   state_->env().clock->BootTime());
    RunDialledFlow(transfer_env_, order, OpenExchange(*channel), control);
  });
  if (!launched) standing_.Ended(id, false, "this agent runs as many transfers as it may", now);
}

void Agent::AskHome(DatasetHandle& dataset, const agent::v1::StandingPeer& home) {
  const StandingFlows::Key key(dataset.id, home.site());
  const absl::Duration now = state_->env().clock->BootTime();
  if (!standing_.DueToAsk(key, now)) return;
  auto newest = dataset.catalog->Newest(dataset.id);
  if (!newest.ok()) return;
  Question question{.dataset = dataset.id,
                    .newest = newest->has_value() ? (*newest)->record.number : 0,
                    .transfer_id = absl::BytesToHexString(state_->env().random->Bytes(8))};
  auto control = std::make_shared<FlowControl>();
  standing_.BeganToAsk(key, question.transfer_id, control);
  const bool launched = Launch(question.transfer_id, control, [this, question, home, control] {
    absl::Status asked = AskAndReceive(question, home, control);
    const bool nothing = absl::IsNotFound(asked);
    // A flow that began has said itself how it ended.
    standing_.Ended(question.transfer_id, nothing, std::string(asked.message()), state_->env().clock->BootTime());
  });
  if (!launched) standing_.Ended(question.transfer_id, false, "this agent runs as many transfers as it may", now);
}

absl::Status Agent::AskAndReceive(const Question& question, const agent::v1::StandingPeer& home,
                                  const std::shared_ptr<FlowControl>& control) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, DialPeer(home.spiffe_id(), home.endpoint()));
  std::shared_ptr<FrameStream> stream = OpenExchange(channel);
  control->Attach(stream);
  BW_ASSIGN_OR_RETURN(OfferedVersion offered, Ask(transfer_env_, question, *stream));
  FlowOrder order;
  order.transfer_id = question.transfer_id;
  order.receive = true;
  order.version_record = std::move(offered.version_record);
  order.grant = std::move(offered.grant);
  RunDialledFlow(transfer_env_, order, OpenExchange(channel), control);
  return absl::OkStatus();
}

// To a replica of ours that asks, while we have no coordinator either.
absl::StatusOr<OfferedVersion> Agent::OfferTo(const Question& question, const std::string& peer) {
  auto work = FindWork(question.dataset);
  std::optional<agent::v1::StandingPeer> told;
  if (work != nullptr) {
    absl::MutexLock lock(&mutex_);
    for (const auto& known : work->assignment.standing()) {
      if (work->assigned && work->assignment.home() && known.spiffe_id() == peer) told = known;
    }
  }
  if (!told.has_value()) {
    return absl::PermissionDeniedError(
        absl::StrCat("site ", identity_->site(), " was never told to send this dataset to ", peer));
  }
  if (Closed(question.dataset)) return absl::PermissionDeniedError("the copy here is fenced");
  BW_ASSIGN_OR_RETURN(auto version, VersionToShow(*work->dataset, 0));
  if (!version.has_value() || version->record.number <= question.newest) return absl::NotFoundError("nothing newer");
  BW_ASSIGN_OR_RETURN(crypto::Envelope grant, granter_.Grant({question.transfer_id, *version, peer, told->purpose()}));
  return OfferedVersion{version->envelope, std::move(grant)};
}

void Agent::RenewStanding() {
  for (const auto& flow : standing_.RenewalsDue(SelfGranter::kGrantLife, state_->env().clock->BootTime())) {
    auto grant = granter_.Grant({flow.transfer_id, flow.version, flow.peer, flow.purpose});
    if (grant.ok()) flow.control->Renew(*grant);
  }
}

agent::v1::LocalStatus Agent::LocalStatus() {
  agent::v1::LocalStatus status;
  status.set_site(identity_->site());
  {
    absl::MutexLock lock(&mutex_);
    status.set_coordinator(coordinator_address_);
    status.set_replicas_problem(volume_problem_);
  }
  status.set_endpoint(endpoint_);
  status.set_connected(granter_.away_for() == absl::ZeroDuration());
  status.set_on_its_own(on_its_own_);
  if (!status.connected()) {
    // In whole seconds since boot, so that it stays the same while nothing changes.
    const absl::Time boot = state_->env().clock->Now() - state_->env().clock->BootTime();
    const absl::Duration since = state_->env().clock->BootTime() - granter_.away_for();
    rpc::ToProto(absl::FromUnixSeconds(absl::ToUnixSeconds(boot + since + absl::Milliseconds(500))),
                 status.mutable_away_since());
  }
  status.set_policy_revision(law_->revision());
  if (absl::Time called = law_->called_current(); called != absl::InfinitePast()) {
    rpc::ToProto(called, status.mutable_policy_called_current());
  }
  const policy::GrantDecision fresh = law_->CheckFresh();
  if (!fresh.permitted) status.set_stale(fresh.code);
  std::map<StandingFlows::Key, StandingFlows::View> views;
  for (auto& view : standing_.Views()) views[view.key] = view;
  for (const auto& work : AllWork()) {
    std::vector<std::string> sites;
    {
      absl::MutexLock lock(&mutex_);
      for (const auto& peer : work->assignment.standing()) sites.push_back(peer.site());
    }
    for (const std::string& site : sites) {
      auto* flow = status.add_standing();
      flow->set_dataset(work->dataset->name);
      flow->set_site(site);
      const absl::Time until = granter_.Until(site);
      if (until > law_->clock().Now()) rpc::ToProto(until, flow->mutable_until());
      auto view = views.find({work->dataset->id, site});
      if (view == views.end()) continue;
      flow->set_running(view->second.running);
      flow->set_arrived(view->second.arrived);
      flow->set_problem(view->second.problem);
    }
  }
  return status;
}

}  // namespace bailiwick::agent
