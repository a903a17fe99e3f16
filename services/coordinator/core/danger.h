// What of a change of resources needs a second person: it shortens retention, relabels data, moves a site, or changes
// whose approval counts. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/config/world.h"

namespace bailiwick::coordinator {

// One sentence each: "relabels dataset x". Classifications by dataset: those in force, and those that the change
// brings.
std::vector<std::string> Dangers(const config::Catalog& before, const config::Catalog& after,
                                 const std::map<DatasetId, config::Classification>& known,
                                 const std::vector<config::Classification>& changed);

}  // namespace bailiwick::coordinator
