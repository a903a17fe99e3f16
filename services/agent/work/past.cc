#include "services/agent/work/past.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::agent {

absl::Status CheckPast(const DatasetHandle& dataset, const agent::v1::Assignment& assignment, const std::string& site) {
  BW_ASSIGN_OR_RETURN(const auto newest, dataset.catalog->Newest(dataset.id));
  if (!newest.has_value() || newest->record.number >= assignment.acknowledged()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("site ", site, " has version ", newest->record.number, " of ", assignment.dataset(),
                   " at most, but version ", assignment.acknowledged(),
                   " was announced: its data directory is older than that. Put back a newer copy of it, or delete the "
                   "dataset and declare it again"));
}

}  // namespace bailiwick::agent
