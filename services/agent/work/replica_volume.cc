#include "services/agent/work/replica_volume.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"
#include "common/os/directories.h"
#include "services/agent/replica/replica_tree.h"

namespace bailiwick::agent {
namespace {

constexpr const char* kWhatItIs =
    "Replicas of a Bailiwick agent lie here. Without this file it takes the volume for one that is not mounted.\n";
constexpr absl::string_view kOwner = "site: ";  // begins a line
constexpr uint64_t kMaxMarker = 64 << 10;       // people may add what they like

}  // namespace

ReplicaVolume::ReplicaVolume(AgentState* state, std::string directory, std::string owner)
    : state_(state),
      directory_(std::move(directory)),
      owner_(std::move(owner)),
      marker_(os::JoinPath(directory_, kMarker)) {}

absl::StatusOr<ReplicaVolume::Mark> ReplicaVolume::Read() const {
  const auto text = os::ReadFile(state_->env().files, marker_, kMaxMarker);
  if (absl::IsNotFound(text.status())) return Mark::kNone;
  BW_RETURN_IF_ERROR(text.status());
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, kOwner)) continue;
    if (line == owner_) return Mark::kOurs;
    return absl::FailedPreconditionError(absl::StrCat(
        directory_, " holds the replicas of ", line, ", and this is ", owner_,
        ": two sites would lay out over each other; give this one another replicaPath, or if the other uses it no more: "
        "truncate -s 0 ",
        marker_));
  }
  return Mark::kNobodys;  // as builds before made it, or somebody who wants another volume used
}

absl::StatusOr<bool> ReplicaVolume::Known() {
  if (known_) return true;
  BW_ASSIGN_OR_RETURN(const std::string used, state_->GetMeta(absl::StrCat("replicas-used:", directory_)));
  known_ = !used.empty();
  return known_;
}

absl::StatusOr<bool> ReplicaVolume::Apart() const {
  if (directory_ != os::JoinPath(state_->directory(), "replicas")) return true;
  auto here = os::DirectoriesUpFrom(directory_);
  if (absl::IsNotFound(here.status())) return false;  // it will be made
  BW_RETURN_IF_ERROR(here.status());
  BW_ASSIGN_OR_RETURN(auto data, os::DirectoriesUpFrom(state_->directory()));
  return here->front().device != data.front().device;
}

absl::Status ReplicaVolume::Missing() const {
  return absl::FailedPreconditionError(absl::StrCat("the volume of replicas is not there: ", marker_,
                                                    " is missing, which marks where they were laid out before; mount "
                                                    "it, or if another volume is meant from now on: touch ",
                                                    marker_));
}

absl::Status ReplicaVolume::Use() {
  absl::MutexLock lock(&mutex_);
  BW_ASSIGN_OR_RETURN(const bool known, Known());
  BW_ASSIGN_OR_RETURN(const Mark mark, Read());
  if (known && mark == Mark::kNone) return Missing();
  if (known && mark == Mark::kOurs) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(const bool apart, Apart());
  if (!apart) return absl::OkStatus();
  if (mark != Mark::kOurs) {
    BW_RETURN_IF_ERROR(MakePublicDirs(state_->env().files, directory_));
    BW_RETURN_IF_ERROR(
        os::WriteFileAtomically(state_->env().files, marker_, absl::StrCat(kWhatItIs, kOwner, owner_, "\n")));
  }
  BW_RETURN_IF_ERROR(state_->PutMeta(absl::StrCat("replicas-used:", directory_), "1"));
  known_ = true;
  return absl::OkStatus();
}

absl::Status ReplicaVolume::Check() {
  absl::MutexLock lock(&mutex_);
  BW_ASSIGN_OR_RETURN(const bool known, Known());
  if (!known) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(const Mark mark, Read());
  return mark == Mark::kNone ? Missing() : absl::OkStatus();
}

}  // namespace bailiwick::agent
