// The agent's side of redactions: orders come in, trees lose their files, the bytes go in the lane of the collections.
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/agent/evict/residence.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kRetryRedact = absl::Seconds(5);  // a hold, a writer that does not end, a disk that errs

bool Overrides(const LawSnapshot& law, DatasetId dataset, const std::string& name) {
  auto classification = ClassifyHeld(law, dataset, name);
  if (!classification.ok()) return false;
  for (const policy::Selector& selector : law.world.redaction_over_locks) {
    if (policy::Matches(selector, classification->labels, nullptr) == policy::Match::kYes) return true;
  }
  return false;
}

}  // namespace

void Agent::OnRedactions(const agent::v1::RedactionOrders& orders) {
  auto law = law_->current();
  for (const auto& message : orders.orders()) {
    const crypto::Envelope envelope = rpc::FromProto(message);
    auto taken = law != nullptr ? redactor_.Take(envelope, law->world)
                                : absl::FailedPreconditionError("no policy is installed here yet");
    auto order = rpc::ReadRedaction(envelope);
    if (!taken.ok()) {
      Log(Level::kError, "redaction-refused", {{"error", taken.status()}});
      MissedFor(taken.status());
      Notice("redaction-refused", order.ok() ? order->dataset_id : DatasetId(), std::string(taken.status().message()));
      continue;
    }
    if (!*taken) continue;
    Log(Level::kInfo, "redaction-ordered",
        {{"dataset", order->dataset},
         {"order", absl::BytesToHexString(order->order_id)},
         {"chunks", order->chunks.size()}});
    if (auto work = FindWork(order->dataset_id); work != nullptr) {
      EndFlowsForRedaction(*work, /*all=*/true);
      {
        absl::MutexLock lock(&mutex_);
        work->next_redact = absl::ZeroDuration();
      }
      QueueRedact(work);
    }
  }
}

// So that what they have open is sealed and looked at; they go on where they were.
void Agent::EndFlowsForRedaction(Work& work, bool all) {
  std::vector<std::shared_ptr<FlowControl>> flows;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [control, flow] : work.flows) {
      if (all || flow.to.empty()) flows.push_back(control);
    }
  }
  for (const auto& control : flows) control->Cancel("BROKEN", kRedactionEndsFlows);
}

void Agent::QueueRedact(const std::shared_ptr<Work>& work) {
  if (!redactor_.Pending(work->dataset->id)) return;
  {
    absl::MutexLock lock(&mutex_);
    if (work->redact_queued || state_->env().clock->BootTime() < work->next_redact) return;
    work->redact_queued = true;
  }
  keep_jobs_.Submit(absl::StrCat("keep:", work->dataset->id.Hex()), [this, work] { Redact(work); });
}

absl::StatusOr<std::string> Agent::RedactionLock(DatasetHandle& dataset, const store::Redaction& redaction,
                                                 bool override_locks) {
  auto law = law_->current();
  const bool overridden = override_locks && law != nullptr && Overrides(*law, dataset.id, dataset.name);
  if (overridden) return std::string();
  store::RedactionBook only;
  only.Add(std::make_shared<store::Redaction>(redaction), false);
  BW_ASSIGN_OR_RETURN(std::vector<store::CatalogVersion> versions, dataset.catalog->List(dataset.id));
  for (const auto& version : versions) {
    if (!evictor_.Held(dataset.id, version.record.number)) continue;
    store::ManifestCursor cursor(dataset.nodes.get(), version.record.manifest_root);
    store::Entry entry;
    while (true) {
      const absl::StatusOr<bool> more = cursor.Next(&entry);
      if (absl::IsDataLoss(more.status()) || absl::IsNotFound(more.status())) {
        return absl::StrCat(
            "a hold keeps version ", version.record.number,
            ", whose manifest is damaged here: what the order names is out of reach, and is erased once "
            "the version is whole or the hold is released");
      }
      BW_RETURN_IF_ERROR(more.status());
      if (!*more) break;
      BW_ASSIGN_OR_RETURN(auto hit, only.Find(dataset.nodes.get(), entry));
      if (hit == nullptr) continue;
      return absl::StrCat(
          "a hold keeps version ", version.record.number,
          ": its content is out of reach, and is erased once the hold is released",
          override_locks ? "; no sovereignty policy lets the order override locks of this dataset" : "");
    }
  }
  return std::string();
}

absl::Status Agent::RedactTrees(const std::shared_ptr<Work>& work) {
  const std::string root = ReplicaRoot(replicas_, work->dataset->name);
  absl::MutexLock tree_lock(&work->tree_mutex);
  BW_RETURN_IF_ERROR(volume_.Check());
  BW_ASSIGN_OR_RETURN(bool there, state_->env().files->Exists(root));
  if (!there) return absl::OkStatus();
  if (work->tree == nullptr) {
    BW_ASSIGN_OR_RETURN(work->tree, ReplicaTree::Open(state_->env().files, root));
  }
  return work->tree->Redact(*work->dataset);
}

void Agent::Redact(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  auto law = law_->current();
  const auto before = redactor_.States(dataset.id);
  absl::Status status = law == nullptr ? absl::FailedPreconditionError("no policy is installed here yet")
                                       : redactor_.CarryOut(
                                             dataset, law->world, [&] { return RedactTrees(work); },
                                             [&](const store::Redaction& redaction, bool override_locks) {
                                               return RedactionLock(dataset, redaction, override_locks);
                                             },
                                             [&] {
                                               {
                                                 // A flow that begins now would be waited for, however long it takes.
                                                 absl::MutexLock lock(&mutex_);
                                                 work->redacting = true;
                                               }
                                               EndFlowsForRedaction(*work, /*all=*/false);
                                             });
  const auto after = redactor_.States(dataset.id);
  {
    absl::MutexLock lock(&mutex_);
    work->redact_queued = work->redacting = false;
    work->next_redact = after.empty() ? absl::ZeroDuration() : state_->env().clock->BootTime() + kRetryRedact;
  }
  if (!status.ok()) {
    Log(Level::kError, "redaction-failed",
        {{"dataset", dataset.name}, {"code", absl::StatusCodeToString(status.code())}});
  }
  for (const auto& state : after) {
    bool known = false;
    for (const auto& old : before)
      known = known || (old.order_id() == state.order_id() && old.hindrance() == state.hindrance());
    if (known || state.hindrance().empty()) continue;
    Log(Level::kWarning, "redaction-hindered", {{"dataset", dataset.name}, {"reason", state.hindrance()}});
    Notice("redaction-hindered", dataset.id, state.hindrance());
  }
  if (after.size() < before.size()) {
    Log(Level::kInfo, "redaction-done", {{"dataset", dataset.name}, {"orders", before.size() - after.size()}});
  }
  SendReport(work);
  SendReceipts();
  QueueShow(work);
}

}  // namespace bailiwick::agent
