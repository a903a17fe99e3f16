// What each site may send now, from the caps that BandwidthPolicies declare and the transfers that run, and which of
// those wait for more urgent ones. The agents keep to it.
//
// Pure: no I/O and no clock.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/policy/model.h"
#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {

struct PlannedCap {
  std::string id;
  std::string site;  // what this one sends; empty: what the sites of `from` send
  std::string from;  // region subtree
  std::string to;    // region subtree; empty: anywhere
  uint64_t bytes_per_second = 0;
  policy::When when;
};

struct SiteCap {
  std::string id;
  std::string to;  // region subtree; empty: anywhere
  uint64_t bytes_per_second = 0;
};

// By site; sites without a cap are left out. A cap of several sites is divided among those that send by the number of
// their running transfers that it is about and that send now: not those that yield or stall. A site with none has all
// of it, for its next one. Where local time is not known to `zones` the cap holds.
std::map<std::string, std::vector<SiteCap>> CapsBySite(const std::vector<PlannedCap>& caps,
                                                       const std::map<std::string, PlannedSite>& sites,
                                                       const std::vector<RunningTransfer>& running,
                                                       const policy::World& zones, absl::Time now);

// Ids of the running transfers that wait: one of a higher priority runs from the same source or to the same
// destination, and does not stall.
std::set<std::string> Yielding(const std::vector<RunningTransfer>& running);

}  // namespace bailiwick::coordinator
