// The agents' side of the core: sessions and what they report.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/coordinator/core/conflict.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

constexpr size_t kMaxText = 1000;  // of what an agent says that is kept: a sentence, not a document
constexpr size_t kMaxBuild = 300;
constexpr char kLostPast[] =
    "the home lost its data and numbers its versions anew, which would rewrite history; delete the dataset and declare "
    "it again";

std::string Short(const std::string& text) { return text.substr(0, kMaxText); }

std::string FenceText(const ReplicaRow& row) { return row.fence.has_value() ? row.fence->SerializeAsString() : ""; }

}  // namespace

using telemetry::Level;
using telemetry::Log;

absl::Status Core::OnHello(const std::shared_ptr<Session>& session, const agent::v1::AgentHello& hello) {
  const identity::SpiffeId& id = session->peer().id;
  if (hello.protocol_min() > kProtocolMax || hello.protocol_max() < kProtocolMin) {
    return absl::FailedPreconditionError(absl::StrCat("this coordinator speaks protocol ", kProtocolMin, " to ",
                                                      kProtocolMax, ", the agent ", hello.protocol_min(), " to ",
                                                      hello.protocol_max()));
  }
  if (hello.incarnation().size() != 16 || hello.build().size() > kMaxBuild) {
    return absl::InvalidArgumentError("the hello is malformed");
  }
  for (const std::string& endpoint : {hello.endpoint(), hello.admin_endpoint()}) {
    if (!endpoint.empty()) BW_RETURN_IF_ERROR(Annotate(ParseHostPort(endpoint).status(), "the agent's address"));
  }
  std::shared_ptr<Session> replaced;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::UnavailableError("the coordinator is stopping");
    const rpc::Gate& gate = *config_.identities.gate;
    BW_RETURN_IF_ERROR(gate.Refused(session->peer().uri, CheckSite(id)));
    AgentRow agent = state_.agents[id.site];
    BW_RETURN_IF_ERROR(gate.Refused(
        session->peer().uri,
        CheckMachine(session->peer().uri, agent,
                     {.key = hello.enrolment_ed25519(),
                      .message = absl::StrCat("bailiwick-hello-v1", session->peer().uri, hello.incarnation()),
                      .signature = hello.enrolment_proof()})));
    agent.site = id.site;
    agent.spiffe_id = session->peer().uri;
    // Of a site that joined after the backup that this coordinator came from the key is learnt here.
    if (agent.enrolment_key.empty()) agent.enrolment_key = hello.enrolment_ed25519();
    agent.incarnation = hello.incarnation();
    agent.endpoint = OutboundOnly(id.site) ? "" : hello.endpoint();
    agent.admin_endpoint = hello.admin_endpoint();
    agent.build = hello.build();
    agent.policy_revision = hello.policy_revision();
    agent.last_seen = clock_->Now();
    agent.certificate_expires = session->peer().not_after;
    BW_RETURN_IF_ERROR(catalog_->PutAgent(agent));
    state_.agents[id.site] = agent;
    heard_[id.site] = clock_->BootTime();
    if (auto it = sessions_.find(id.site); it != sessions_.end()) replaced = it->second;
    sessions_[id.site] = session;
    enforces_[id.site] = {hello.enforces().begin(), hello.enforces().end()};
    wanted_of_site_.erase(id.site);
    caps_of_site_.erase(id.site);
    redactions_sent_.erase(id.site);
    std::erase_if(recalled_, [&](const auto& of) { return of.first.first == id.site; });
    std::erase_if(heard_of_, [&](const auto& of) { return of.first == id.site; });
    for (auto it = ordered_.begin(); it != ordered_.end();) {
      it = it->first.first == id.site ? ordered_.erase(it) : std::next(it);
    }
    agent::v1::CoordinatorMessage welcome;
    welcome.mutable_welcome()->set_protocol(std::min(hello.protocol_max(), kProtocolMax));
    welcome.mutable_welcome()->set_build(std::string(kBuildVersion));
    welcome.mutable_welcome()->set_catalog_sequence(catalog_->sequence());
    rpc::ToProto(clock_->Now(), welcome.mutable_welcome()->mutable_now());
    session->Send(std::move(welcome));
    session->Send(TrustMessage());
    SendPolicy(*session, nullptr);
    SendAssignments(id.site, *session);
    if (replaced == nullptr) {
      Event("site-connected", id.site, "", 0, hello.endpoint());
      std::set<DatasetId> has;
      for (const auto& [dataset, replicas] : state_.replicas) {
        if (replicas.count(id.site) != 0) has.insert(dataset);
      }
      planner_.ResetBackoff(id.site, has);
    }
    Wake();
  }
  if (replaced != nullptr) replaced->Drain();
  return absl::OkStatus();
}

void Core::OnClosed(const std::shared_ptr<Session>& session) {
  absl::MutexLock lock(&mutex_);
  const std::string& site = session->peer().id.site;
  auto it = sessions_.find(site);
  if (it == sessions_.end() || it->second != session) return;  // replaced
  sessions_.erase(it);
  heard_.erase(site);
  state_.agents[site].last_seen = clock_->Now();
  catalog_->PutAgent(state_.agents[site]).IgnoreError();
  std::vector<std::string> broken;
  for (const auto& [id, transfer] : transfers_) {
    if (transfer.dialler == site && !stopping_) broken.push_back(id);  // flows outlive a stop of the coordinator
  }
  for (const std::string& id : broken) EndTransfer(id, false, "BROKEN", absl::StrCat("site ", site, " went offline"));
  planner_.Forgive(site);  // what broke on its way to it a moment before
  if (!stopping_) Event("site-disconnected", site, "", 0, "");
  Wake();
}

void Core::OnMessage(const std::shared_ptr<Session>& session, const agent::v1::AgentMessage& message) {
  absl::MutexLock lock(&mutex_);
  const std::string& site = session->peer().id.site;
  auto it = sessions_.find(site);
  if (it == sessions_.end()) return;
  if (it->second != session) {
    // A session that was taken over: what it says of its state is older than what the new one does, the end of a
    // transfer is not.
    if (message.has_transfer()) OnTransfer(site, message.transfer());
    return;
  }
  AgentRow& agent = state_.agents[site];
  agent.last_seen = clock_->Now();
  heard_[site] = clock_->BootTime();
  switch (message.kind_case()) {
    case agent::v1::AgentMessage::kReplica:
      OnReplica(site, message.replica());
      break;
    case agent::v1::AgentMessage::kTransfer:
      OnTransfer(site, message.transfer());
      break;
    case agent::v1::AgentMessage::kPolicy: {
      const std::string was_stale = policy_said_[site].stale();
      policy_said_[site] = message.policy();
      policy_said_[site].set_stale(Short(message.policy().stale()));
      if (was_stale.empty() != message.policy().stale().empty()) {
        Event(was_stale.empty() ? "policy-stale" : "policy-fresh", site, "", 0, Short(message.policy().stale()));
        Wake();
      }
      const bool changed =
          agent.policy_revision != message.policy().revision() || agent.policy_error != Short(message.policy().error());
      agent.policy_revision = message.policy().revision();
      agent.policy_error = Short(message.policy().error());
      if (!changed) break;
      catalog_->PutAgent(agent).IgnoreError();
      if (!agent.policy_error.empty()) Event("policy-refused", site, "", 0, agent.policy_error);
      Wake();
      break;
    }
    case agent::v1::AgentMessage::kHeartbeat:
      if (message.heartbeat().has_free_bytes()) {
        free_bytes_[site] = message.heartbeat().free_bytes();
      } else {
        free_bytes_.erase(site);
      }
      break;
    case agent::v1::AgentMessage::kNotice: {
      auto id = DatasetId::From(message.notice().dataset_id());
      auto stream = id.ok() ? streams_.find(*id) : streams_.end();
      Event(absl::StrCat("agent-", Short(message.notice().kind())), site,
            stream == streams_.end() ? "" : stream->second.name, 0, Short(message.notice().message()));
      break;
    }
    case agent::v1::AgentMessage::kReceipt:
      OnReceipt(site, message.receipt());
      break;
    case agent::v1::AgentMessage::kCopies:
      OnCopies(site, message.copies());
      break;
    case agent::v1::AgentMessage::kKeptHolds:
      OnKeptHolds(site, message.kept_holds());
      break;
    case agent::v1::AgentMessage::kHello:
    case agent::v1::AgentMessage::kAudit:  // both are the audit desk's
    case agent::v1::AgentMessage::kAuditCosignature:
    case agent::v1::AgentMessage::KIND_NOT_SET:
      break;
  }
}

absl::Status Core::TakeVersion(const Stream& stream, const std::string& site, const agent::v1::HeldVersion& held) {
  if (site != stream.home_site) return absl::PermissionDeniedError("only the home announces versions");
  VersionRow row;
  row.envelope = rpc::FromProto(held.record());
  BW_ASSIGN_OR_RETURN(row.record, store::DecodeVersionRecord(row.envelope.payload));
  row.identity = store::VersionIdentity(row.envelope);
  std::vector<std::string> keys;
  if (auto it = bundle_->world.sites.find(site); it != bundle_->world.sites.end()) {
    for (const auto& [name, key] : it->second.enrolment_keys) keys.push_back(key);
  }
  BW_RETURN_IF_ERROR(crypto::VerifyEnvelope(row.envelope, crypto::kVersionType, keys));
  if (row.record.dataset_id != stream.id || row.record.home_site != site || row.record.home_epoch != stream.epoch) {
    return absl::PermissionDeniedError("the version record is for another dataset, home or epoch");
  }
  auto& versions = state_.versions[stream.id];
  if (auto known = versions.find(row.record.number); known != versions.end()) {
    if (known->second.identity == row.identity) return absl::OkStatus();
    return absl::AlreadyExistsError(
        absl::StrCat("it exists with another identity, so it", kNotTheOne, ": ", kLostPast));
  }
  // A home that lost its database starts at 1 again, in a new incarnation: it must not fill gaps of its own past.
  if (!versions.empty() && row.record.number <= versions.rbegin()->first) {
    return absl::AlreadyExistsError(
        absl::StrCat("version ", row.record.number, " is not newer than ", versions.rbegin()->first));
  }
  if (!versions.empty()) {
    const VersionRow& newest = versions.rbegin()->second;
    auto is_parent = [&](const auto& known) { return known.second.identity == row.record.parent; };
    if (newest.record.home_epoch == row.record.home_epoch &&
        newest.record.home_incarnation != row.record.home_incarnation &&
        std::none_of(versions.rbegin(), versions.rend(), is_parent)) {
      return absl::AlreadyExistsError(kLostPast);
    }
  }
  BW_RETURN_IF_ERROR(Audit("version-announced", absl::StrCat(stream.name, "/", row.record.number),
                           audit::Detail().Text("identity", row.identity.Hex()).Text("site", site)));
  BW_RETURN_IF_ERROR(catalog_->PutVersion(row));
  const VersionNumber number = row.record.number;
  const std::string what = absl::StrCat(row.record.files, " files, ", row.record.logical_bytes, " bytes");
  versions[number] = std::move(row);
  Event("version-committed", site, stream.name, number, what);
  return absl::OkStatus();
}

void Core::OnReplica(const std::string& site, const agent::v1::ReplicaReport& report) {
  auto id = DatasetId::From(report.dataset_id());
  if (!id.ok()) return;
  auto stream = streams_.find(*id);
  // Of retired streams what lies where is still listed; of datasets nobody ever declared nothing is kept.
  if (stream == streams_.end() && state_.versions.count(*id) == 0) return;
  ReplicaRow row;
  bool announced = false;
  std::vector<VersionNumber> forgotten;
  VersionNumber conflict = 0;  // the first one that the home holds with other content than it announced
  for (const auto& held : report.versions()) {
    const std::optional<Digest> past = stream == streams_.end() ? std::nullopt : Forgotten(*id, held.number());
    if (past.has_value() && past->view() == held.identity()) {
      if (!held.has_record()) forgotten.push_back(held.number());
      if (!held.has_record() || !TakeBack(stream->second, *past, site, held)) continue;
    } else if (held.has_record() && stream != streams_.end()) {
      absl::Status taken = conflict == 0 ? TakeVersion(stream->second, site, held)
                                         : absl::AlreadyExistsError(absl::StrCat("version ", conflict, kNotTheOne));
      if (!taken.ok()) {
        ReplicaRow& before = state_.replicas[*id][site];
        const std::string problem =
            absl::StrCat("version ", held.number(), " is refused: ", std::string(taken.message()));
        // It is announced again until it is taken.
        if (row.source_problem.empty() && before.source_problem != problem) {
          Log(Level::kWarning, "version-refused",
              {{"dataset", stream->second.name}, {"version", held.number()}, {"site", site}, {"error", taken}});
          Event("version-refused", site, stream->second.name, held.number(), problem);
        }
        if (row.source_problem.empty()) row.source_problem = problem;
        const bool known = state_.versions[*id].count(held.number()) != 0;
        if (conflict == 0 && known && absl::IsAlreadyExists(taken)) conflict = held.number();
        continue;
      }
      announced = true;
    }
    // Held means held as announced: a number with another identity is not that version.
    auto versions = state_.versions.find(*id);
    if (versions == state_.versions.end()) continue;
    auto known = versions->second.find(held.number());
    if (known == versions->second.end() && !past.has_value()) continue;
    const Digest& identity = past.has_value() ? *past : known->second.identity;
    if (identity.view() == held.identity()) {
      if (held.base() != 0) {
        row.partial[held.number()] = held.base();
      } else {
        row.versions.insert(held.number());
        if (held.damaged()) row.damaged.insert(held.number());
      }
      if (held.has_hops()) row.hops[held.number()] = held.hops();
    } else if (stream != streams_.end() && stream->second.home_site == site && row.source_problem.empty()) {
      conflict = held.number();
      row.source_problem = absl::StrCat("version ", held.number(), kNotTheOne, ": ", kLostPast);
      if (state_.replicas[*id][site].source_problem != row.source_problem) {
        Event("version-conflict", site, stream->second.name, held.number(), row.source_problem);
      }
    } else if (stream == streams_.end() || stream->second.home_site != site) {
      row.foreign.insert(held.number());
    }
  }
  row.dropped.insert(report.dropped().begin(), report.dropped().end());
  const auto& known = state_.versions[*id];
  for (VersionNumber number : report.damaged()) {
    if (known.count(number) != 0) row.broken.insert(number);
  }
  heard_of_.insert({site, *id});
  row.current = report.current();
  row.never_laid_out = report.never_laid_out();
  row.problem = Short(report.problem());
  if (row.problem.empty() && !row.foreign.empty()) {
    const VersionNumber number = *row.foreign.begin();
    row.problem =
        absl::StrCat("what it holds as version ", number, kNotTheOne,
                     ": it was committed there unheard of while the site was the home, and counts for nobody; "
                     "take out what is needed: bailiwick dataset checkout ",
                     NameOf(*id), " ", number, " OUT --site ", site);
  }
  if (row.source_problem.empty()) row.source_problem = Short(report.source_problem());
  row.stored_bytes = report.stored_bytes();
  auto& said = redactions_said_[{site, *id}];
  said.assign(report.redactions().begin(), report.redactions().end());
  for (auto& state : said) state.set_hindrance(Short(state.hindrance()));
  if (report.has_fence()) {
    row.fence = report.fence();
    row.fence->set_sentence(Short(report.fence().sentence()));
    row.fence->set_hindrance(Short(report.fence().hindrance()));
  }
  ReplicaRow& before = state_.replicas[*id][site];
  const bool changed =
      before.versions != row.versions || before.current != row.current || before.problem != row.problem ||
      before.source_problem != row.source_problem || FenceText(before) != FenceText(row) || before.hops != row.hops ||
      before.partial != row.partial || before.dropped != row.dropped || before.damaged != row.damaged ||
      before.broken != row.broken || before.foreign != row.foreign || before.never_laid_out != row.never_laid_out;
  if (changed || before.stored_bytes != row.stored_bytes) {
    absl::Status stored = catalog_->PutReplica(*id, site, row);
    if (!stored.ok()) Log(Level::kError, "catalog-failed", {{"error", stored}});
    if (stream != streams_.end() && before.current != row.current && row.current != 0) {
      Event("version-shown", site, stream->second.name, row.current, "");
    }
    if (stream != streams_.end() && !row.problem.empty() && before.problem != row.problem) {
      Event("replica-problem", site, stream->second.name, row.current, row.problem);
    }
    OnFence(site, NameOf(*id), before, row);
    before = row;
  }
  // A transfer is over when its destination lists the version.
  std::vector<std::string> done;
  for (const auto& [transfer_id, transfer] : transfers_) {
    if (transfer.dataset == *id && transfer.view.destination() == site && row.versions.count(transfer.version) != 0 &&
        row.damaged.count(transfer.version) == 0) {
      done.push_back(transfer_id);
    }
  }
  for (const std::string& transfer_id : done) EndTransfer(transfer_id, true, "", "");
  AskForRecords(*id, site, forgotten);
  if (announced) {
    if (auto session = sessions_.find(site); session != sessions_.end()) SendAssignments(site, *session->second);
  }
  if (changed || announced) Wake();
}

void Core::OnTransfer(const std::string& site, const agent::v1::TransferReport& report) {
  auto it = transfers_.find(report.transfer_id());
  if (it == transfers_.end()) {
    // The last word of a transfer may come after its destination's report ended it: keep its byte counts.
    for (auto& view : ended_) {
      if (view.transfer_id() != report.transfer_id()) continue;
      view.set_wire_bytes(std::max(view.wire_bytes(), report.wire_bytes()));
      const bool runs = view.state() == "failed" && report.state() == agent::v1::TRANSFER_STATE_RUNNING;
      auto session = sessions_.find(site);
      if (!runs || session == sessions_.end()) continue;
      // It was given up while this end was out of reach, and still takes the link.
      agent::v1::CoordinatorMessage message;
      message.mutable_cancel()->set_transfer_id(view.transfer_id());
      message.mutable_cancel()->set_reason(view.message());
      session->second->Send(std::move(message));
    }
    return;
  }
  Transfer& transfer = it->second;
  if (site != transfer.dialler && site != transfer.other) return;
  transfer.last_report = clock_->BootTime();
  transfer.adopted = false;
  control::v1::Transfer& view = transfer.view;
  if (report.wire_bytes() > view.wire_bytes() || report.done_bytes() > view.done_bytes()) {
    const absl::Duration gap = transfer.last_report - transfer.progressed;
    transfer.apart = transfer.apart == absl::ZeroDuration() ? gap : (3 * transfer.apart + gap) / 4;
    transfer.progressed = transfer.last_report;
  }
  view.set_wire_bytes(std::max(view.wire_bytes(), report.wire_bytes()));
  if (site == view.destination() || report.done_bytes() > view.done_bytes()) view.set_done_bytes(report.done_bytes());
  transfer.wire.Add(transfer.last_report, view.wire_bytes());
  transfer.done.Add(transfer.last_report, view.done_bytes());
  (site == view.source() ? transfer.source_says : transfer.destination_says) = {Short(report.limit()),
                                                                                transfer.last_report};
  if (report.state() == agent::v1::TRANSFER_STATE_RUNNING) {
    view.set_state("running");
  } else if (report.state() == agent::v1::TRANSFER_STATE_FAILED) {
    EndTransfer(report.transfer_id(), false, Short(report.code()), Short(report.message()));
  } else if (report.state() == agent::v1::TRANSFER_STATE_DONE) {
    transfer.delivered = true;
    view.set_done_bytes(view.total_bytes());
  }
}

}  // namespace bailiwick::coordinator
