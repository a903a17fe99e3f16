#include "services/agent/work/scrubber.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kLookEvery = absl::Minutes(10);
constexpr absl::Duration kNap = absl::Milliseconds(100);  // how soon Stop is noticed

std::string KeyOf(const DatasetHandle& dataset) { return absl::StrCat("read-back:", dataset.id.Hex()); }

}  // namespace

void Scrubber::Start(std::function<bool(DatasetHandle&)> may_read,
                     std::function<void(DatasetHandle&, const VerifyReport&)> read) {
  may_read_ = std::move(may_read);
  read_ = std::move(read);
  thread_ = std::thread([this] { Run(); });
}

void Scrubber::Stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void Scrubber::Run() {
  os::Clock* clock = state_->env().clock;
  absl::Duration next = clock->BootTime() + kLookEvery;
  while (!stopping_) {
    if (clock->BootTime() >= next) {
      Look();
      next = clock->BootTime() + kLookEvery;
    }
    clock->SleepFor(kNap);
  }
}

// One copy at a time, the one that has waited longest.
void Scrubber::Look() {
  const absl::Time due = state_->env().clock->Now() - kEvery;
  std::vector<std::pair<absl::Time, DatasetHandle*>> waiting;
  for (DatasetHandle* dataset : state_->Datasets()) {
    auto versions = dataset->catalog->List(dataset->id);
    if (!versions.ok() || versions->empty() || !may_read_(*dataset)) continue;
    absl::StatusOr<Result> last = Of(*dataset);
    if (!last.ok() || last->at > due) continue;
    auto failed = failed_.find(dataset->id);
    waiting.emplace_back(failed == failed_.end() ? last->at : failed->second, dataset);
  }
  if (waiting.empty()) return;
  DatasetHandle& dataset = *std::min_element(waiting.begin(), waiting.end())->second;
  absl::StatusOr<VerifyReport> report = ReadBack(dataset);
  if (!report.ok()) {
    if (!absl::IsCancelled(report.status())) {
      failed_[dataset.id] = state_->env().clock->Now();  // others have their turn first
      Log(Level::kWarning, "read-back-failed", {{"dataset", dataset.name}, {"error", report.status()}});
    }
    return;
  }
  failed_.erase(dataset.id);
  Log(Level::kInfo, "read-back", {{"dataset", dataset.name}, {"bytes", report->checked_bytes}});
  read_(dataset, *report);
}

absl::StatusOr<VerifyReport> Scrubber::ReadBack(DatasetHandle& dataset) {
  os::Clock* clock = state_->env().clock;
  BW_ASSIGN_OR_RETURN(const auto versions, dataset.catalog->List(dataset.id));
  VerifyReport report;
  const absl::Duration began = clock->BootTime();
  BW_RETURN_IF_ERROR(VerifyVersions(
      dataset, versions,
      [&](const VerifyReport& so_far) -> absl::Status {
        const absl::Duration allowed =
            absl::Seconds(1) * (static_cast<double>(so_far.checked_bytes) / static_cast<double>(kBytesPerSecond));
        while (!stopping_ && clock->BootTime() - began < allowed) clock->SleepFor(kNap);
        return stopping_ ? absl::CancelledError("the agent is stopping") : absl::OkStatus();
      },
      &report));
  BW_RETURN_IF_ERROR(Note(dataset, report));
  return report;
}

absl::StatusOr<Scrubber::Result> Scrubber::Of(const DatasetHandle& dataset) {
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = known_.find(dataset.id); it != known_.end()) return it->second;
  }
  BW_ASSIGN_OR_RETURN(const std::string text, state_->GetMeta(KeyOf(dataset)));
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(' ', 1));
  int64_t seconds = 0;
  Result result;
  if (absl::SimpleAtoi(parts.first, &seconds) && absl::SimpleAtoi(parts.second, &result.damaged)) {
    result.at = absl::FromUnixSeconds(seconds);
    absl::MutexLock lock(&mutex_);
    known_[dataset.id] = result;
    return result;
  }
  result = {.at = state_->env().clock->Now()};
  BW_RETURN_IF_ERROR(Put(dataset, result));
  return result;
}

absl::Status Scrubber::Note(const DatasetHandle& dataset, const VerifyReport& report) {
  return Put(dataset, {.at = state_->env().clock->Now(), .damaged = report.problem_count});
}

absl::Status Scrubber::Healed(const DatasetHandle& dataset) {
  BW_ASSIGN_OR_RETURN(Result result, Of(dataset));
  result.damaged = 0;
  return Put(dataset, result);
}

absl::Status Scrubber::Put(const DatasetHandle& dataset, const Result& result) {
  {
    absl::MutexLock lock(&mutex_);
    known_[dataset.id] = result;
  }
  return state_->PutMeta(KeyOf(dataset), absl::StrCat(absl::ToUnixSeconds(result.at), " ", result.damaged));
}

}  // namespace bailiwick::agent
