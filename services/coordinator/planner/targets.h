// Which sites the replication policies want a dataset at. Internal to the planner; pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {

// Null when there is no such site.
const PlannedSite* FindSite(const PlanInput& input, const std::string& name);
// The versions that lie at the site; empty when there is no replica.
const std::set<VersionNumber>& HeldAt(const PlannedDataset& dataset, const std::string& site);
// Whether the law lets a copy go from `from` to `to` and lie there.
bool Permits(const PlanInput& input, const PlannedDataset& dataset, const std::string& from, const std::string& to);
// In order of name.
std::vector<const PlannedDataset*> ByName(const std::vector<PlannedDataset>& datasets);
// By site: what the policies together ask of each desired pair; reason and lag are not set yet.
std::map<std::string, Wanted> Desired(const PlanInput& input, const PlannedDataset& dataset);

}  // namespace bailiwick::coordinator
