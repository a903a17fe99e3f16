// Takes redacted files out of a laid-out tree in place, also where readers have leased it.
#pragma once

#include "common/base/digest.h"
#include "common/os/tree.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

// The tree was laid out from `manifest`. Directories keep their modes and times. Not durable: the caller syncs.
// Idempotent.
absl::Status RedactTree(DatasetHandle& dataset, os::TreeDir& tree, const Digest& manifest);

}  // namespace bailiwick::agent
