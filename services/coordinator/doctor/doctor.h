// `bailiwick-coordinator doctor`: whether this machine, this data directory and the ports of the coordinator are as it
// needs them. Works beside one that serves and without one; takes no lock and opens no database.
#pragma once

#include "common/doctor/report.h"
#include "services/coordinator/settings/serve_settings.h"

namespace bailiwick::coordinator {

doctor::Report Examine(const ServeSettings& settings);  // as of `serve`; data_dir is given

}  // namespace bailiwick::coordinator
