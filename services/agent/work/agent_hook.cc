// The site's hook for versions that were laid out. It has threads of its own: a slow one holds back nothing.
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/telemetry/log.h"
#include "services/agent/replica/hooks.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

std::string KeyOf(const DatasetHandle& dataset) { return absl::StrCat("hook:", dataset.id.Hex()); }

}  // namespace

void Agent::QueueHook(const std::shared_ptr<Work>& work, VersionNumber version) {
  const auto noted = state_->GetMeta(KeyOf(*work->dataset));
  VersionNumber ran = 0;
  const bool has_run = noted.ok() && absl::SimpleAtoi(*noted, &ran) && ran == version;
  {
    absl::MutexLock lock(&mutex_);
    if (work->hook_version == version) return;
    // What ran before counts only while nothing else runs or waits: else another version was told of last.
    if (work->hook_version == 0 && (work->hook_runs == version || (work->hook_runs == 0 && has_run))) return;
    if (std::exchange(work->hook_version, version) != 0) return;  // of what waits the newest runs
  }
  hook_jobs_.Submit(KeyOf(*work->dataset), [this, work] { RunHook(*work); });
}

void Agent::RunHook(Work& work) {
  if (stopping_) return;
  const DatasetHandle& dataset = *work.dataset;
  VersionNumber version = 0;
  {
    absl::MutexLock lock(&mutex_);
    work.hook_runs = version = std::exchange(work.hook_version, 0);
  }
  const std::string tree = os::JoinPath(ReplicaRoot(replicas_, dataset.name), "current");
  const absl::StatusOr<bool> ran =
      RunVersionHook(os::JoinPath(os::JoinPath(state_->directory(), "hooks"), "on-version"),
                     {.dataset = dataset.name, .version = version, .tree = tree}, stopping_);
  if (!ran.ok()) {
    Log(Level::kWarning, "hook-failed", {{"dataset", dataset.name}, {"version", version}, {"error", ran.status()}});
  }
  absl::Status noted;
  if (ran.ok() ? *ran : !absl::IsCancelled(ran.status()))
    noted = state_->PutMeta(KeyOf(dataset), absl::StrCat(version));
  if (!noted.ok()) {  // it may run again
    Log(Level::kWarning, "hook-not-noted", {{"dataset", dataset.name}, {"error", noted}});
  }
  absl::MutexLock lock(&mutex_);
  work.hook_runs = 0;
}

}  // namespace bailiwick::agent
