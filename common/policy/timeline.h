// When does the law change by the clock alone: windows open and close, sets expire, zones shift and end. Pure.
#pragma once

#include <functional>

#include "absl/time/time.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

// Visits `from` and every later instant at which a rule may begin or cease to hold, in order: between two visits
// nothing changes. Daily windows repeat: within a stretch in which only they change, a week is visited again only while
// the week before taught something, that is while some visit of it returned true. Ends early when `done` says so.
void WalkTime(const World& world, absl::Time from, const std::function<bool(absl::Time)>& visit,
              const std::function<bool()>& done);

}  // namespace bailiwick::policy
