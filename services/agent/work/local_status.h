// What the agent says of itself in its data directory, so that whoever stands before the machine learns how it goes on
// without the coordinator.
#pragma once

#include <iosfwd>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bailiwick/agent/v1/local.pb.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/output/output.h"

namespace bailiwick::agent {

// <data>/status.json. Written anew only when something but its own time changed, or a minute went by. One thread.
class LocalStatusFile {
 public:
  LocalStatusFile(os::Files* files, const os::Clock* clock, const std::string& directory);
  absl::Status Write(agent::v1::LocalStatus status);

 private:
  os::Files* const files_;
  const os::Clock* const clock_;
  const std::string path_;
  std::string last_;
  absl::Duration next_ = absl::ZeroDuration();
};

// What it says. NOT_FOUND: the agent never ran there. DATA_LOSS.
absl::StatusOr<agent::v1::LocalStatus> ReadLocalStatus(os::Files* files, const std::string& directory);
inline constexpr absl::Duration kSilentAfter = absl::Minutes(3);  // one that runs has written since

// Shows it. NOT_FOUND: the agent never ran there. UNAVAILABLE (of a table), after it is shown: it was written too long
// ago for an agent that runs.
absl::Status PrintLocalStatus(os::Files* files, const os::Clock* clock, const std::string& directory,
                              output::Format format, std::ostream* out);

}  // namespace bailiwick::agent
