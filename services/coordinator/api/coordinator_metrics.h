// What /metrics asks the coordinator at each scrape: the same views that admins see.
#pragma once

#include <string>

#include "common/audit/log.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/telemetry/metrics.h"
#include "services/coordinator/audit/audit_desk.h"
#include "services/coordinator/ca/authority.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {

struct MetricSources {
  Core* core = nullptr;
  AuditDesk* audit_desk = nullptr;
  const audit::Log* audit = nullptr;
  const Authority* authority = nullptr;
  os::Files* files = nullptr;
  const os::Clock* clock = nullptr;
  std::string certificate;  // file with the coordinator's own
  std::string data_directory;
};

// Thread-safe.
void CollectCoordinator(const MetricSources& sources, telemetry::Exposition* out);

}  // namespace bailiwick::coordinator
