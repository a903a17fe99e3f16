// What a home may give up because other sites hold it: which sites are to be asked for their word, about which
// versions, and what is in the way of the others. The home decides by the words themselves; nothing here deletes
// anything.
//
// Pure: no I/O and no clock.
#pragma once

#include <map>
#include <set>
#include <string>

#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {

struct HomeDrop {
  std::set<VersionNumber> versions;                        // that enough sites hold, which can be asked now
  std::map<std::string, std::set<VersionNumber>> holders;  // who is to be asked about which of them
  std::string waits;  // why the home keeps its newest version, one sentence; empty: nothing is in the way
};

// `kept`: versions that a hold or a pin keeps at the home. `heard`: sites that have said in this session what they hold
// of the dataset: what others are thought to hold does not count.
HomeDrop PlanHomeDrop(const PlanInput& input, const PlannedDataset& dataset, const std::set<VersionNumber>& kept,
                      const std::set<std::string>& heard);

}  // namespace bailiwick::coordinator
