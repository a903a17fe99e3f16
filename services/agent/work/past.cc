#include "services/agent/work/past.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::agent {

absl::Status CheckPast(const DatasetHandle& dataset, const agent::v1::Assignment& assignment, const std::string& site) {
  BW_ASSIGN_OR_RETURN(const auto newest, dataset.catalog->Newest(dataset.id));
  const VersionNumber has = newest.has_value() ? newest->record.number : 0;
  if (has >= assignment.acknowledged()) return absl::OkStatus();
  const std::string announced = absl::StrCat(" but version ", assignment.acknowledged(), " was announced: ");
  if (has == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "site ", site, " has no version of ", assignment.dataset(), ",", announced,
        "its data directory was lost, or it became the home before any came here. What a home of before "
        "committed comes by itself from a site that holds it, where the law lets it; else put back a copy of "
        "the directory, make a site that holds the dataset its home, or delete the dataset and declare it "
        "again"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "site ", site, " has version ", has, " of ", assignment.dataset(), " at most,", announced,
      "its data directory is older than that, or it became the home before that came here. What a home of "
      "before committed comes by itself from a site that holds it, where the law lets it; else put back a "
      "newer copy of the directory, make a site that holds the newest version the home until this one has it "
      "as a replica, or delete the dataset and declare it again"));
}

}  // namespace bailiwick::agent
