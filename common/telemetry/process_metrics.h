// What every process says of itself: its build and the usual process_ metrics, the names that dashboards know.
#pragma once

#include "common/os/clock.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::telemetry {

// `process` is "agent" or "coordinator".
void CollectProcess(std::string_view process, const os::Clock& clock, Exposition* out);

}  // namespace bailiwick::telemetry
