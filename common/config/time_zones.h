// The time zones that a law needs, compiled from the system's tz data into the signed bundle when the law is signed:
// every agent judges local time by the same table, whatever is installed where it runs.
#pragma once

#include <map>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/resource/v1/bundle.pb.h"
#include "common/config/world.h"
#include "common/policy/model.h"

namespace bailiwick::config {

// How far a table reaches from the moment it is made. Laws of time change with little notice, but a fleet whose law
// nobody touches for years must not stop for that; the past is for analyses of what was decided.
inline constexpr absl::Duration kZoneHorizon = absl::Hours(24 * 366 * 10);
inline constexpr absl::Duration kZonePast = absl::Hours(24 * 366 * 2);

// The zones that rules of the catalog name.
std::set<std::string> ZonesOf(const Catalog& catalog);
// Tables of those that the system knows; the others are left out, and Validate complains about them in their place.
TimeZones CompileTimeZones(const std::set<std::string>& names, absl::Time now);

// Whether the tables in force should be replaced by those made at `now`: less than half of their reach is left, or the
// system knows other transitions by now.
bool ZonesStale(const TimeZones& in_force, const TimeZones& fresh, absl::Time now);

void AddTimeZones(const TimeZones& zones, resource::v1::PolicyBundle* bundle);
// INVALID_ARGUMENT: not sorted, or a table that is not one.
absl::StatusOr<TimeZones> TimeZonesOf(const resource::v1::PolicyBundle& bundle);

}  // namespace bailiwick::config
