// Planning and the care of running transfers.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/policy/evaluator.h"
#include "common/policy/grant.h"
#include "common/rpc/audit.h"
#include "common/rpc/codec.h"
#include "common/rpc/retention.h"
#include "common/store/catalog.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kPlanEvery = absl::Seconds(1);
constexpr absl::Duration kGrantLife = absl::Minutes(5);
constexpr absl::Duration kBackdate = absl::Seconds(20);  // for clocks that run a little behind
constexpr absl::Duration kSilence = absl::Seconds(60);   // a transfer nobody speaks of is over
constexpr absl::Duration kAdoption = absl::Seconds(5);   // for the dialler to speak of what ran before we started
constexpr absl::Duration kWordAfter = absl::Seconds(1);  // what an end says of itself comes later than the bytes
constexpr absl::Duration kStalled = absl::Seconds(10);   // without a byte, or what follows: another source may go on
constexpr int kStalledFrames = 4;                        // of those that come slowly
constexpr absl::Duration kDead = absl::Seconds(60);      // agents say something every 10 s

telemetry::HistogramFamily rounds("bailiwick_coordinator_plan_duration_seconds", "How long rounds of planning took.",
                                  {});
telemetry::CounterFamily grants("bailiwick_coordinator_grant_decisions_total",
                                "Grants that were issued, or refused by the law, by the rule that decided.",
                                {"result", "rule"});
telemetry::HistogramFamily ended("bailiwick_coordinator_transfer_duration_seconds",
                                 "How long transfers took that have ended, by link and how they ended.",
                                 {"source", "destination", "result"});
telemetry::CounterFamily moved("bailiwick_coordinator_transfer_wire_bytes_total",
                               "Bytes of content that ended transfers took on the wire.",
                               {"dataset", "source", "destination"});

absl::Duration FromProtoDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

PlannedPolicy ToPolicy(const config::Resource& resource) {
  const auto& spec = resource.replication_policy();
  PlannedPolicy p;
  p.name = resource.metadata().name();
  p.select = config::ToSelector(spec.select());
  for (const auto& target : spec.to()) {
    PlannedTarget t;
    t.copies = target.copies();
    if (!target.site().empty()) {
      t.kind = PlannedTarget::Kind::kSite;
      t.site = target.site();
    } else if (!target.region().empty()) {
      t.kind = PlannedTarget::Kind::kRegion;
      t.region = target.region();
    } else {
      t.kind = PlannedTarget::Kind::kSelector;
      t.sites = config::ToSelector(target.site_selector());
    }
    p.to.push_back(std::move(t));
  }
  if (spec.priority() == resource::v1::PRIORITY_LOW) p.priority = 1;
  if (spec.priority() == resource::v1::PRIORITY_HIGH) p.priority = 3;
  p.order = spec.order() == resource::v1::ORDER_IN_ORDER ? Order::kInOrder : Order::kNewestFirst;
  p.history = spec.history() != resource::v1::HISTORY_NEWEST;
  if (spec.has_rpo()) p.rpo = FromProtoDuration(spec.rpo());
  p.purpose = spec.purpose();
  p.materialize = !spec.has_materialize() || spec.materialize();
  return p;
}

}  // namespace

absl::Duration Core::StallsAfter(const Transfer& transfer) {
  return std::clamp(kStalledFrames * transfer.apart, kStalled, kSilence);
}

bool Core::HeldBack(const Transfer& transfer, absl::Duration now) const {
  const auto heard = heard_.find(transfer.view.destination());
  const bool away = heard == heard_.end() || now - heard->second > kStalled;
  return away || transfer.yields || SaysNow(transfer.source_says, now) == "cap";
}

bool Core::Stalled(const Transfer& transfer, absl::Duration now) const {
  if (transfer.delivered || transfer.adopted || HeldBack(transfer, now)) return false;
  // A destination that has itself said nothing since the last bytes is who hangs: no other source would help it.
  const bool waits = heard_.at(transfer.view.destination()) - transfer.progressed > kWordAfter;
  return waits && now - transfer.progressed > StallsAfter(transfer);
}

std::vector<RunningTransfer> Core::Running() const {
  const absl::Duration now = clock_->BootTime();
  std::vector<RunningTransfer> running;
  for (const auto& [id, transfer] : transfers_) {
    running.push_back({id, transfer.dataset, transfer.view.dataset(), transfer.version, transfer.view.source(),
                       transfer.view.destination(), transfer.view.done_bytes(), transfer.view.total_bytes(),
                       Stalled(transfer, now), transfer.priority, transfer.yields});
  }
  return running;
}

PlanInput Core::Input() const {
  PlanInput input;
  input.world = bundle_.has_value() ? &bundle_->world : nullptr;
  input.law = law_.get();
  input.now = clock_->Now();
  input.boot = clock_->BootTime();
  input.policy_revision = bundle_.has_value() ? bundle_->world.revision : 0;
  for (const auto& [key, resource] : state_.resources) {
    if (key.first == "ReplicationPolicy") input.policies.push_back(ToPolicy(resource));
    if (key.first != "Site") continue;
    PlannedSite site;
    site.name = key.second;
    site.region = resource.site().region();
    site.labels = {resource.metadata().labels().begin(), resource.metadata().labels().end()};
    site.connected = sessions_.count(key.second) != 0;
    site.newcomer = Approved(key.second) && Awaits(key.second);
    site.approved = Approved(key.second) && !site.newcomer;
    if (auto agent = state_.agents.find(key.second); agent != state_.agents.end()) {
      site.joined = !agent->second.spiffe_id.empty();
      site.spiffe_id = agent->second.spiffe_id;
      auto denied = state_.denied.find(site.spiffe_id);
      if (denied != state_.denied.end() && !denied->second.has_lifted()) {
        site.revoked = absl::StrCat(FormatAge(input.now - rpc::FromProto(denied->second.at())), " ago by ",
                                    denied->second.by(), ": ", denied->second.reason());
      }
      site.endpoint = agent->second.endpoint;
      site.dialable = !agent->second.endpoint.empty() && !OutboundOnly(key.second);
      site.last_seen = agent->second.last_seen;
      site.policy_revision = agent->second.policy_revision;
    }
    if (auto said = policy_said_.find(key.second); said != policy_said_.end()) site.policy_stale = said->second.stale();
    input.sites[key.second] = std::move(site);
  }
  for (const auto& [id, stream] : streams_) {
    PlannedDataset dataset;
    dataset.id = id;
    dataset.name = stream.name;
    dataset.labels = stream.labels;
    dataset.home_site = stream.home_site;
    dataset.drop_after = stream.spec.drop_after_copies();
    for (auto pin = state_.pins.lower_bound({id, ""}); pin != state_.pins.end() && pin->first.first == id; ++pin) {
      dataset.pinned[pin->first.second] = pin->second;
    }
    auto replicas = state_.replicas.find(id);
    std::set<VersionNumber> somewhere, damaged;
    if (replicas != state_.replicas.end()) {
      for (const auto& [site, row] : replicas->second) {
        if (!Unlawful(&stream, site, row, nullptr)) dataset.held[site] = InUse(row);
        dataset.hops[site] = row.hops;
        somewhere.insert(row.versions.begin(), row.versions.end());
        for (const auto& [number, base] : row.partial) somewhere.insert(number);
        somewhere.insert(row.broken.begin(), row.broken.end());
        if (!row.broken.empty()) dataset.broken[site] = row.broken;
        if (!row.foreign.empty()) dataset.foreign[site] = row.foreign;
        if (site == stream.home_site) {
          dataset.partial = row.partial;
          damaged = row.damaged;
        }
        if (!row.problem.empty()) dataset.problems[site] = row.problem;
        if (site == stream.home_site) dataset.source_problem = row.source_problem;
      }
    }
    if (auto versions = state_.versions.find(id); versions != state_.versions.end()) {
      for (VersionNumber number : somewhere) {  // retention took the others everywhere
        auto version = versions->second.find(number);
        if (version == versions->second.end()) continue;
        const store::VersionRecord& record = version->second.record;
        dataset.versions.push_back({number, record.committed_at, record.logical_bytes});
        if (damaged.count(number) != 0) dataset.damaged.insert(number);
      }
      if (!dataset.versions.empty()) {
        const VersionNumber newest = dataset.versions.back().number;
        const bool before = versions->second.at(newest).record.home_site != stream.home_site;
        if (before && dataset.held[stream.home_site].count(newest) == 0) dataset.home_lacks = newest;
      }
      std::vector<std::pair<VersionNumber, absl::Time>> times;
      for (const PlannedVersion& version : dataset.versions) times.emplace_back(version.number, version.committed_at);
      const store::RetentionRule rule = rpc::RetentionOf(stream.spec);
      const auto gone = [&](absl::Time now) {
        const std::vector<VersionNumber> numbers = store::Expired(times, rule, now);
        return std::set<VersionNumber>(numbers.begin(), numbers.end());
      };
      dataset.expired = gone(clock_->Now());
      if (!times.empty()) dataset.retired = gone(std::min(clock_->Now(), times.back().second));
      auto next_commit = [&](VersionNumber held) {
        auto next = versions->second.upper_bound(held);
        if (next != versions->second.end()) dataset.next_commit[held] = next->second.record.committed_at;
      };
      next_commit(0);
      for (const auto& [site, numbers] : dataset.held) {
        if (!numbers.empty()) next_commit(*numbers.rbegin());
      }
    }
    input.datasets.push_back(std::move(dataset));
  }
  input.running = Running();
  return input;
}

void Core::PlanLoop() {
  absl::Duration next = clock_->BootTime();
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return dirty_ || stopping_; };
      mutex_.AwaitWithTimeout(absl::Condition(&wake), std::max(absl::ZeroDuration(), next - clock_->BootTime()));
      if (stopping_) return;
    }
    next = clock_->BootTime() + kPlanEvery;
    Reconcile();
    turned_ = true;
  }
}

void Core::Reconcile() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration began = clock_->BootTime();
  CloseSilentSessions();
  CareForTransfers();
  SendTimestamps();
  ForgetVersions();
  EndProposals();
  PlanOnce();
  rounds.With({}).Observe(clock_->BootTime() - began);
}

void Core::CloseSilentSessions() {
  for (const auto& [site, session] : sessions_) {
    if (absl::Status valid = config_.identities.gate->Check(session->peer()); !valid.ok()) {
      session->Close(valid);
      continue;
    }
    if (clock_->BootTime() - heard_[site] > kDead) {
      session->Close(absl::DeadlineExceededError("no word from the agent for a minute"));
    }
  }
}

void Core::PlanOnce() {
  dirty_ = false;
  PlanInput input = Input();
  plan_ = planner_.Run(input);
  CareForRpo();
  PlanStanding(input);
  PushAssignments();
  PlanHomeDrops(input);
  PlanEvictionsOnce(std::move(input));
  for (const StartTransfer& start : plan_.start) StartTransferNow(start);
  CareForPriorities();
  for (const std::string& id : plan_.replace) {
    const Transfer& stalled = transfers_.at(id);
    const std::string why = absl::StrCat("nothing came from ", stalled.view.source(), " for ",
                                         absl::FormatDuration(absl::Trunc(StallsAfter(stalled), absl::Seconds(1))),
                                         "; another source goes on");
    CancelTransfer(id, "STALLED", why);
  }
  PushCaps();
}

void Core::CareForRpo() {
  for (const RpoChange& change : RpoChanges(plan_.wanted, state_.rpo_alarms, clock_->Now())) {
    const RpoAlarm& alarm = change.alarm;
    const std::string kind = change.raised ? "rpo-breached" : "rpo-recovered";
    auto put = catalog_->PutRpoAlarm(alarm, change.raised,
                                     MakeEvent(kind, alarm.site, alarm.dataset_name, change.version, change.sentence));
    if (!put.ok()) {  // the next plan says it again
      Log(Level::kError, "catalog-failed", {{"error", put.status()}});
      continue;
    }
    Log(change.raised ? Level::kWarning : Level::kInfo, kind,
        {{"site", alarm.site},
         {"dataset", alarm.dataset_name},
         {"version", change.version},
         {"message", change.sentence}});
    if (change.raised) {
      state_.rpo_alarms[{alarm.dataset, alarm.site}] = alarm;
    } else {
      state_.rpo_alarms.erase({alarm.dataset, alarm.site});
    }
  }
}

const Wanted* Core::FindWanted(DatasetId dataset, const std::string& site) const {
  for (const Wanted& wanted : plan_.wanted) {
    if (wanted.dataset == dataset && wanted.site == site) return &wanted;
  }
  return nullptr;
}

std::optional<crypto::Envelope> Core::MakeGrant(const Transfer& transfer) {
  auto stream = streams_.find(transfer.dataset);
  if (stream == streams_.end() || !bundle_.has_value()) return std::nullopt;
  policy::Decision decision =
      policy::EvaluateReplication(bundle_->world,
                                  {stream->second.labels, transfer.view.source(), transfer.view.destination(),
                                   transfer.view.purpose(), stream->second.home_site},
                                  clock_->Now());
  grants.With({decision.permitted ? "issued" : "refused", decision.rule}).Add();
  if (!decision.permitted) return std::nullopt;
  auto versions = state_.versions.find(transfer.dataset);
  if (versions == state_.versions.end()) return std::nullopt;
  auto known = versions->second.find(transfer.version);
  if (known == versions->second.end()) return std::nullopt;
  const VersionRow& version = known->second;
  if (clock_->Now() - version.record.committed_at > decision.obligations.max_retention) return std::nullopt;
  policy::Grant grant;
  grant.grant_id = random_->Bytes(16);
  grant.transfer_id = transfer.view.transfer_id();
  grant.dataset_id = transfer.dataset;
  grant.dataset = stream->second.name;
  grant.version = version.identity;
  grant.manifest_root = version.record.manifest_root;
  grant.source = state_.agents[transfer.view.source()].spiffe_id;
  grant.destination = state_.agents[transfer.view.destination()].spiffe_id;
  grant.source_region = bundle_->world.sites.at(transfer.view.source()).region;
  grant.destination_region = bundle_->world.sites.at(transfer.view.destination()).region;
  grant.action = policy::ActionName(policy::Action::kTransfer);
  grant.purpose = transfer.view.purpose();
  grant.policy_revision = bundle_->world.revision;
  grant.policy_digest = bundle_->world.digest;
  grant.not_before = clock_->Now() - kBackdate;
  grant.not_after = clock_->Now() + kGrantLife;
  absl::Status audited = Audit("grant-issued", absl::StrCat(grant.dataset, "/", grant.transfer_id),
                               rpc::GrantDetail(grant).Text("rule", decision.rule).Text("basis", decision.basis));
  if (!audited.ok()) {
    Log(Level::kError, "audit-failed", {{"error", audited}});
    return std::nullopt;
  }
  return crypto::SignEnvelope(crypto::kGrantType, rpc::EncodeGrant(grant), *grant_key_);
}

void Core::StartTransferNow(const StartTransfer& start) {
  Transfer transfer;
  transfer.dataset = start.dataset;
  transfer.version = start.version;
  transfer.priority = start.priority;
  transfer.dialler = start.receiver_dials ? start.destination : start.source;
  transfer.other = start.receiver_dials ? start.source : start.destination;
  auto session = sessions_.find(transfer.dialler);
  if (session == sessions_.end()) return;
  control::v1::Transfer& view = transfer.view;
  view.set_transfer_id(absl::BytesToHexString(random_->Bytes(8)));
  view.set_dataset(start.dataset_name);
  view.set_version(start.version);
  view.set_source(start.source);
  view.set_destination(start.destination);
  view.set_state("starting");
  view.set_total_bytes(start.total_bytes);
  view.set_purpose(start.purpose);
  rpc::ToProto(clock_->Now(), view.mutable_started());
  std::optional<crypto::Envelope> grant = MakeGrant(transfer);
  if (!grant.has_value()) return;  // denied meanwhile: the next plan says so
  const absl::Duration now = clock_->BootTime();
  transfer.last_report = transfer.progressed = now;
  transfer.renew_at = now + kGrantLife / 2;
  transfer.policy_revision = bundle_->world.revision;
  agent::v1::CoordinatorMessage message;
  auto* order = message.mutable_transfer();
  order->set_transfer_id(view.transfer_id());
  order->set_dataset_id(start.dataset.str());
  order->set_dataset(start.dataset_name);
  order->set_receive(start.receiver_dials);
  rpc::ToProto(state_.versions.at(start.dataset).at(start.version).envelope, order->mutable_version_record());
  rpc::ToProto(*grant, order->mutable_grant());
  order->set_peer(state_.agents[transfer.other].spiffe_id);
  order->set_peer_endpoint(state_.agents[transfer.other].endpoint);
  order->set_total_bytes(start.total_bytes);
  absl::Status saved = SaveTransfer(transfer, false);
  if (!saved.ok()) {
    Log(Level::kError, "catalog-failed", {{"error", saved}});
    return;
  }
  session->second->Send(std::move(message));
  Event("transfer-started", start.destination, start.dataset_name, start.version,
        absl::StrCat(view.transfer_id(), " from ", start.source));
  transfers_[view.transfer_id()] = std::move(transfer);
}

void Core::CareForTransfers() {
  const absl::Duration now = clock_->BootTime();
  std::vector<std::pair<std::string, std::string>> silent;
  std::vector<std::string> denied;
  for (auto& [id, transfer] : transfers_) {
    if (transfer.adopted) {
      if (sessions_.count(transfer.dialler) == 0) {  // its time to speak begins when it is back; renew_at is our start
        transfer.last_report = now;
        if (now - transfer.renew_at > kSilence) silent.emplace_back(id, "its dialler did not come back");
      } else if (now - transfer.last_report > kAdoption) {
        silent.emplace_back(id, "its dialler no longer runs it");
      }
      continue;  // renewed once it is known to run
    }
    if (now - transfer.last_report > kSilence) {
      silent.emplace_back(id,
                          transfer.delivered ? "its destination does not confirm it" : "no word of it for a minute");
      continue;
    }
    if (HeldBack(transfer, now)) transfer.progressed = now;
    const bool policy_moved = bundle_.has_value() && transfer.policy_revision != bundle_->world.revision;
    if (!policy_moved && now < transfer.renew_at) continue;
    std::optional<crypto::Envelope> grant = MakeGrant(transfer);
    if (!grant.has_value()) {
      denied.push_back(id);
      continue;
    }
    transfer.policy_revision = bundle_->world.revision;
    transfer.renew_at = now + kGrantLife / 2;
    if (auto session = sessions_.find(transfer.dialler); session != sessions_.end()) {
      agent::v1::CoordinatorMessage message;
      message.mutable_grant()->set_transfer_id(id);
      rpc::ToProto(*grant, message.mutable_grant()->mutable_grant());
      session->second->Send(std::move(message));
    }
  }
  // Its ends may be at work all the same: the next attempt must not share the link with this one.
  for (const auto& [id, why] : silent) CancelTransfer(id, "BROKEN", why);
  for (const std::string& id : denied) CancelTransfer(id, "POLICY_DENIED", "the policy no longer permits it");
}

void Core::CancelTransfer(const std::string& id, const std::string& code, const std::string& why) {
  const Transfer& transfer = transfers_.at(id);
  for (const std::string& site : {transfer.dialler, transfer.other}) {
    auto session = sessions_.find(site);
    if (session == sessions_.end()) continue;
    agent::v1::CoordinatorMessage message;
    message.mutable_cancel()->set_transfer_id(id);
    message.mutable_cancel()->set_reason(why);
    session->second->Send(std::move(message));
  }
  EndTransfer(id, false, code, why);
}

absl::Status Core::SaveTransfer(const Transfer& transfer, bool ended) {
  return catalog_->PutTransfer({transfer.view, transfer.dataset, transfer.dialler, ended});
}

void Core::EndTransfer(const std::string& id, bool done, const std::string& code, const std::string& message) {
  auto it = transfers_.find(id);
  if (it == transfers_.end()) return;
  Transfer transfer = std::move(it->second);
  transfers_.erase(it);
  control::v1::Transfer& view = transfer.view;
  const DatasetId dataset = transfer.dataset;
  view.set_state(done ? "done" : "failed");
  if (done) view.set_done_bytes(view.total_bytes());
  view.set_code(code);
  view.set_message(message);
  rpc::ToProto(clock_->Now(), view.mutable_ended());
  absl::Status saved = SaveTransfer(transfer, true);
  if (!saved.ok()) Log(Level::kError, "catalog-failed", {{"error", saved}});
  const bool denied = code == "POLICY_DENIED" || code == "POLICY_ERROR" || code == "PAST_RETENTION";
  ended.With({view.source(), view.destination(),
              done     ? "done"
              : denied ? "denied"
                       : "failed"})
      .Observe(clock_->Now() - rpc::FromProto(view.started()));
  moved.With({view.dataset(), view.source(), view.destination()}).Add(view.wire_bytes());
  if (done) {
    planner_.Succeeded(dataset, view.destination());
    Event("transfer-done", view.destination(), view.dataset(), view.version(),
          absl::StrCat(id, " from ", view.source(), ", ", view.wire_bytes(), " bytes on the wire"));
  } else {
    planner_.Failed(dataset, view.destination(), message.empty() ? code : message, denied, clock_->BootTime());
    // One to whom a receiver was lost has let nobody down.
    if (sessions_.count(view.destination()) != 0 || sessions_.count(view.source()) == 0) {
      planner_.Avoid(dataset, view.destination(), view.source(), clock_->BootTime());
    }
    Event(denied ? "transfer-denied" : "transfer-failed", view.destination(), view.dataset(), view.version(),
          absl::StrCat(id, " from ", view.source(), ": ", code, message.empty() ? "" : ": ", message));
  }
  ended_.push_back(std::move(view));
  if (ended_.size() > Catalog::kMaxEndedTransfers) ended_.pop_front();
  Wake();
}

}  // namespace bailiwick::coordinator
