// Which sites the replication policies want a dataset at. For the planner and what the coordinator plans for when it is
// away (core_offline.cc); pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/policy/evaluator.h"
#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {

// Null when there is no such site.
const PlannedSite* FindSite(const PlanInput& input, const std::string& name);
// The versions that lie at the site; empty when there is no replica.
const std::set<VersionNumber>& HeldAt(const PlannedDataset& dataset, const std::string& site);
// What the law is asked about a copy of the dataset.
policy::Flow FlowOf(const PlannedDataset& dataset, const std::string& from, const std::string& to,
                    const std::string& purpose);
struct Permit {
  std::string purpose;
  absl::Duration retention = absl::InfiniteDuration();  // since the commit of a version; older ones do not go
};
// The one of the purposes for which the law lets a copy go from `from` to `to` and lie there, the longest; of equals
// the first.
std::optional<Permit> PermitFor(const PlanInput& input, const PlannedDataset& dataset, const std::string& from,
                                const std::string& to, const std::set<std::string>& purposes);
// How long after its commit a version may lie at the site; infinite where the law permits no copy at all.
absl::Duration RetentionAt(const PlanInput& input, const PlannedDataset& dataset, const std::string& site);
// How many leading parts the regions share: "eu/de/fra" and "eu/de" share two.
int SharedRegionParts(const std::string& a, const std::string& b);
// In order of name.
std::vector<const PlannedDataset*> ByName(const std::vector<PlannedDataset>& datasets);
// By site: what the policies together ask of each desired pair; reason and lag are not set yet.
std::map<std::string, Wanted> Desired(const PlanInput& input, const PlannedDataset& dataset);
// Which purposes the policies that select the dataset have; none is one.
std::set<std::string> PurposesOf(const PlanInput& input, const PlannedDataset& dataset);
// Sites that stand in for this one where a policy wants a number of copies among sites of which it is one; in order of
// name.
std::set<std::string> Substitutes(const PlanInput& input, const PlannedDataset& dataset, const std::string& site);

}  // namespace bailiwick::coordinator
