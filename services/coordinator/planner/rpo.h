// Alarms about copies that are older than their policies allow (`rpo`): raised once when a copy falls too far behind,
// ended once when it is back in time or nobody asks for that any more.
//
// Pure: no I/O and no clock. What was raised before is the caller's to keep.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {

struct RpoAlarm {
  DatasetId dataset;
  std::string dataset_name;
  std::string site;
  absl::Time since;  // when its lag passed the RPO, by the times of the commits
};
using RpoAlarms = std::map<std::pair<DatasetId, std::string>, RpoAlarm>;  // by dataset and site

struct RpoChange {
  RpoAlarm alarm;
  bool raised = false;        // else ended
  VersionNumber version = 0;  // the oldest that is missing; 0 when ended
  std::string sentence;       // how far behind and why, or how it ended
};

// From the alarms `before` to what `wanted` says now: the ended ones first, each part by dataset id and site.
std::vector<RpoChange> RpoChanges(const std::vector<Wanted>& wanted, const RpoAlarms& before, absl::Time now);

}  // namespace bailiwick::coordinator
