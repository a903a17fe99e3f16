// `bailiwick-agent doctor`: whether this machine, this data directory and the way to the coordinator are as an agent
// needs them. Works beside a running agent and without one, with or without a coordinator; takes no lock and opens no
// database.
#pragma once

#include "common/doctor/report.h"
#include "services/agent/settings/run_settings.h"

namespace bailiwick::agent {

// `settings` as of `run`: data_dir is given; coordinator where it is not the one that the agent dialled last.
doctor::Report Examine(const RunSettings& settings);

}  // namespace bailiwick::agent
