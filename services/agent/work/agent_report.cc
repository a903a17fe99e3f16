// What the coordinator hears of this site, unasked: which versions are here, and in which state.
#include <algorithm>
#include <map>
#include <optional>

#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/agent/work/agent.h"
#include "services/agent/work/dataset_metrics.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kReportAgain = absl::Seconds(30);  // versions that were not acknowledged: its disk was full
constexpr size_t kAnnounceBytes =
    1 << 20;  // of records a report: one that was away for long says the rest once these are known
constexpr absl::Duration kEndedFor = absl::Minutes(2);  // then the coordinator has given it up by itself
constexpr size_t kEndedKept = 1000;
constexpr size_t kReportBytes = 3 << 20;  // beyond them nothing is announced, until retention dropped what is known
// Of holds that the coordinator does not know; more follow when some of these were released.
constexpr int kMaxKeptSaid = 1000;
constexpr size_t kKeptBytes = 2 << 20;
constexpr size_t kMaxHoldBytes = 4 << 10;  // what no coordinator sets is kept, and not told

}  // namespace

// Whoever was told while no session was open, or one that broke, does not know: said again with the next.
void Agent::NoteEnded(const agent::v1::AgentMessage& message) {
  absl::MutexLock lock(&mutex_);
  ended_.emplace_back(state_->env().clock->BootTime(), message);
  if (ended_.size() > kEndedKept) ended_.pop_front();
}

void Agent::SayEndedAgain() {
  std::deque<std::pair<absl::Duration, agent::v1::AgentMessage>> ended;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Duration now = state_->env().clock->BootTime();
    while (!ended_.empty() && now - ended_.front().first > kEndedFor) ended_.pop_front();
    ended = ended_;
  }
  for (auto& [at, message] : ended) session_->Send(std::move(message));
}

void Agent::SendState() {
  for (const auto& work : AllWork()) SendReport(work);
  SendReceipts();
  SendPolicyState("");
  SendHeartbeat();
}

void Agent::TellVersions(Work& work, const std::vector<store::CatalogVersion>& versions,
                         const std::map<VersionNumber, uint32_t>& hops, agent::v1::ReplicaReport* report) {
  size_t told = 0, announced = 0, recalled = 0;  // bytes
  work.announces_more = false;
  for (const auto& v : versions) {
    const bool damaged = work.dataset->damage->Has(v.record.number);
    if (damaged && !work.assignment.home()) {  // as if it were not here: it comes anew
      report->add_damaged(v.record.number);
      continue;
    }
    const VersionNumber base = work.dataset->dropped->BaseOf(v.record.number);
    if (base != 0 && !work.assignment.home()) continue;  // no copy that anybody should count on
    if (base == v.record.number) {
      report->add_dropped(base);
      continue;
    }
    const bool announces = work.assignment.home() && v.record.number > work.assignment.acknowledged();
    if (announces && (announced >= kAnnounceBytes || told >= kReportBytes)) {
      work.announces_more = true;
      break;  // they come in their order
    }
    auto* held = report->add_versions();
    held->set_identity(std::string(v.identity.view()));
    held->set_number(v.record.number);
    held->set_base(base);
    held->set_damaged(damaged);
    held->set_laid_out(work.laid_out.count(v.record.number) != 0);
    if (work.assignment.home() || v.record.home_site == identity_->site()) {
      held->set_hops(0);
    } else if (auto known = hops.find(v.record.number); known != hops.end()) {
      held->set_hops(known->second);
    }
    if (announces) {
      rpc::ToProto(v.envelope, held->mutable_record());
      announced += held->ByteSizeLong();
    } else if (recalled < kAnnounceBytes && work.recall.erase(v.record.number) != 0) {
      rpc::ToProto(v.envelope, held->mutable_record());
      recalled += held->ByteSizeLong();
    }
    told += held->ByteSizeLong();
  }
  if (recalled < kAnnounceBytes) work.recall.clear();  // the rest is not here any more
  work.report_again = announced != 0 ? state_->env().clock->BootTime() + kReportAgain : absl::InfiniteDuration();
}

void Agent::SayFiguresOf(const Work& work, const std::vector<store::CatalogVersion>& versions,
                         const DatasetFigures& figures) {
  // One that was deleted and declared again is here twice: the one that is assigned stands for the name.
  const bool another = !work.assigned && std::any_of(work_.begin(), work_.end(), [&](const auto& other) {
    return other.second->assigned && other.second->dataset->name == work.dataset->name;
  });
  if (another) return;
  if (work.assignment.home() || !versions.empty()) {
    SayFigures(work.dataset->name, figures);
  } else {
    ForgetFigures(work.dataset->name);
  }
}

void Agent::SendReport(const std::shared_ptr<Work>& work) {
  auto versions = work->dataset->catalog->List(work->dataset->id);
  if (!versions.ok()) {
    Log(Level::kError, "catalog-unreadable", {{"dataset", work->dataset->name}, {"error", versions.status()}});
    return;
  }
  agent::v1::AgentMessage message;
  auto* report = message.mutable_replica();
  report->set_dataset_id(work->dataset->id.str());
  const store::StoreStats stored = work->dataset->store->Stats().value_or(store::StoreStats());
  report->set_stored_bytes(stored.pack_bytes);
  const auto hops = work->dataset->catalog->Hops(work->dataset->id).value_or(std::map<VersionNumber, uint32_t>());
  const std::optional<Fence> fence = evictor_.Find(work->dataset->id);
  absl::StatusOr<Scrubber::Result> read_back = absl::NotFoundError("there is nothing to read");
  if (!versions->empty()) read_back = scrubber_.Of(*work->dataset);
  absl::MutexLock lock(&mutex_);
  TellVersions(*work, *versions, hops, report);
  report->set_current(work->current);
  report->set_never_laid_out(work->never_laid_out);
  const absl::Status locked = work->dataset->store->at_rest().locked;
  report->set_problem(locked.ok() ? work->problem : std::string(locked.message()));
  report->set_source_problem(work->source_problem);
  if (fence.has_value()) ToProto(*fence, report->mutable_fence());
  for (auto& state : redactor_.States(work->dataset->id)) *report->add_redactions() = std::move(state);
  DatasetFigures figures{.versions = versions->size(),
                         .newest = versions->empty() ? 0 : versions->back().record.number,
                         .current = work->current,
                         .given_up = static_cast<uint64_t>(report->dropped_size()),
                         .packs = stored.packs,
                         .chunks = stored.chunks,
                         .stored_bytes = stored.pack_bytes,
                         .problem = !report->problem().empty() || !report->source_problem().empty(),
                         .fenced = fence.has_value()};
  if (read_back.ok()) {
    figures.read_back_at = read_back->at;
    figures.damaged = read_back->damaged;
  }
  for (const auto& v : *versions) figures.logical_bytes += v.record.logical_bytes;
  SayFiguresOf(*work, *versions, figures);
  session_->Send(std::move(message));
}

void Agent::SendHeartbeat() {
  agent::v1::AgentMessage message;
  auto free = state_->env().files->FreeBytes(state_->directory());
  if (free.ok()) message.mutable_heartbeat()->set_free_bytes(*free);
  rpc::ToProto(state_->env().clock->Now(), message.mutable_heartbeat()->mutable_now());
  session_->Send(std::move(message));
}

void Agent::SayKeptHolds() {
  agent::v1::AgentMessage message;
  auto* kept = message.mutable_kept_holds();
  size_t bytes = 0;
  for (const agent::v1::Hold& hold : evictor_.KeptHolds()) {
    const size_t size = hold.ByteSizeLong();
    if (size > kMaxHoldBytes) continue;
    bytes += size;
    if (kept->holds_size() == kMaxKeptSaid || bytes > kKeptBytes) break;
    *kept->add_holds() = hold;
  }
  {
    absl::MutexLock lock(&mutex_);
    std::string said = kept->SerializeAsString();
    if (kept_said_ == said) return;
    kept_said_ = std::move(said);
  }
  if (kept->holds_size() != 0) Log(Level::kWarning, "holds-kept", {{"count", kept->holds_size()}});
  session_->Send(std::move(message));
}

void Agent::Notice(const std::string& kind, DatasetId dataset, const std::string& text) {
  agent::v1::AgentMessage message;
  message.mutable_notice()->set_kind(kind);
  message.mutable_notice()->set_dataset_id(dataset.str());
  message.mutable_notice()->set_message(text);
  session_->Send(std::move(message));
}

}  // namespace bailiwick::agent
