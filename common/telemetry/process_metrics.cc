#include "common/telemetry/process_metrics.h"

#include "common/base/version.h"
#include "common/os/process_stats.h"

namespace bailiwick::telemetry {

void CollectProcess(std::string_view process, const os::Clock& clock, Exposition* out) {
  out->Gauge("bailiwick_build_info", "Always 1; the labels say which build this is.",
             {{"process", std::string(process)}, {"version", std::string(kBuildVersion)}}, 1);
  auto stats = os::ReadProcessStats();
  if (!stats.ok()) return;
  out->Count("process_cpu_seconds_total", "User and system CPU time spent.", {},
             absl::ToDoubleSeconds(stats->cpu_time));
  out->Gauge("process_resident_memory_bytes", "Resident memory.", {}, static_cast<double>(stats->resident_bytes));
  out->Gauge("process_virtual_memory_bytes", "Virtual memory.", {}, static_cast<double>(stats->virtual_bytes));
  out->Gauge("process_threads", "Threads of the process.", {}, static_cast<double>(stats->threads));
  out->Gauge("process_open_fds", "Open file descriptors.", {}, static_cast<double>(stats->open_files));
  out->Gauge("process_max_fds", "How many file descriptors may be open.", {}, static_cast<double>(stats->max_files));
  out->Gauge("process_start_time_seconds", "When the process began, since the Unix epoch.", {},
             absl::ToDoubleSeconds(clock.Now() - absl::UnixEpoch() - clock.BootTime() + stats->started));
}

}  // namespace bailiwick::telemetry
