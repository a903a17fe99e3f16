// Whether a home has all that it announced.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

// A data directory that was put back from an older copy would give numbers away twice, to different content.
// FAILED_PRECONDITION, with the remedy: the coordinator knows a newer version than the newest one here. A home without
// any lost its data: what it announces is refused.
absl::Status CheckPast(const DatasetHandle& dataset, const agent::v1::Assignment& assignment, const std::string& site);

}  // namespace bailiwick::agent
