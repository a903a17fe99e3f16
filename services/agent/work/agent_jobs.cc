// The jobs of the agent: commit, show (lay out), keep (retention and garbage collection).
#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "services/agent/replica/hooks.h"
#include "services/agent/work/agent.h"
#include "services/agent/work/quiet.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr uint32_t kDefaultChunkAverage = 32 * 1024;
constexpr absl::Duration kKeepEvery = absl::Minutes(10);       // retention by age, without a commit
constexpr absl::Duration kKeepOften = absl::Seconds(30);        // after a new law: what was in the way at first is done then
constexpr absl::Duration kKeepAfterChange = absl::Seconds(5);  // collects the drops of a burst of commits at once
constexpr absl::Duration kAssignmentPatience = absl::Seconds(5);
constexpr absl::Duration kRetryShow = absl::Seconds(1);         // every slot leased
constexpr absl::Duration kRetryFailedShow = absl::Seconds(15);  // disk full and the like

absl::Duration FromProtoDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

SourceSpec SourceOf(const resource::v1::DatasetSpec& spec) {
  SourceSpec source;
  source.path = spec.home().path();
  source.chunk_average =
      spec.chunk_size_bytes() == 0 ? kDefaultChunkAverage : static_cast<uint32_t>(spec.chunk_size_bytes());
  source.include.assign(spec.include().begin(), spec.include().end());
  source.ignore.assign(spec.ignore().begin(), spec.ignore().end());
  source.keep_absent = spec.absent() == resource::v1::ABSENT_KEEP;
  source.owner = spec.owner();
  source.settle = FromProtoDuration(spec.commit().settle());
  return source;
}

store::RetentionRule RetentionOf(const resource::v1::DatasetSpec& spec) {
  store::RetentionRule rule;
  if (spec.has_retain()) {
    rule.last = std::max(1u, spec.retain().last());
    rule.hourly = spec.retain().hourly();
    rule.daily = spec.retain().daily();
  }
  return rule;
}

}  // namespace

absl::StatusOr<CommitOutcome> Agent::Commit(const std::shared_ptr<Work>& work, const CommitOptions& options,
                                            const std::function<void(const CommitProgress&)>& progress,
                                            const std::atomic<bool>& cancelled) {
  absl::MutexLock one(&work->commit_mutex);
  agent::v1::Assignment assignment;
  {
    absl::MutexLock lock(&mutex_);
    assignment = work->assignment;
  }
  if (!assignment.home()) {
    return absl::FailedPreconditionError(absl::StrCat("site ", identity_->site(), " is not the home of dataset ",
                                                      assignment.dataset(), "; only the home commits"));
  }
  absl::Status at_rest = at_rest_.Ensure(*work->dataset, at_rest_.Obliged(work->dataset->id, work->dataset->name));
  if (!at_rest.ok()) {
    bool news;
    {
      absl::MutexLock lock(&mutex_);
      news = std::exchange(work->source_problem, std::string(at_rest.message())) != at_rest.message();
    }
    if (news) SendReport(work);
    return at_rest;
  }
  HomeIdentity home{.site = identity_->site(),
                    .incarnation = state_->incarnation(),
                    .epoch = assignment.epoch(),
                    .key = &identity_->enrolment_key()};
  auto outcome = agent::Commit(*work->dataset, SourceOf(assignment.spec()), home, options, state_->env().clock,
                               progress, cancelled);
  std::string problem = outcome.ok() ? "" : std::string(absl::StatusCodeToString(outcome.status().code()));
  // The coordinator learns why commits do not happen, never a file's name: the sentence stays here and with the caller.
  if (!outcome.ok()) {
    switch (outcome.status().code()) {
      case absl::StatusCode::kNotFound:
        problem = "the source directory is missing";
        break;
      case absl::StatusCode::kFailedPrecondition:
        problem = "the source is empty, not a directory, a file in it keeps changing, or it holds what was redacted";
        break;
      case absl::StatusCode::kPermissionDenied:
        problem = "something in the source cannot be read";
        break;
      case absl::StatusCode::kResourceExhausted:
        problem = "the agent's disk is full";
        break;
      default:
        break;
    }
    problem = absl::StrCat("the last commit failed: ", problem, "; `bailiwick dataset commit ", assignment.dataset(),
                           "` shows the details");
  }
  bool changed;
  {
    absl::MutexLock lock(&mutex_);
    changed = work->source_problem != problem;
    work->source_problem = problem;
  }
  if (outcome.ok() && !outcome->unchanged) {
    Log(Level::kInfo, "version-committed",
        {{"dataset", assignment.dataset()},
         {"version", outcome->version.record.number},
         {"files", outcome->version.record.files},
         {"logical_bytes", outcome->version.record.logical_bytes},
         {"new_bytes", outcome->new_bytes}});
    QueueKeep(work);
    changed = true;
  }
  if (changed) SendReport(work);
  return outcome;
}

absl::StatusOr<CommitOutcome> Agent::CommitNow(const std::string& dataset, const CommitOptions& options,
                                               const std::function<void(const CommitProgress&)>& progress,
                                               const std::atomic<bool>& cancelled) {
  std::shared_ptr<Work> work = FindWork(dataset);
  // A dataset declared a moment ago: its assignment is on its way.
  const absl::Duration deadline = state_->env().clock->BootTime() + kAssignmentPatience;
  while (work == nullptr && session_->connected() && !cancelled && state_->env().clock->BootTime() < deadline) {
    state_->env().clock->SleepFor(absl::Milliseconds(20));
    work = FindWork(dataset);
  }
  if (work == nullptr) {
    return absl::NotFoundError(absl::StrCat("site ", identity_->site(), " has no dataset ", dataset));
  }
  return Commit(work, options, progress, cancelled);
}

void Agent::QueueCommit(const std::shared_ptr<Work>& work) {
  {
    absl::MutexLock lock(&mutex_);
    if (work->commit_queued) return;
    work->commit_queued = true;
  }
  jobs_.Submit(absl::StrCat("commit:", work->dataset->id.Hex()), [this, work] { AutoCommit(work); });
}

void Agent::AutoCommit(const std::shared_ptr<Work>& work) {
  resource::v1::DatasetSpec spec;
  {
    absl::MutexLock lock(&mutex_);
    spec = work->assignment.spec();
  }
  const absl::Duration quiet = FromProtoDuration(spec.commit().quiet());
  bool due = true;
  if (spec.commit().has_quiet()) {
    // Looks at the tree's times only; a commit follows once the newest change is old enough.
    auto newest = NewestChange(SourceOf(spec));
    due = newest.ok() && state_->env().clock->Now() - *newest >= quiet;
    if (!newest.ok()) due = true;  // the commit itself says what is wrong
  }
  if (due) {
    auto outcome = Commit(
        work, CommitOptions{}, [](const CommitProgress&) {}, stopping_);
    if (!outcome.ok()) {
      Log(Level::kWarning, "commit-failed",
          {{"dataset", work->dataset->name}, {"code", absl::StatusCodeToString(outcome.status().code())}});
    }
  }
  absl::Duration wait = absl::InfiniteDuration();
  if (spec.commit().has_every()) wait = std::min(wait, FromProtoDuration(spec.commit().every()));
  if (spec.commit().has_quiet()) wait = std::min(wait, std::max(quiet / 2, absl::Milliseconds(500)));
  absl::MutexLock lock(&mutex_);
  work->commit_queued = false;
  work->next_attempt = state_->env().clock->BootTime() + wait;
}

void Agent::QueueShow(const std::shared_ptr<Work>& work) {
  {
    absl::MutexLock lock(&mutex_);
    const bool shown = !work->assignment.home() && work->assignment.materialize();
    if (work->show_queued || !(shown || Closed(work->dataset->id))) return;
    work->show_queued = true;
  }
  jobs_.Submit(absl::StrCat("show:", work->dataset->id.Hex()), [this, work] {
    {
      absl::MutexLock lock(&mutex_);
      work->show_queued = false;  // what arrives from now on queues the next one
    }
    Show(work);
  });
}

// The pinned version, else the newest; none that is withheld.
absl::StatusOr<std::optional<store::CatalogVersion>> Agent::VersionToShow(DatasetHandle& dataset, VersionNumber pinned) {
  const std::set<VersionNumber> withheld = evictor_.WithheldVersions(dataset.id);
  if (pinned != 0) {
    if (withheld.count(pinned) != 0) return std::nullopt;
    return dataset.catalog->Find(dataset.id, pinned);
  }
  if (withheld.empty()) return dataset.catalog->Newest(dataset.id);
  BW_ASSIGN_OR_RETURN(std::vector<store::CatalogVersion> versions, dataset.catalog->List(dataset.id));
  for (auto it = versions.rbegin(); it != versions.rend(); ++it) {
    if (withheld.count(it->record.number) == 0) return *std::move(it);
  }
  return std::nullopt;
}

void Agent::Show(const std::shared_ptr<Work>& work) {
  agent::v1::Assignment assignment;
  {
    absl::MutexLock lock(&mutex_);
    assignment = work->assignment;
  }
  DatasetHandle& dataset = *work->dataset;
  work->stop_showing = stopping_.load();
  if (Closed(dataset.id)) return WithdrawTree(work);
  absl::Status status = absl::OkStatus();
  const std::string hindrance = at_rest_.LayoutProblem(dataset.id, dataset.name);
  VersionNumber before = 0, after = 0;
  std::vector<VersionNumber> laid_out;
  std::string root = ReplicaRoot(replicas_, dataset.name);
  {
    absl::MutexLock tree_lock(&work->tree_mutex);
    if (work->tree == nullptr) {
      auto tree = ReplicaTree::Open(state_->env().files, root);
      if (tree.ok()) {
        work->tree = *std::move(tree);
      } else {
        status = tree.status();
      }
    }
    if (status.ok() && !hindrance.empty()) {
      // Also what was laid out before the law asked for more.
      before = work->tree->current();
      status = work->tree->Remove();
      work->tree = nullptr;
      if (before != 0) Log(Level::kWarning, "layout-withdrawn", {{"dataset", dataset.name}, {"reason", hindrance}});
    } else if (status.ok()) {
      before = work->tree->current();
      auto version = VersionToShow(dataset, assignment.pinned());
      if (!version.ok()) {
        status = version.status();
      } else if (version->has_value()) {
        status = work->tree->Show(dataset, **version,
                                  {.writable = assignment.spec().writable(), .owner = assignment.spec().owner()},
                                  nullptr, work->stop_showing);
      } else if (before != 0 && !evictor_.WithheldVersions(dataset.id).empty()) {
        status = work->tree->Withdraw();
      }
    }
    if (work->tree != nullptr) {
      after = work->tree->current();
      laid_out = work->tree->laid_out();
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    work->current = after;
    work->laid_out = {laid_out.begin(), laid_out.end()};
    work->problem = hindrance;
    work->layout_error = status.ok() ? "" : std::string(status.message());
    if (absl::IsUnavailable(status)) {
      work->problem = "every slot of the replica is leased by a reader; the new version waits for one to end";
      work->retry_show = state_->env().clock->BootTime() + kRetryShow;
    } else if (!status.ok() && !absl::IsCancelled(status)) {
      work->problem = absl::IsResourceExhausted(status)
                          ? "the disk that holds the replicas is full"
                          : absl::StrCat("the newest version could not be laid out; `bailiwick dataset verify ",
                                         dataset.name, " --site ", identity_->site(), "` says why");
      work->retry_show = state_->env().clock->BootTime() + kRetryFailedShow;
    }
  }
  if (!status.ok()) {
    // A log is read, copied and kept by more people than the dataset: codes and counts, never a file's name.
    Log(Level::kError, "layout-failed",
        {{"dataset", dataset.name}, {"code", absl::StatusCodeToString(status.code())}});
  } else if (before != after) {
    Log(Level::kInfo, "version-shown", {{"dataset", dataset.name}, {"version", after}, {"before", before}});
  }
  SendReport(work);
  if (before != after && after != 0 && status.ok()) {
    // Beside the show lane: a slow hook never holds back the next version.
    jobs_.Submit(absl::StrCat("hook:", dataset.id.Hex()), [this, name = dataset.name, after, root] {
      absl::Status hook = RunVersionHook(os::JoinPath(os::JoinPath(state_->directory(), "hooks"), "on-version"),
                                         {.dataset = name, .version = after, .tree = os::JoinPath(root, "current")});
      if (!hook.ok()) Log(Level::kWarning, "hook-failed", {{"dataset", name}, {"version", after}, {"error", hook}});
    });
  }
}

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
  jobs_.Submit(absl::StrCat("keep:", work->dataset->id.Hex()), [this, work] {
    {
      absl::MutexLock lock(&mutex_);
      work->keep_queued = false;
    }
    Keep(work);
  });
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

void Agent::Keep(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  const bool to_encrypt = KeepAtRest(work);
  agent::v1::Assignment assignment;
  std::set<VersionNumber> in_use;
  bool maintained;
  {
    absl::MutexLock lock(&mutex_);
    maintained = work->assigned;
    assignment = work->assignment;
    in_use = work->laid_out;
    in_use.insert(work->current);
    in_use.insert(assignment.pinned());
  }
  if (Closed(dataset.id)) return;  // erased in its own time, with a receipt
  auto versions = dataset.catalog->List(dataset.id);
  if (!versions.ok()) return;
  std::vector<std::pair<VersionNumber, absl::Time>> times;
  for (const auto& v : *versions) {
    if (maintained) times.emplace_back(v.record.number, v.record.committed_at);
  }
  int dropped = 0;
  for (VersionNumber number : store::Expired(times, RetentionOf(assignment.spec()), state_->env().clock->Now())) {
    if (in_use.count(number) != 0 || evictor_.Held(dataset.id, number)) continue;
    // A home keeps what the coordinator has not heard of yet.
    if (assignment.home() && number > assignment.acknowledged()) continue;
    absl::Status status =
        state_->audit()
            ->Append("version-dropped", absl::StrCat(dataset.name, "/", number), "{\"reason\":\"retention\"}")
            .status();
    if (status.ok()) status = dataset.catalog->Drop(dataset.id, number, dataset.nodes.get());
    if (!status.ok()) {
      Log(Level::kError, "retention-failed", {{"dataset", dataset.name}, {"version", number}, {"error", status}});
      break;
    }
    ++dropped;
  }
  const bool parts = CollectParts(work);
  if (dropped == 0 && !parts && !to_encrypt) return;
  if (dropped != 0) SendReport(work);
  auto collected = dataset.store->CollectGarbage(MarkLive(dataset));
  if (!collected.ok()) {
    Log(Level::kError, "collection-failed", {{"dataset", dataset.name}, {"error", collected.status()}});
    return;
  }
  absl::Status noted = parts ? evictor_.NotePartial(dataset.id, false) : absl::OkStatus();
  if (!noted.ok()) Log(Level::kError, "collection-not-noted", {{"dataset", dataset.name}, {"error", noted}});
  Log(Level::kInfo,
      dropped != 0 ? "versions-dropped" : (to_encrypt ? "dataset-rewritten-encrypted" : "parts-collected"),
      {{"dataset", dataset.name},
       {"versions", dropped},
       {"freed_bytes", collected->freed_bytes},
       {"plain_packs", to_encrypt ? dataset.store->at_rest().plain_packs : 0}});
}

absl::StatusOr<DatasetHandle*> Agent::Held(const std::string& name) {
  DatasetHandle* dataset = state_->FindDataset(name);
  if (dataset == nullptr)
    return absl::NotFoundError(absl::StrCat("site ", identity_->site(), " holds nothing of ", name));
  return dataset;
}

absl::StatusOr<store::CatalogVersion> Agent::HeldVersion(const std::string& name, VersionNumber number) {
  BW_ASSIGN_OR_RETURN(DatasetHandle * dataset, Held(name));
  BW_ASSIGN_OR_RETURN(std::optional<store::CatalogVersion> version, dataset->catalog->Find(dataset->id, number));
  if (!version.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("site ", identity_->site(), " does not hold version ", number, " of ", name));
  }
  std::string sentence, rule;
  if (evictor_.Withheld(dataset->id, number, &sentence, &rule)) return absl::PermissionDeniedError(sentence);
  return *std::move(version);
}

absl::Status Agent::VerifyTree(const std::string& name, std::vector<std::string>* problems) {
  std::shared_ptr<Work> work = FindWork(name);
  if (work == nullptr) return absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    if (!work->layout_error.empty()) problems->push_back(absl::StrCat("not laid out: ", work->layout_error));
  }
  absl::MutexLock lock(&work->tree_mutex);
  if (work->tree == nullptr || work->tree->current() == 0) return absl::OkStatus();
  return work->tree->Verify(*work->dataset, problems);
}

absl::Status Agent::MayLayOut(const DatasetHandle& dataset, const std::string& directory) const {
  const policy::Obligations obligations = at_rest_.Obliged(dataset.id, dataset.name);
  if (obligations.encrypt_key_regions.empty()) return absl::OkStatus();
  if (std::string why = at_rest_.LayoutProblem(dataset.id, dataset.name); !why.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("dataset ", dataset.name, " cannot be checked out: ", why));
  }
  const std::string path = std::filesystem::path(directory).lexically_normal().string();
  const std::string inside = std::filesystem::path(replicas_ + "/").lexically_normal().string();
  if (absl::StartsWith(path, inside)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("dataset ", dataset.name,
                                                    " must be encrypted at rest; check it out below ", inside,
                                                    ", the replica path, which is declared an encrypted volume"));
}

bool Agent::records_owner(const std::string& name) {
  std::shared_ptr<Work> work = FindWork(name);
  if (work == nullptr) return false;
  absl::MutexLock lock(&mutex_);
  return work->assignment.spec().owner();
}

}  // namespace bailiwick::agent
