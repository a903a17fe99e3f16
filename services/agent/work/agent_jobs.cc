// The jobs of the agent: commit and show (lay out).
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/telemetry/log.h"
#include "services/agent/home/consume.h"
#include "services/agent/home/quiet.h"
#include "services/agent/work/agent.h"
#include "services/agent/work/dataset_metrics.h"
#include "services/agent/work/past.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr uint32_t kDefaultChunkAverage = 32 * 1024;
constexpr absl::Duration kAssignmentPatience = absl::Seconds(5);
constexpr absl::Duration kPartsDropEvery = absl::Minutes(10);   // of one dataset, for others: it asks for them again
constexpr absl::Duration kRetryShow = absl::Seconds(1);         // every slot leased
constexpr absl::Duration kRetryFailedShow = absl::Seconds(15);  // disk full and the like

absl::Duration FromProtoDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

SourceSpec ReadSource(const resource::v1::DatasetSpec& spec) {
  SourceSpec source;
  source.path = spec.home().path();
  source.chunk_average =
      spec.chunk_size_bytes() == 0 ? kDefaultChunkAverage : static_cast<uint32_t>(spec.chunk_size_bytes());
  source.include.assign(spec.include().begin(), spec.include().end());
  source.ignore.assign(spec.ignore().begin(), spec.ignore().end());
  source.keep_absent = spec.absent() == resource::v1::ABSENT_KEEP;
  source.consume = spec.ingest() == resource::v1::INGEST_CONSUME && source.keep_absent;
  source.owner = spec.owner();
  source.settle = FromProtoDuration(spec.commit().settle());
  return source;
}

}  // namespace

SourceSpec Agent::SourceOf(const resource::v1::DatasetSpec& spec) const {
  SourceSpec source = ReadSource(spec);
  source.own = {state_->directory(), KeyDirectory(state_->directory(), state_->env().key_directory), replicas_};
  if (!external_credentials_.empty()) source.own.push_back(external_credentials_);
  return source;
}

absl::StatusOr<std::shared_ptr<Agent::Work>> Agent::AwaitWork(const std::string& name,
                                                              const std::atomic<bool>& cancelled) {
  std::shared_ptr<Work> work = FindWork(name);
  const absl::Duration deadline = state_->env().clock->BootTime() + kAssignmentPatience;
  while (work == nullptr && session_->connected() && !cancelled && state_->env().clock->BootTime() < deadline) {
    state_->env().clock->SleepFor(absl::Milliseconds(20));
    work = FindWork(name);
  }
  if (work != nullptr) return work;
  return absl::NotFoundError(absl::StrCat("site ", identity_->site(), " has no dataset ", name));
}

absl::StatusOr<agent::v1::Assignment> Agent::HomeAssignment(Work& work) {
  absl::MutexLock lock(&mutex_);
  if (work.assignment.home()) return work.assignment;
  return absl::FailedPreconditionError(absl::StrCat("site ", identity_->site(), " is not the home of dataset ",
                                                    work.assignment.dataset(), "; only the home commits"));
}

absl::StatusOr<CommitOutcome> Agent::Commit(const std::shared_ptr<Work>& work, const CommitOptions& options,
                                            const std::function<void(const CommitProgress&)>& progress,
                                            const std::atomic<bool>& cancelled) {
  absl::MutexLock one(&work->commit_mutex);
  BW_ASSIGN_OR_RETURN(const agent::v1::Assignment assignment, HomeAssignment(*work));
  absl::Status may = CheckPast(*work->dataset, assignment, identity_->site());
  if (may.ok()) may = at_rest_.Ensure(*work->dataset, at_rest_.Obliged(work->dataset->id, work->dataset->name));
  if (!may.ok()) {
    bool news;
    {
      absl::MutexLock lock(&mutex_);
      news = std::exchange(work->source_problem, std::string(may.message())) != may.message();
    }
    if (news) SendReport(work);
    return may;
  }
  HomeIdentity home{.site = identity_->site(),
                    .incarnation = state_->incarnation(),
                    .epoch = assignment.epoch(),
                    .key = &identity_->enrolment_key(),
                    .now = [this] { return law_->clock().Best(); }};
  const absl::Duration began = state_->env().clock->BootTime();
  CommitOptions wanted = options;
  wanted.reread = MustReread(*work);
  auto outcome = agent::Commit(*work->dataset, SourceOf(assignment.spec()), home, wanted, state_->env().clock, progress,
                               cancelled, WatchOf(*work));
  CountCommit(assignment.dataset(),
              !outcome.ok()        ? absl::StatusCodeToString(outcome.status().code())
              : outcome->unchanged ? "unchanged"
                                   : "committed",
              outcome.ok() ? outcome->new_bytes : 0, state_->env().clock->BootTime() - began);
  SayWatchProblem(*work);
  std::string problem = outcome.ok() ? Consume(*work, SourceOf(assignment.spec()), outcome->version)
                                     : std::string(absl::StatusCodeToString(outcome.status().code()));
  // The coordinator learns why commits do not happen, never a file's name: the sentence stays here and with the caller.
  if (!outcome.ok()) {
    std::error_code unknown;
    switch (outcome.status().code()) {
      case absl::StatusCode::kNotFound:
        problem = std::filesystem::is_directory(assignment.spec().home().path(), unknown)
                      ? "the source vanished or was replaced while it was read"
                      : "the source directory is missing";
        break;
      case absl::StatusCode::kDataLoss:
        problem = "what is here of the newest version is damaged, and the next one needs it";
        SuspectDamage(*work->dataset);
        break;
      case absl::StatusCode::kFailedPrecondition:
        problem =
            "the source is empty, not a directory, overlaps with the agent's own directories, a file in it keeps "
            "changing, or "
            "it holds what was redacted";
        break;
      case absl::StatusCode::kUnknown:
        problem = "something in the source cannot be read";
        break;
      case absl::StatusCode::kResourceExhausted:
        problem = "the agent's disk is full";
        CollectNow(work);
        MakeRoom(nullptr);
        break;
      default:
        break;
    }
    problem = absl::StrCat("the last commit failed: ", problem, "; `bailiwick dataset commit ", assignment.dataset(),
                           "` shows the details");
  }
  if (problem.empty()) problem = NeverRests(*work, *outcome, FromProtoDuration(assignment.spec().commit().settle()));
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
  if (outcome.ok() && outcome->reread) {
    Reread(*work, outcome->version.record.number);
    changed = true;
  }
  if (changed) SendReport(work);
  BW_RETURN_IF_ERROR(outcome.status());
  return outcome;
}

std::string Agent::Consume(Work& work, const SourceSpec& source, const store::CatalogVersion& version) {
  if (!source.consume) return "";
  const std::string subject = absl::StrCat(work.dataset->name, "/", version.record.number);
  auto consumed = ConsumeSource(
      *work.dataset, source, version.record.manifest_root, state_->env().clock,
      [&] { return state_->audit()->Append("source-consumed", subject, "{}").status(); }, stopping_);
  if (!consumed.ok()) {
    const std::string code = absl::StatusCodeToString(consumed.status().code());
    Log(Level::kWarning, "source-not-consumed", {{"dataset", work.dataset->name}, {"code", code}});
    if (absl::IsCancelled(consumed.status())) return "";
    return absl::StrCat("what version ", version.record.number, " holds could not be taken out of the source (", code,
                        ")");
  }
  if (consumed->files != 0) {
    Log(Level::kInfo, "source-consumed",
        {{"dataset", work.dataset->name},
         {"version", version.record.number},
         {"files", consumed->files},
         {"bytes", consumed->bytes},
         {"left", consumed->left}});
  }
  if (consumed->damaged != 0) SuspectDamage(*work.dataset);  // the next commit stores them anew
  if (consumed->refused == 0) return "";
  return absl::StrCat("the agent may not remove ", consumed->refused,
                      consumed->refused == 1 ? " file that version " : " files that version ", version.record.number,
                      " holds, so the source fills: let it write to their directories");
}

SourceWatch* Agent::WatchOf(Work& work) {
  if (work.watch == nullptr) {
    work.watch = std::make_shared<SourceWatch>(state_->env().clock);
    watch_pump_.Add(work.watch);
  }
  return work.watch.get();
}

void Agent::SayWatchProblem(Work& work) {
  std::string problem = work.watch->problem();
  if (problem == work.watch_problem) return;
  work.watch_problem = std::move(problem);
  if (work.watch_problem.empty()) return;
  Log(Level::kWarning, "source-not-watched",
      {{"dataset", work.dataset->name}, {"reason", work.watch_problem}, {"effect", "each commit looks at all of it"}});
}

std::string Agent::NeverRests(Work& work, const CommitOutcome& outcome, absl::Duration settle) {
  const size_t count = work.restless.Note(outcome.unsettled, settle, state_->env().clock->BootTime());
  if (count == 0) return "";
  return absl::StrCat(count, count == 1 ? " file has" : " files have",
                      " been changing all the time, and no version has what they are now",
                      settle > absl::ZeroDuration() ? absl::StrCat(" (commit.settle: ", FormatAge(settle), ")") : "",
                      "; `bailiwick dataset commit ", work.dataset->name, "` names them");
}

absl::StatusOr<CommitOutcome> Agent::CommitNow(const std::string& dataset, const CommitOptions& options,
                                               const std::function<void(const CommitProgress&)>& progress,
                                               const std::atomic<bool>& cancelled) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<Work> work, AwaitWork(dataset, cancelled));
  return Commit(work, options, progress, cancelled);
}

absl::StatusOr<CommitForecast> Agent::PreviewCommit(const std::string& dataset, const CommitOptions& options,
                                                    const ForecastVisitor& visit, const std::atomic<bool>& cancelled) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<Work> work, AwaitWork(dataset, cancelled));
  absl::MutexLock one(&work->commit_mutex);
  BW_ASSIGN_OR_RETURN(const agent::v1::Assignment assignment, HomeAssignment(*work));
  BW_RETURN_IF_ERROR(CheckPast(*work->dataset, assignment, identity_->site()));
  BW_RETURN_IF_ERROR(at_rest_.Check(*work->dataset, at_rest_.Obliged(work->dataset->id, work->dataset->name)));
  auto forecast =
      ForecastCommit(*work->dataset, SourceOf(assignment.spec()), options, state_->env().clock, visit, cancelled);
  BW_RETURN_IF_ERROR(forecast.status());
  return forecast;
}

void Agent::QueueCommit(const std::shared_ptr<Work>& work) {
  {
    absl::MutexLock lock(&mutex_);
    if (work->commit_queued) return;
    work->commit_queued = true;
  }
  jobs_.Submit(absl::StrCat("commit:", work->dataset->id.Hex()), [this, work] { AutoCommit(work); });
}

bool Agent::SameCommit(const resource::v1::DatasetSpec& a, const resource::v1::DatasetSpec& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a.commit(), b.commit());
}

void Agent::AutoCommit(const std::shared_ptr<Work>& work) {
  resource::v1::DatasetSpec spec;
  const absl::Duration now = state_->env().clock->BootTime();
  bool due = true;
  {
    absl::MutexLock lock(&mutex_);
    spec = work->assignment.spec();
    due = spec.commit().has_every() && now >= work->commit_at;
  }
  const absl::Duration quiet = FromProtoDuration(spec.commit().quiet());
  if (!due && spec.commit().has_quiet()) {
    // A commit follows once the newest change is old enough: as the watch saw it, else by the tree's times alone.
    absl::StatusOr<absl::Time> newest = LastChange(*work, SourceOf(spec));
    due = newest.ok() && state_->env().clock->Now() - *newest >= quiet;
    if (!newest.ok()) due = true;  // the commit itself says what is wrong
  }
  if (due) {
    auto outcome = Commit(work, CommitOptions{}, nullptr, stopping_);
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
  if (!SameCommit(spec, work->assignment.spec())) {  // changed meanwhile
    work->next_attempt = work->commit_at = absl::ZeroDuration();
    return;
  }
  if (!spec.commit().has_every()) return;
  if (due) {
    work->commit_at = now + FromProtoDuration(spec.commit().every());
  } else {
    work->next_attempt = std::min(work->next_attempt, work->commit_at);  // of every, also where it had quiet beside it
  }
}

absl::StatusOr<absl::Time> Agent::LastChange(Work& work, const SourceSpec& source) {
  absl::MutexLock one(&work.commit_mutex);
  if (work.watch != nullptr) {
    if (std::optional<absl::Time> seen = work.watch->LastChange()) return *seen;
  }
  return NewestChange(source);
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
absl::StatusOr<std::optional<store::CatalogVersion>> Agent::VersionToShow(DatasetHandle& dataset,
                                                                          VersionNumber pinned) {
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
  const absl::Status volume = volume_.Use();
  absl::Status status = volume;
  const std::string hindrance = at_rest_.LayoutProblem(dataset.id, dataset.name);
  VersionNumber before = 0, after = 0;
  std::vector<VersionNumber> laid_out;
  std::string root = ReplicaRoot(replicas_, dataset.name);
  {
    absl::MutexLock tree_lock(&work->tree_mutex);
    if (!volume.ok()) {
      work->tree = nullptr;  // what it has open is gone, or hidden
    } else if (work->tree == nullptr) {
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
  if (absl::IsDataLoss(status) || absl::IsNotFound(status)) LookForDamage(dataset);
  {
    absl::MutexLock lock(&mutex_);
    work->current = after;
    work->laid_out = {laid_out.begin(), laid_out.end()};
    work->problem = hindrance;
    work->never_laid_out = !hindrance.empty();
    work->layout_error = status.ok() ? "" : std::string(status.message());
    if (absl::IsUnavailable(status)) {
      work->problem = "every slot of the replica is leased by a reader; the new version waits for one to end";
      work->retry_show = state_->env().clock->BootTime() + kRetryShow;
    } else if (!status.ok() && !absl::IsCancelled(status)) {
      work->problem = !volume.ok() ? std::string(volume.message())
                      : absl::IsResourceExhausted(status)
                          ? "the disk that holds the replicas is full"
                          : absl::StrCat("the newest version could not be laid out; `bailiwick dataset verify ",
                                         dataset.name, " --site ", identity_->site(), "` says why");
      work->retry_show = state_->env().clock->BootTime() + kRetryFailedShow;
    }
  }
  if (!status.ok()) {
    // A log is read, copied and kept by more people than the dataset: codes and counts, never a file's name.
    Log(Level::kError, "layout-failed", {{"dataset", dataset.name}, {"code", absl::StatusCodeToString(status.code())}});
  } else if (before != after) {
    Log(Level::kInfo, "version-shown", {{"dataset", dataset.name}, {"version", after}, {"before", before}});
  }
  SendReport(work);
  if (after != 0 && status.ok()) {
    jobs_.Submit(absl::StrCat("show:", dataset.id.Hex()), [this, work] { PrepareSpare(*work); });
  }
  if (after != 0 && status.ok()) QueueHook(work, after);
}

// A volume that goes or comes while nothing new arrives.
void Agent::LookAtVolume() {
  const absl::Status volume = volume_.Check();
  {
    absl::MutexLock lock(&mutex_);
    std::string problem(volume.message());
    if (problem == volume_problem_) return;
    volume_problem_ = std::move(problem);
  }
  if (!volume.ok()) Log(Level::kError, "replicas-missing", {{"error", volume}});
  for (const auto& work : AllWork()) QueueShow(work);
}

// After what was asked for: nobody waits for it, and the next version will wait for less.
void Agent::PrepareSpare(Work& work) {
  absl::MutexLock tree_lock(&work.tree_mutex);
  if (work.tree == nullptr || work.stop_showing || !volume_.Check().ok()) return;
  absl::Status status = work.tree->PrepareSpare(*work.dataset, work.stop_showing);
  if (status.ok() || absl::IsCancelled(status)) return;
  Log(Level::kWarning, "spare-not-prepared",
      {{"dataset", work.dataset->name}, {"code", absl::StatusCodeToString(status.code())}});
}

void Agent::MakeRoom(const Work* but) {
  const absl::Duration now = state_->env().clock->BootTime();
  for (const auto& work : AllWork()) {
    bool drop = false;
    {
      absl::MutexLock lock(&mutex_);
      drop = work.get() != but && !work->parts_fit && work->receiving == 0 && now >= work->next_parts_drop;
      if (drop) {
        work->next_parts_drop = now + kPartsDropEvery;
        work->parts_in_way = true;
        work->collect_at = work->next_collection = work->next_keep = absl::ZeroDuration();
      }
    }
    if (drop) QueueKeep(work);
    jobs_.Submit(absl::StrCat("show:", work->dataset->id.Hex()), [this, work] { EmptySpares(work); });
  }
}

void Agent::EmptySpares(const std::shared_ptr<Work>& work) {
  std::vector<VersionNumber> laid_out;
  {
    absl::MutexLock tree_lock(&work->tree_mutex);
    if (work->tree == nullptr || !volume_.Check().ok()) return;
    const absl::StatusOr<bool> emptied = work->tree->EmptySpares();
    if (!emptied.ok()) {
      Log(Level::kWarning, "spares-not-emptied",
          {{"dataset", work->dataset->name}, {"code", absl::StatusCodeToString(emptied.status().code())}});
      return;
    }
    if (!*emptied) return;
    laid_out = work->tree->laid_out();
  }
  Log(Level::kInfo, "spares-emptied", {{"dataset", work->dataset->name}});
  {
    absl::MutexLock lock(&mutex_);
    work->laid_out = {laid_out.begin(), laid_out.end()};
    work->next_collection = work->next_keep = absl::ZeroDuration();
  }
  QueueKeep(work);
}

absl::StatusOr<DatasetHandle*> Agent::Held(const std::string& name, const std::string& id) {
  const absl::Status nothing =
      absl::NotFoundError(absl::StrCat("site ", identity_->site(), " holds nothing of ", name));
  if (!id.empty()) {
    BW_ASSIGN_OR_RETURN(const DatasetId wanted, DatasetId::From(id));
    DatasetHandle* dataset = state_->FindDataset(wanted);
    if (dataset == nullptr) return nothing;
    return dataset;
  }
  // Who asks by name alone means the one that this site works on; of several others none is taken for it.
  if (std::shared_ptr<Work> work = FindWork(name); work != nullptr) return work->dataset;
  const std::vector<DatasetHandle*> named = state_->FindDatasets(name);
  if (named.empty()) return nothing;
  if (named.size() == 1) return named.front();
  return absl::FailedPreconditionError(
      absl::StrCat("site ", identity_->site(), " holds ", named.size(), " datasets that were called ", name,
                   "; ask with a bailiwick that says which, of this version or newer"));
}

absl::StatusOr<store::CatalogVersion> Agent::HeldVersion(const DatasetHandle& dataset, VersionNumber number) {
  BW_ASSIGN_OR_RETURN(std::optional<store::CatalogVersion> version, dataset.catalog->Find(dataset.id, number));
  if (!version.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("site ", identity_->site(), " does not hold version ", number, " of ", dataset.name));
  }
  std::string sentence, rule;
  if (evictor_.Withheld(dataset.id, number, &sentence, &rule)) return absl::PermissionDeniedError(sentence);
  return *std::move(version);
}

absl::Status Agent::VerifyTree(const DatasetHandle& dataset, std::vector<std::string>* problems) {
  std::shared_ptr<Work> work = FindWork(dataset.id);
  if (work == nullptr) return absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    if (!work->layout_error.empty()) problems->push_back(absl::StrCat("not laid out: ", work->layout_error));
  }
  const size_t before = problems->size();
  {
    absl::MutexLock lock(&work->tree_mutex);
    if (work->tree == nullptr || work->tree->current() == 0) return absl::OkStatus();
    const VersionNumber shown = work->tree->current();
    const absl::Status verified = work->tree->Verify(*work->dataset, problems);
    const VersionNumber leads_to = work->tree->current();
    if (!verified.ok() && leads_to == 0) return absl::OkStatus();  // what lay there was of another dataset
    BW_RETURN_IF_ERROR(verified);
    if (leads_to == shown && !work->tree->suspect()) return absl::OkStatus();
  }
  Log(Level::kError, "layout-damaged", {{"dataset", dataset.name}, {"problems", problems->size() - before}});
  {
    absl::MutexLock lock(&mutex_);
    if (work->assignment.home() || !work->assignment.materialize()) return absl::OkStatus();
    work->problem = "what is laid out was found changed or damaged; it is being laid out anew";
  }
  Notice("layout-damaged", dataset.id, "what is laid out was found changed or damaged; it is being laid out anew");
  SendReport(work);
  QueueShow(work);
  return absl::OkStatus();
}

absl::Status Agent::NoteReadBack(DatasetHandle& dataset, const VerifyReport& report) {
  if (absl::Status kept = scrubber_.Note(dataset, report);
      !kept.ok()) {  // a full disk: after a restart it is read again
    Log(Level::kWarning, "read-back-not-kept", {{"dataset", dataset.name}, {"error", kept}});
  }
  WasReadBack(dataset, report);
  return absl::OkStatus();
}

absl::Status Agent::MayLayOut(const DatasetHandle& dataset, const std::string& directory) {
  const policy::Obligations obligations = at_rest_.Obliged(dataset.id, dataset.name);
  if (obligations.encrypt_key_regions.empty()) return absl::OkStatus();
  if (std::string why = at_rest_.LayoutProblem(dataset.id, dataset.name); !why.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("dataset ", dataset.name, " cannot be checked out: ", why));
  }
  const std::string path = std::filesystem::path(directory).lexically_normal().string();
  const std::string inside = std::filesystem::path(replicas_ + "/").lexically_normal().string();
  if (absl::StartsWith(path, inside)) return volume_.Check();
  return absl::FailedPreconditionError(absl::StrCat("dataset ", dataset.name,
                                                    " must be encrypted at rest; check it out below ", inside,
                                                    ", the replica path, which is declared an encrypted volume"));
}

bool Agent::records_owner(const DatasetHandle& dataset) {
  std::shared_ptr<Work> work = FindWork(dataset.id);
  if (work == nullptr) return false;
  absl::MutexLock lock(&mutex_);
  return work->assignment.spec().owner();
}

}  // namespace bailiwick::agent
