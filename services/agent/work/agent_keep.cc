// The "keep:" jobs of the agent: keys, retention, garbage collection.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/rpc/retention.h"
#include "common/telemetry/log.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kKeepEvery = absl::Minutes(10);  // retention by age, without a commit
constexpr absl::Duration kKeepOften = absl::Seconds(30);  // after a new law: what was in the way at first is done then
constexpr int kCollectionShare = 50;       // collections of a dataset take at most one part in so many of the time
constexpr uint64_t kManySmallPacks = 256;  // are merged, also when nothing is garbage: small commits make one each
constexpr absl::Duration kCollectionRetry = absl::Seconds(30);  // after one that a long transfer was in the way of
constexpr absl::Duration kKeepAfterChange = absl::Seconds(5);   // collects the drops of a burst of commits at once

}  // namespace

void Agent::QueueKeep(const std::shared_ptr<Work>& work) {
  const absl::Duration now = state_->env().clock->BootTime();
  {
    absl::MutexLock lock(&mutex_);
    if (work->keep_queued) return;
    if (now < work->next_keep) {  // soon, by the ticker
      work->next_keep = std::min(work->next_keep, now + kKeepAfterChange);
      return;
    }
    work->keep_queued = true;
    work->next_keep = now + (now < keep_often_until_ ? kKeepAfterChange : kKeepEvery);
  }
  keep_jobs_.Submit(absl::StrCat("keep:", work->dataset->id.Hex()), [this, work] {
    {
      absl::MutexLock lock(&mutex_);
      work->keep_queued = false;
    }
    Keep(work);
  });
}

// The disk is full: what can be freed is freed, however long it takes.
void Agent::CollectNow(const std::shared_ptr<Work>& work) {
  {
    absl::MutexLock lock(&mutex_);
    work->next_collection = absl::ZeroDuration();
    if (!work->garbage) return;
    work->next_keep = absl::ZeroDuration();
  }
  QueueKeep(work);
}

// Everything that a new law may ask of data at rest, within seconds.
void Agent::KeepAllSoon() {
  absl::MutexLock lock(&mutex_);
  keep_often_until_ = state_->env().clock->BootTime() + kKeepOften;
  for (auto& [id, work] : work_) {
    work->next_keep = absl::ZeroDuration();
    work->retry_show = absl::ZeroDuration();
  }
}

bool Agent::KeepAtRest(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  if (!dataset.store->at_rest().locked.ok()) {
    absl::Status unlocked = dataset.store->Unlock();
    Log(unlocked.ok() ? Level::kInfo : Level::kError, unlocked.ok() ? "dataset-unlocked" : "dataset-locked",
        {{"dataset", dataset.name}, {"error", unlocked}});
    SendReport(work);
    if (unlocked.ok()) QueueShow(work);
    return false;
  }
  absl::Status ensured = at_rest_.Ensure(dataset, at_rest_.Obliged(dataset.id, dataset.name));
  if (!ensured.ok()) Log(Level::kError, "not-encrypted-at-rest", {{"dataset", dataset.name}, {"error", ensured}});
  const store::AtRest now = dataset.store->at_rest();
  return !now.wrapping_key.empty() && now.plain_packs > 0;
}

int Agent::DropExpired(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  agent::v1::Assignment assignment;
  std::set<VersionNumber> in_use;
  {
    absl::MutexLock lock(&mutex_);
    if (!work->assigned) return 0;
    assignment = work->assignment;
    in_use = work->laid_out;
    in_use.insert(work->current);
    in_use.insert(assignment.pinned());
    for (const auto& [control, flow] : work->flows) in_use.insert(flow.version);  // until whoever asked has it
  }
  auto versions = dataset.catalog->List(dataset.id);
  const auto bases = Dropper::Bases(dataset);
  if (!versions.ok() || !bases.ok()) return 0;
  std::vector<std::pair<VersionNumber, absl::Time>> times;
  for (const auto& v : *versions) times.emplace_back(v.record.number, v.record.committed_at);
  int dropped = 0;
  for (VersionNumber number : store::Expired(times, rpc::RetentionOf(assignment.spec()), law_->clock().Best())) {
    if (in_use.count(number) != 0 || evictor_.Held(dataset.id, number)) continue;
    if (bases->count(number) != 0) continue;  // it has no content, and newer ones are known by it
    // A home keeps what the coordinator has not heard of yet.
    if (assignment.home() && number > assignment.acknowledged()) continue;
    absl::Status status =
        state_->audit()
            ->Append("version-dropped", absl::StrCat(dataset.name, "/", number), "{\"reason\":\"retention\"}")
            .status();
    if (status.ok()) status = dataset.catalog->Drop(dataset.id, number, dataset.nodes.get());
    if (!status.ok()) {
      Log(Level::kError, "retention-failed", {{"dataset", dataset.name}, {"version", number}, {"error", status}});
      continue;
    }
    ++dropped;
  }
  return dropped;
}

// A collection looks at all that the dataset has: where versions come often it has to wait, unless the disk is full.
bool Agent::CollectionDue(const std::shared_ptr<Work>& work, int dropped) {
  const bool scattered = work->dataset->store->Stats().value_or(store::StoreStats()).small_packs > kManySmallPacks;
  absl::MutexLock lock(&mutex_);
  work->garbage = work->garbage || dropped != 0 || scattered;
  if (!work->garbage) return false;
  if (state_->env().clock->BootTime() >= work->next_collection) return true;
  work->next_keep = std::min(work->next_keep, work->next_collection);
  return false;
}

void Agent::Keep(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  const bool to_encrypt = KeepAtRest(work);
  if (Closed(dataset.id)) return;  // erased in its own time, with a receipt
  CareForDropped(work);
  GiveUp(work);
  const int dropped = DropExpired(work);
  if (dropped != 0) SendReport(work);
  const bool garbage = CollectionDue(work, dropped);
  const bool parts = CollectParts(work);
  if (!garbage && !parts && !to_encrypt) return;
  const absl::Duration began = state_->env().clock->BootTime();
  auto collected = dataset.store->CollectGarbage(MarkKept(dataset, Kept(work)));
  {
    absl::MutexLock lock(&mutex_);
    const absl::Duration now = state_->env().clock->BootTime();
    if (absl::IsUnavailable(collected.status())) {  // something is being written
      work->next_collection = now + kCollectionRetry;
      work->next_keep = std::min(work->next_keep, work->next_collection);
      return;
    }
    const absl::Duration waited = collected.ok() ? collected->waited : absl::ZeroDuration();
    work->next_collection = now + kCollectionShare * (now - began - waited);
    work->garbage = work->garbage && !collected.ok();
    if (parts && collected.ok()) {
      work->parts_in_way = false;
      work->parts_of = 0;
    }
  }
  if (!collected.ok()) {
    Log(Level::kError, "collection-failed", {{"dataset", dataset.name}, {"error", collected.status()}});
    if (absl::IsDataLoss(collected.status()) || absl::IsNotFound(collected.status())) SuspectDamage(dataset);
    return;
  }
  absl::Status noted = parts ? evictor_.NotePartial(dataset.id, false) : absl::OkStatus();
  if (!noted.ok()) Log(Level::kError, "collection-not-noted", {{"dataset", dataset.name}, {"error", noted}});
  Log(Level::kInfo, garbage ? "garbage-collected" : (to_encrypt ? "dataset-rewritten-encrypted" : "parts-collected"),
      {{"dataset", dataset.name},
       {"versions", dropped},
       {"packs", collected->packs_removed},
       {"freed_bytes", collected->freed_bytes},
       {"plain_packs", to_encrypt ? dataset.store->at_rest().plain_packs : 0}});
}

}  // namespace bailiwick::agent
