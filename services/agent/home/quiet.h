// When something in a source last changed, by its times alone: no content is read.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/agent/home/committer.h"

namespace bailiwick::agent {

// The newest mtime or ctime of anything in the source that belongs to the dataset. Errors as Commit's for the source
// itself.
absl::StatusOr<absl::Time> NewestChange(const SourceSpec& source);

}  // namespace bailiwick::agent
