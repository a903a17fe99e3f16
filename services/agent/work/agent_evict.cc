// The agent's side of fences and erasures: what lies here is judged, flows and trees are stopped, erasures run in the
// lane in which versions are dropped.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/policy/evaluator.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/agent/evict/residence.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kRetryErase = absl::Seconds(10);  // a disk that errs, a writer that does not end

}  // namespace

void Agent::JudgeAll() {
  for (const auto& work : AllWork()) Judge(work);
}

void Agent::Judge(const std::shared_ptr<Work>& work) {
  auto law = law_->current();
  if (law == nullptr) return;
  DatasetHandle& dataset = *work->dataset;
  const absl::Time known = law_->clock().floor();
  const absl::Time now = law_->clock().Now();
  Residence residence = JudgeResidence(*law, dataset.id, dataset.name, identity_->site(), now, known);
  const absl::Duration retention = residence.verdict.max_retention;
  const uint64_t changes = dataset.catalog->changes(dataset.id);
  const bool calm = residence.verdict.lawful && !evictor_.Pending(dataset.id);
  if (calm && retention == absl::InfiniteDuration()) return;
  {
    absl::MutexLock lock(&mutex_);
    const Judged judged = std::exchange(work->judged, {});
    if (calm && judged.retention == retention && judged.changes == changes && std::max(now, known) < judged.until) {
      work->judged = judged;
      return;
    }
  }
  Facts facts;
  facts.home = residence.home;
  facts.verdict = std::move(residence.verdict);
  facts.now = now;
  facts.known = known;
  {
    absl::MutexLock lock(&mutex_);
    facts.acknowledged = work->assignment.acknowledged();
  }
  auto laid_out = state_->env().files->Exists(ReplicaRoot(replicas_, dataset.name));
  auto step = evictor_.Evaluate(dataset, !residence.home && laid_out.ok() && *laid_out, std::move(facts));
  if (!step.ok()) {
    Log(Level::kError, "fence-not-stored", {{"dataset", dataset.name}, {"error", step.status()}});
    return;
  }
  if (calm && !step->record && !step->fence.has_value() && step->alarm.empty()) {
    absl::MutexLock lock(&mutex_);
    work->judged = {.retention = retention, .changes = changes, .until = step->oldest + retention};
  }
  if (step->close) Close(work);
  const bool rearranged = step->record && step->fence.has_value() && !step->fence->closed();
  if (step->open || rearranged) QueueShow(work);
  bool news = false;
  {
    absl::MutexLock lock(&mutex_);
    news = !step->alarm.empty() && work->alarm != step->alarm;
    if (news) work->alarm = step->alarm;
    if (step->open) work->alarm.clear();
  }
  if (news) {
    Log(Level::kWarning, "unlawful-copy", {{"dataset", dataset.name}, {"reason", step->alarm}});
    Notice("unlawful-copy", dataset.id, step->alarm);
  }
  if (step->record) SendReport(work);
  if (step->erase) QueueErase(work);
}

bool Agent::Closed(DatasetId dataset) {
  auto fence = evictor_.Find(dataset);
  return fence.has_value() && fence->closed();
}

// Out of use: flows of it end, what is laid out is withdrawn. Done twice it changes nothing.
void Agent::Close(const std::shared_ptr<Work>& work) {
  std::vector<std::shared_ptr<FlowControl>> flows;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [control, running] : work->flows) flows.push_back(control);
  }
  std::string sentence = "the copy is fenced", rule;
  evictor_.Withheld(work->dataset->id, 0, &sentence, &rule);
  for (const auto& control : flows) control->Cancel("POLICY_DENIED", sentence);
  work->stop_showing = true;
  QueueShow(work);
}

void Agent::WithdrawTree(const std::shared_ptr<Work>& work) {
  const std::string root = ReplicaRoot(replicas_, work->dataset->name);
  absl::Status status;
  VersionNumber before = 0;
  {
    absl::MutexLock tree_lock(&work->tree_mutex);
    auto there = state_->env().files->Exists(root);
    status = volume_.Check();
    if (status.ok()) status = there.status();
    if (status.ok() && *there && work->tree == nullptr) {
      auto tree = ReplicaTree::Open(state_->env().files, root);
      status = tree.status();
      if (tree.ok()) work->tree = *std::move(tree);
    }
    if (status.ok() && work->tree != nullptr) {
      before = work->tree->current();
      status = work->tree->Withdraw();
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    if (status.ok()) work->current = 0;
    if (!status.ok()) work->retry_show = state_->env().clock->BootTime() + kRetryErase;
  }
  if (!status.ok()) {
    Log(Level::kError, "withdrawal-failed",
        {{"dataset", work->dataset->name}, {"code", absl::StatusCodeToString(status.code())}});
  } else if (before != 0) {
    Log(Level::kInfo, "version-withdrawn", {{"dataset", work->dataset->name}, {"version", before}});
  }
  SendReport(work);
}

absl::Status Agent::RemoveTreesOf(const std::shared_ptr<Work>& work, const std::vector<VersionNumber>* only) {
  const std::string root = ReplicaRoot(replicas_, work->dataset->name);
  // A dataset that was deleted and declared again lies at the same place: that one's tree is taken down and laid out
  // anew.
  std::shared_ptr<Work> owner = FindWork(work->dataset->name);
  if (owner == nullptr) owner = work;
  if (owner != work) owner->stop_showing = true;
  {
    absl::MutexLock tree_lock(&owner->tree_mutex);
    BW_RETURN_IF_ERROR(volume_.Check());  // erased is what is gone, not what is out of sight
    BW_ASSIGN_OR_RETURN(bool there, state_->env().files->Exists(root));
    if (there) {
      if (owner->tree == nullptr) {
        BW_ASSIGN_OR_RETURN(owner->tree, ReplicaTree::Open(state_->env().files, root));
      }
      BW_RETURN_IF_ERROR(only == nullptr || owner != work ? owner->tree->Remove() : owner->tree->Forget(*only));
      if (only == nullptr) owner->tree = nullptr;
    }
  }
  if (owner != work) QueueShow(owner);
  return absl::OkStatus();
}

void Agent::QueueErase(const std::shared_ptr<Work>& work) {
  {
    absl::MutexLock lock(&mutex_);
    if (work->erase_queued || state_->env().clock->BootTime() < work->next_erase) return;
    work->erase_queued = true;
  }
  keep_jobs_.Submit(absl::StrCat("keep:", work->dataset->id.Hex()), [this, work] { Erase(work); });
}

void Agent::Erase(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  absl::Status status = evictor_.CarryOut(
      dataset, [this, &work](const std::vector<VersionNumber>* only) { return RemoveTreesOf(work, only); });
  {
    absl::MutexLock lock(&mutex_);
    work->erase_queued = false;
    work->next_erase = status.ok() ? absl::ZeroDuration() : state_->env().clock->BootTime() + kRetryErase;
    if (status.ok() && !work->assignment.home()) {
      work->current = 0;  // a copy that stays in use says anew what it shows
      work->laid_out.clear();
    }
  }
  if (!status.ok()) {
    Log(Level::kError, "erasure-failed", {{"dataset", dataset.name}, {"error", status}});
    return;
  }
  Log(Level::kInfo, "replica-erased", {{"dataset", dataset.name}});
  SendReport(work);
  SendReceipts();
  QueueShow(work);
  Judge(work);
}

void Agent::SendReceipts() {
  auto receipts = evictor_.Receipts();
  if (!receipts.ok()) {
    Log(Level::kError, "receipts-unreadable", {{"error", receipts.status()}});
    return;
  }
  for (const crypto::Envelope& receipt : *receipts) {
    agent::v1::AgentMessage message;
    rpc::ToProto(receipt, message.mutable_receipt());
    session_->Send(std::move(message));
  }
}

void Agent::OnEvict(const agent::v1::EvictOrder& order) {
  auto id = DatasetId::From(order.dataset_id());
  if (!id.ok()) return;
  std::vector<Digest> safe;
  for (const std::string& identity : order.identities()) {
    auto digest = Digest::From(Digest::kSha256, identity);
    if (digest.ok()) safe.push_back(*digest);
  }
  evictor_.Order(*id, safe);
  auto work = FindWork(*id);
  if (work == nullptr) return;
  {
    absl::MutexLock lock(&mutex_);
    work->judged = {};  // by what it says now
  }
  Judge(work);
}

void Agent::FlowBegan(DatasetHandle& dataset, VersionNumber version, bool receive, const std::string& transfer_id,
                      const std::string& peer_site, const std::shared_ptr<FlowControl>& control) {
  std::shared_ptr<Work> work = EnsureWork(&dataset);
  const bool parts = evictor_.Partial(dataset.id);
  {
    absl::MutexLock lock(&mutex_);
    if (receive && work->redacting) control->Cancel("BROKEN", kRedactionEndsFlows);
    work->flows[control] = {.parts = parts, .id = transfer_id, .to = receive ? "" : peer_site, .version = version};
    if (receive) ++work->receiving;
  }
  absl::Status noted = receive ? evictor_.NotePartial(dataset.id, true) : absl::OkStatus();
  if (!noted.ok()) Log(Level::kError, "transfer-not-noted", {{"dataset", dataset.name}, {"error", noted}});
}

void Agent::FlowEnded(DatasetHandle& dataset, bool receive, const std::shared_ptr<FlowControl>& control,
                      const FlowEnd& end) {
  std::shared_ptr<Work> work = EnsureWork(&dataset);
  if (receive && end.code == "DISK_FULL") MakeRoom(work.get());
  bool by_law = false;
  if (receive && !end.complete()) {
    auto law = law_->current();
    auto classification = law == nullptr ? absl::NotFoundError("") : ClassifyHeld(*law, dataset.id, dataset.name);
    by_law = end.too_far || (classification.ok() && !policy::PermitsReplication(law->world,
                                                                {.data = classification->labels,
                                                                 .from_site = end.peer_site,
                                                                 .to_site = identity_->site(),
                                                                 .purpose = end.purpose,
                                                                 .home_site = classification->home_site},
                                                                state_->env().clock->Now()));
  }
  bool parts = false, left_behind = false, alone = false, in_the_way = false;
  {
    absl::MutexLock lock(&mutex_);
    auto flow = work->flows.find(control);
    VersionNumber version = 0;
    if (flow != work->flows.end()) {
      parts = flow->second.parts;
      version = flow->second.version;
      work->flows.erase(flow);
    }
    if (!receive) return;
    alone = --work->receiving == 0;
    work->parts_fit = end.code != "DISK_FULL";
    if (!end.complete() && !parts) work->parts_of = version;
    // What came of another version, which may never fit, has to go before this one fits.
    work->parts_in_way |= !work->parts_fit && parts && work->parts_of != version;
    in_the_way = work->parts_in_way;
    work->collect_at = in_the_way ? absl::ZeroDuration() : state_->env().clock->BootTime() + kPartialPatience;
    if (in_the_way) work->next_collection = work->next_keep = absl::ZeroDuration();
    work->stopped_by_law |= by_law;
    left_behind = work->stopped_by_law && alone;
    if (left_behind) work->stopped_by_law = false;
  }
  if (in_the_way) QueueKeep(work);
  if (end.complete() && !parts && alone) {  // else another one may yet leave something
    absl::Status noted = evictor_.NotePartial(dataset.id, false);
    {
      absl::MutexLock lock(&mutex_);
      alone = work->receiving == 0;
    }
    if (noted.ok() && !alone) noted = evictor_.NotePartial(dataset.id, true);  // one that began meanwhile
    if (!noted.ok()) Log(Level::kError, "transfer-not-noted", {{"dataset", dataset.name}, {"error", noted}});
  }
  if (!left_behind) return;
  evictor_.LeftBehind(dataset.id);
  Judge(work);
}

bool Agent::CollectParts(const std::shared_ptr<Work>& work) {
  if (!evictor_.Partial(work->dataset->id)) return false;
  absl::MutexLock lock(&mutex_);
  return work->receiving == 0 && state_->env().clock->BootTime() >= work->collect_at;
}

}  // namespace bailiwick::agent
