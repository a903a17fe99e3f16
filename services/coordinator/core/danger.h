// What of a change of resources needs a second person: it shortens retention, lets redactions reach held data, relabels
// data, moves a site, changes whose approval counts, or deletes that of which the same could be said anew. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/config/world.h"

namespace bailiwick::coordinator {

// What a change takes something away from by deleting it; declared anew it would have no past.
struct Stakes {
  std::set<std::string> joined;   // sites that an agent joined as
  std::set<std::string> dropped;  // datasets with versions or holds whose id ends with the change
};

// One sentence each: "relabels dataset x". Classifications by dataset: those in force, and those that the change
// brings.
std::vector<std::string> Dangers(const config::Catalog& before, const config::Catalog& after,
                                 const std::map<DatasetId, config::Classification>& known,
                                 const std::vector<config::Classification>& changed, const Stakes& stakes);

}  // namespace bailiwick::coordinator
