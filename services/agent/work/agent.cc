#include "services/agent/work/agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/config/obligations.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"
#include "common/telemetry/log.h"
#include "services/agent/work/past.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr int kJobThreads = 4, kHookThreads = 4, kKeepThreads = 2, kOwnThreads = 2;
constexpr absl::Duration kHeartbeatEvery = absl::Seconds(10);
constexpr absl::Duration kTick = absl::Milliseconds(250);
constexpr absl::Duration kSignAuditEvery = absl::Seconds(2);  // how long a record waits to be covered by a checkpoint
constexpr absl::Duration kJudgeEvery = absl::Seconds(1);      // sets expire, windows open and close
constexpr absl::Duration kVolumeEvery = absl::Seconds(5);
constexpr absl::Duration kRoomEvery = absl::Seconds(5);
constexpr absl::Duration kRoomSeldom = absl::Minutes(2);
constexpr absl::Duration kRoomForgotten = absl::Minutes(10);
constexpr absl::Duration kIdentityEvery = absl::Seconds(1);

Evictor::Parts EvictorParts(AgentState* state, AgentIdentity* identity) {
  return {.db = state->db(),
          .audit = state->audit(),
          .clock = state->env().clock,
          .random = state->env().random,
          .site = identity->site(),
          .agent = identity->spiffe_id(),
          .key = &identity->enrolment_key()};
}

}  // namespace

Agent::Agent(AgentState* state, AgentIdentity* identity, Law* law, const Options& options)
    : state_(state),
      identity_(identity),
      law_(law),
      replicas_(options.replicas),
      volume_(state, options.replicas, absl::StrCat(identity->trust_domain(), "/site/", identity->site())),
      external_credentials_(options.external_credentials),
      gate_(options.gate),
      refusals_(options.refusals),
      proxy_(options.proxy),
      at_rest_(state, law, identity->site()),
      pacer_(state->env().clock),
      evictor_(EvictorParts(state, identity)),
      dropper_(EvictorParts(state, identity)),
      redactor_(EvictorParts(state, identity), [state](DatasetId id) { return state->Redactions(id); }),
      granter_({.law = law,
                .clock = state->env().clock,
                .random = state->env().random,
                .audit = state->audit(),
                .self = [identity] { return identity->spiffe_id(); },
                .key = &identity->enrolment_key()}),
      flow_refusals_(state->audit(), state->env().clock),
      audit_link_({.log = state->audit(),
                   .clock = state->env().clock,
                   .trust_domain = identity->trust_domain(),
                   .site = identity->site(),
                   .key = &identity->enrolment_key(),
                   .timestamp_keys =
                       [law] {
                         auto current = law->current();
                         return current == nullptr ? std::vector<std::string>() : current->world.timestamp_keys;
                       },
                   .seen = [state] { return state->GetMeta("coordinator-log"); },
                   .keep = [state](const std::string& seen) { return state->PutMeta("coordinator-log", seen); },
                   .send =
                       [this](agent::v1::AgentMessage message) {
                         if (session_ != nullptr) session_->Send(std::move(message));
                       }}),
      status_file_(state->env().files, state->env().clock, state->directory()),
      scrubber_(state),
      jobs_(kJobThreads),
      hook_jobs_(kHookThreads),
      keep_jobs_(kKeepThreads),
      own_jobs_(kOwnThreads) {
  transfer_env_.law = law_;
  transfer_env_.clock = state_->env().clock;
  transfer_env_.audit = state_->audit();
  transfer_env_.refusals = &flow_refusals_;
  transfer_env_.pacer = &pacer_;
  transfer_env_.self = [this] { return identity_->spiffe_id(); };
  transfer_env_.gate = gate_;
  transfer_env_.proof = [this] { return identity_->proof(); };
  transfer_env_.roots = [this] { return identity_->roots(); };
  transfer_env_.sign_hop = [this](const rpc::HopStatement& hop) {
    return rpc::SignHop(hop, identity_->enrolment_key());
  };
  transfer_env_.open_dataset = [this](DatasetId id, const std::string& name) { return state_->OpenDataset(id, name); };
  transfer_env_.keep = [this](DatasetId id, const std::string& name, const policy::Grant& grant) {
    TransferEnvironment::Kept kept;
    kept.storage = at_rest_.Prepare(id, name, grant, &kept.problem);
    kept.statement = at_rest_.Statement(kept.storage, id, grant, identity_->spiffe_id(), identity_->enrolment_key());
    if (auto work = FindWork(id); work != nullptr && !kept.problem.empty()) QueueKeep(work);
    return kept;
  };
  transfer_env_.find_dataset = [this](DatasetId id) { return state_->FindDataset(id); };
  transfer_env_.spend = [this](const policy::Grant& grant) {
    return state_->SpendGrant(grant.grant_id, grant.not_after);
  };
  transfer_env_.withheld = [this](DatasetId id, VersionNumber version, std::string* sentence, std::string* rule) {
    return evictor_.Withheld(id, version, sentence, rule);
  };
  transfer_env_.follows = [this](DatasetId id) {
    auto work = FindWork(id);
    absl::MutexLock lock(&mutex_);
    return work != nullptr && work->assigned && !work->assignment.home();
  };
  transfer_env_.offer = [this](const Question& question, const std::string& peer) { return OfferTo(question, peer); };
  transfer_env_.began = [this](DatasetHandle& dataset, VersionNumber version, bool receive,
                               const std::string& transfer_id, const std::string& peer_site,
                               const std::shared_ptr<FlowControl>& control) {
    FlowBegan(dataset, version, receive, transfer_id, peer_site, control);
  };
  transfer_env_.ended = [this](DatasetHandle& dataset, bool receive, const std::shared_ptr<FlowControl>& control,
                               const FlowEnd& end) { FlowEnded(dataset, receive, control, end); };
  transfer_env_.report = [this](const TransferUpdate& update) {
    if (update.state != TransferUpdate::State::kRunning) {
      standing_.Ended(update.transfer_id, update.state == TransferUpdate::State::kDone, update.message,
                      state_->env().clock->BootTime());
    }
    agent::v1::AgentMessage message;
    auto* report = message.mutable_transfer();
    report->set_transfer_id(update.transfer_id);
    report->set_state(update.state == TransferUpdate::State::kRunning ? agent::v1::TRANSFER_STATE_RUNNING
                      : update.state == TransferUpdate::State::kDone  ? agent::v1::TRANSFER_STATE_DONE
                                                                      : agent::v1::TRANSFER_STATE_FAILED);
    report->set_done_bytes(update.done_bytes);
    report->set_total_bytes(update.total_bytes);
    report->set_wire_bytes(update.wire_bytes);
    report->set_code(update.code);
    report->set_message(update.message);
    report->set_rule(update.rule);
    report->set_limit(update.limit);
    if (update.state != TransferUpdate::State::kRunning) NoteEnded(message);
    session_->Send(std::move(message));
  };
  transfer_env_.received = [this](DatasetHandle& dataset) {
    auto work = FindWork(dataset.id);
    if (work == nullptr) return;
    LookWhatHealed(dataset);
    SendReport(work);
    QueueShow(work);
    QueueKeep(work);
  };
  transfer_env_.lacks = [this](DatasetHandle& dataset, VersionNumber version) {
    if (!dataset.damage->Has(version)) SuspectDamage(dataset);
  };
}

Agent::~Agent() { Stop(); }

absl::Status Agent::Start(const std::string& endpoint, const std::string& coordinator_address) {
  BW_RETURN_IF_ERROR(evictor_.Load());
  BW_RETURN_IF_ERROR(redactor_.Load());
  BW_RETURN_IF_ERROR(LoadTrust());
  endpoint_ = endpoint;
  address_is_set_ = !coordinator_address.empty();
  {
    absl::MutexLock lock(&mutex_);
    coordinator_address_ = address_is_set_ ? coordinator_address : identity_->control_address();
  }
  SessionClient::Callbacks callbacks;
  callbacks.credentials = [this] { return identity_->proof()->generation; };
  callbacks.dial = [this]() -> absl::StatusOr<std::shared_ptr<grpc::Channel>> {
    BW_ASSIGN_OR_RETURN(
        auto credentials,
        rpc::MutualChannelCredentials({identity_->credentials_directory()},
                                      absl::StrCat("spiffe://", identity_->trust_domain(), "/coordinator"), gate_));
    absl::MutexLock lock(&mutex_);
    return rpc::Dial(coordinator_address_, credentials, proxy_);
  };
  callbacks.hello = [this] {
    agent::v1::AgentMessage message;
    auto* hello = message.mutable_hello();
    hello->set_protocol_min(kProtocolMin);
    hello->set_protocol_max(kProtocolMax);
    hello->set_build(std::string(kBuildVersion));
    hello->set_incarnation(state_->incarnation().str());
    hello->set_enrolment_ed25519(identity_->enrolment_key().public_key());
    hello->set_enrolment_proof(identity_->enrolment_key().Sign(
        absl::StrCat("bailiwick-hello-v1", identity_->spiffe_id(), state_->incarnation().str())));
    bool outbound_only = false;
    if (auto law = law_->current(); law != nullptr) {
      auto site = law->resources.find({"Site", identity_->site()});
      outbound_only = site != law->resources.end() && site->second.site().dial() == resource::v1::DIAL_OUTBOUND_ONLY;
    }
    if (!outbound_only) hello->set_endpoint(endpoint_);
    hello->set_admin_endpoint(endpoint_);
    hello->set_policy_revision(law_->revision());
    for (const std::string& part : config::EnforcedParts()) hello->add_enforces(part);
    absl::MutexLock lock(&mutex_);
    hello->set_catalog_sequence(catalog_sequence_);
    return message;
  };
  callbacks.connected = [this] {
    StopStanding();
    {
      absl::MutexLock lock(&mutex_);
      kept_said_.reset();
    }
    SendState();
    SayEndedAgain();
    own_jobs_.Submit("audit", [this] { audit_link_.Connected(); });
  };
  callbacks.message = [this](const agent::v1::CoordinatorMessage& message) { OnMessage(message); };
  callbacks.disconnected = [this](const absl::Status&) { pacer_.SetYielding({}); };
  session_ = std::make_unique<SessionClient>(state_->env().clock, state_->env().random, std::move(callbacks));

  BW_RETURN_IF_ERROR(RestoreCaps());
  // Before a dataset is seen at all, also where it can be opened only later: what was given up or is damaged is no
  // copy.
  BW_RETURN_IF_ERROR(state_->OnOpen([this](DatasetHandle& dataset) {
    absl::Status loaded = dropper_.Load(dataset);
    return loaded.ok() ? LoadDamage(dataset) : loaded;
  }));
  // What was assigned before the restart goes on now, coordinator or not.
  auto assignments = state_->Assignments();
  if (assignments.ok()) {
    agent::v1::Assignments known;
    for (const std::string& bytes : *assignments) known.add_datasets()->ParseFromString(bytes);
    OnAssignments(known, /*persist=*/false);
  }
  for (DatasetHandle* dataset : state_->Datasets()) {
    if (dataset->store->losses() != 0 || dataset->damage->any()) SuspectDamage(*dataset);
    auto work = EnsureWork(dataset);
    if (Closed(dataset->id)) Close(work);
  }
  JudgeAll();
  session_->Start();
  watch_pump_.Start();
  scrubber_.Start(
      [this](DatasetHandle& dataset) { return !Closed(dataset.id) && dataset.store->at_rest().locked.ok(); },
      [this](DatasetHandle& dataset, const VerifyReport& report) { WasReadBack(dataset, report); });
  ticker_ = std::thread([this] { TickLoop(); });
  return absl::OkStatus();
}

void Agent::Stop() {
  if (stopping_.exchange(true)) return;
  if (ticker_.joinable()) ticker_.join();
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [id, control] : flows_) control->Cancel("SHUTDOWN", "the agent is stopping");
    for (auto& [id, work] : work_) work->stop_showing = true;
  }
  scrubber_.Stop();
  for (JobQueue* jobs : {&jobs_, &hook_jobs_, &keep_jobs_, &own_jobs_}) jobs->Stop();
  watch_pump_.Stop();
  {
    absl::MutexLock lock(&mutex_);
    auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return flow_threads_ == 0; };
    mutex_.Await(absl::Condition(&ended));
  }
  if (session_ != nullptr) session_->Stop();
}

std::shared_ptr<Agent::Work> Agent::FindWork(DatasetId id) {
  absl::MutexLock lock(&mutex_);
  auto it = work_.find(id);
  return it == work_.end() ? nullptr : it->second;
}

std::shared_ptr<Agent::Work> Agent::FindWork(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, work] : work_) {
    if (work->assigned && work->assignment.dataset() == name) return work;
  }
  return nullptr;
}

std::shared_ptr<Agent::Work> Agent::EnsureWork(DatasetHandle* dataset) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Work>& work = work_[dataset->id];
  if (work != nullptr) return work;
  work = std::make_shared<Work>();
  work->dataset = dataset;
  work->assignment.set_dataset(dataset->name);
  work->collect_at = state_->env().clock->BootTime() + kPartialPatience;
  return work;
}

std::vector<std::shared_ptr<Agent::Work>> Agent::AllWork() {
  absl::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<Work>> all;
  for (const auto& [id, work] : work_) all.push_back(work);
  return all;
}

void Agent::OnMessage(const agent::v1::CoordinatorMessage& message) {
  switch (message.kind_case()) {
    case agent::v1::CoordinatorMessage::kWelcome: {
      absl::MutexLock lock(&mutex_);
      if (message.welcome().catalog_sequence() < catalog_sequence_) {
        Log(Level::kError, "coordinator-went-back",
            {{"sequence", message.welcome().catalog_sequence()}, {"seen", catalog_sequence_}});
      }
      catalog_sequence_ = std::max(catalog_sequence_, message.welcome().catalog_sequence());
      Log(Level::kInfo, "session-open", {{"coordinator", coordinator_address_}, {"build", message.welcome().build()}});
      break;
    }
    case agent::v1::CoordinatorMessage::kTrust:
      OnTrust(message.trust());
      break;
    case agent::v1::CoordinatorMessage::kPolicy:
      OnPolicy(message.policy());
      break;
    case agent::v1::CoordinatorMessage::kPolicyTimestamp:
      OnTimestamp(message.policy_timestamp());
      break;
    case agent::v1::CoordinatorMessage::kAssignments:
      OnAssignments(message.assignments(), /*persist=*/true);
      break;
    case agent::v1::CoordinatorMessage::kTransfer:
      OnOrder(message.transfer());
      break;
    case agent::v1::CoordinatorMessage::kGrant: {
      absl::MutexLock lock(&mutex_);
      auto it = flows_.find(message.grant().transfer_id());
      if (it != flows_.end()) it->second->Renew(rpc::FromProto(message.grant().grant()));
      break;
    }
    case agent::v1::CoordinatorMessage::kCancel:
      CancelFlows(message.cancel().transfer_id(), message.cancel().reason());
      break;
    case agent::v1::CoordinatorMessage::kEvict:
      OnEvict(message.evict());
      break;
    case agent::v1::CoordinatorMessage::kCopyQuestion:
      OnCopyQuestion(message.copy_question());
      break;
    case agent::v1::CoordinatorMessage::kRecall:
      OnRecall(message.recall());
      break;
    case agent::v1::CoordinatorMessage::kDropOffer:
      OnDropOffer(message.drop_offer());
      break;
    case agent::v1::CoordinatorMessage::kRedactions:
      OnRedactions(message.redactions());
      break;
    case agent::v1::CoordinatorMessage::kCaps:
      OnCaps(message.caps());
      break;
    case agent::v1::CoordinatorMessage::kAuditAck:
      own_jobs_.Submit("audit", [this, ack = message.audit_ack()] { audit_link_.OnAck(ack); });
      break;
    case agent::v1::CoordinatorMessage::kAuditWitness:
      own_jobs_.Submit("audit", [this, request = message.audit_witness()] { audit_link_.OnWitness(request); });
      break;
    case agent::v1::CoordinatorMessage::kReceiptAck: {
      absl::Status forgotten = evictor_.Acknowledge(message.receipt_ack().receipt_id());
      if (!forgotten.ok()) Log(Level::kError, "receipt-not-forgotten", {{"error", forgotten}});
      break;
    }
    case agent::v1::CoordinatorMessage::KIND_NOT_SET:
      break;  // something newer than this build: ignored, the state that matters is sent again
  }
}

void Agent::OnAssignments(const agent::v1::Assignments& assignments, bool persist) {
  if (persist) {
    std::vector<std::pair<DatasetId, std::string>> rows;
    for (const auto& a : assignments.datasets()) {
      auto id = DatasetId::From(a.dataset_id());
      if (id.ok()) rows.emplace_back(*id, a.SerializeAsString());
    }
    absl::Status stored = state_->PutAssignments(rows);
    if (!stored.ok()) Log(Level::kError, "assignments-not-stored", {{"error", stored}});
    MissedFor(stored);
  }
  if (assignments.has_holds()) {
    absl::Status held = evictor_.SetHolds(assignments.holds());
    if (!held.ok()) Log(Level::kError, "holds-not-stored", {{"error", held}});
    MissedFor(held);
    if (held.ok() && assignments.holds().tells_releases()) SayKeptHolds();
  }
  std::set<DatasetId> assigned;
  for (const auto& a : assignments.datasets()) {
    auto id = DatasetId::From(a.dataset_id());
    if (!id.ok()) continue;
    assigned.insert(*id);
    auto dataset = state_->OpenDataset(*id, a.dataset());
    if (!dataset.ok()) {
      Log(Level::kError, "dataset-unusable", {{"dataset", a.dataset()}, {"error", dataset.status()}});
      Notice("dataset-unusable", *id, std::string(dataset.status().message()));
      MissedFor(dataset.status());
      continue;
    }
    std::shared_ptr<Work> work = EnsureWork(*dataset);
    bool is_new = false, pin_changed = false, more = false;
    const absl::Status past = a.home() ? CheckPast(**dataset, a, identity_->site()) : absl::OkStatus();
    {
      absl::MutexLock lock(&mutex_);
      if (!past.ok()) more = std::exchange(work->source_problem, std::string(past.message())) != past.message();
      is_new = !std::exchange(work->assigned, true);
      pin_changed =
          is_new || work->assignment.pinned() != a.pinned() || work->assignment.materialize() != a.materialize();
      if (!SameCommit(work->assignment.spec(), a.spec())) work->next_attempt = work->commit_at = absl::ZeroDuration();
      more |= a.acknowledged() > work->assignment.acknowledged() && std::exchange(work->announces_more, false);
      // A coordinator that was restored from a backup knows less than it knew, or did not know the home here at all:
      // what was reported in this session lacks the records that it is to have again.
      more |= a.home() && (!work->assignment.home() || a.acknowledged() < work->assignment.acknowledged());
      work->assignment = a;
    }
    if (!a.home() && a.materialize() && pin_changed) QueueShow(work);
    if (!a.home() && !(*dataset)->dropped->empty()) QueueKeep(work);
    if (is_new || more) SendReport(work);
  }
  // What is no longer assigned is no longer maintained; it is not deleted.
  std::vector<std::shared_ptr<Work>> left;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [id, work] : work_) {
      if (assigned.count(id) != 0 || !work->assigned) continue;
      work->assigned = false;
      work->assignment.Clear();
      work->assignment.set_dataset(work->dataset->name);
      left.push_back(work);
    }
  }
  for (const auto& work : left) SendReport(work);
}

void Agent::OnRecall(const agent::v1::Recall& recall) {
  auto id = DatasetId::From(recall.dataset_id());
  if (!id.ok()) return;
  std::shared_ptr<Work> work;
  size_t left = recall.numbers_size();
  {
    absl::MutexLock lock(&mutex_);
    auto known = work_.find(*id);
    if (known == work_.end()) return;
    work = known->second;
    work->recall = {recall.numbers().begin(), recall.numbers().end()};
  }
  while (left > 0) {  // in as many reports as it takes
    SendReport(work);
    absl::MutexLock lock(&mutex_);
    if (work->recall.size() >= left) return;  // its catalog cannot be read now: asked again in the next session
    left = work->recall.size();
  }
}

// For want of room something that the coordinator said is not kept here: once there is room it says all of it anew.
void Agent::MissedFor(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) missed_ = true;
}

void Agent::LookForRoom() {
  if (!missed_) return;
  const absl::Duration now = state_->env().clock->BootTime();
  if (now < next_room_look_) return;
  if (now - next_room_look_ > kRoomForgotten) room_wait_ = kRoomEvery;
  next_room_look_ = now + room_wait_;
  if (!state_->PutMeta("room", absl::StrCat(absl::ToUnixSeconds(state_->env().clock->Now()))).ok()) return;
  missed_ = false;
  room_wait_ = std::min(2 * room_wait_, kRoomSeldom);  // room for this is not yet room for that
  Log(Level::kInfo, "room-again", {{"next", "what could not be kept for want of room is asked for again"}});
  session_->Renew();
}

void Agent::TickLoop() {
  while (!stopping_) {
    Tick();
    turned_ = true;
    state_->env().clock->SleepFor(kTick);
  }
}

void Agent::Tick() {
  const absl::Duration now = state_->env().clock->BootTime();
  bool heartbeat = false;
  bool identity = false;
  bool judge = false;
  bool look_at_audit = false;
  bool look_at_volume = false;
  std::vector<std::shared_ptr<Work>> show, commit, keep, report;
  gate_->Heard(now, session_->connected());
  {
    absl::MutexLock lock(&mutex_);
    if (now >= next_heartbeat_) {
      next_heartbeat_ = now + kHeartbeatEvery;
      heartbeat = true;
    }
    if (now >= next_signature_) {
      next_signature_ = now + kSignAuditEvery;
      look_at_audit = true;
    }
    if (now >= next_volume_look_) {
      next_volume_look_ = now + kVolumeEvery;
      look_at_volume = true;
    }
    if (now >= next_judgement_) {
      next_judgement_ = now + kJudgeEvery;
      judge = true;
    }
    if (now >= next_identity_look_ && !looking_at_identity_) {
      next_identity_look_ = now + kIdentityEvery;
      looking_at_identity_ = identity = true;
    }
    for (const auto& [id, work] : work_) {
      const auto& spec = work->assignment.spec().commit();
      if (work->assignment.home() && (spec.has_every() || spec.has_quiet()) && !spec.on_request() &&
          now >= work->next_attempt) {
        commit.push_back(work);
      }
      if (now >= work->retry_show) {
        work->retry_show = absl::InfiniteDuration();
        show.push_back(work);
      }
      if (now >= work->next_keep) keep.push_back(work);
      if (now >= work->report_again) report.push_back(work);
    }
  }
  if (judge) {
    JudgeAll();
    for (const auto& work : AllWork()) {
      QueueRedact(work);
      LookAtLosses(*work);
    }
    LookAtStanding();
    LookAtIndex();
    LookForRoom();
  }
  if (heartbeat) {
    SendHeartbeat();
    LookAtPolicyAge();
    refusals_->Flush(false);
    own_jobs_.Submit("identity", [this] { RetryTrust(); });
  }
  if (identity) own_jobs_.Submit("identity", [this] { LookAtIdentity(); });
  if (look_at_volume) jobs_.Submit("volume", [this] { LookAtVolume(); });
  if (look_at_audit)
    own_jobs_.Submit("audit", [this] {
      if (absl::Status kept = flow_refusals_.Flush(); !kept.ok()) Log(Level::kError, "audit-failed", {{"error", kept}});
      audit_link_.Look();
    });
  for (const auto& work : report) SendReport(work);
  for (const auto& work : show) QueueShow(work);
  for (const auto& work : commit) QueueCommit(work);
  for (const auto& work : keep) QueueKeep(work);
}

}  // namespace bailiwick::agent
