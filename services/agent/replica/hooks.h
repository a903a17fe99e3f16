// The site's own command for "a new version is here". It runs at least once for a version that becomes current: again
// after a crash between its end and the agent's note of it, never for versions that were skipped over. So it must be
// idempotent.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/ids.h"

namespace bailiwick::agent {

struct HookContext {
  std::string dataset;
  VersionNumber version = 0;
  std::string tree;  // absolute path of the tree
};

inline constexpr absl::Duration kHookTimeout = absl::Minutes(10);

// OK when there is no hook. Runs it with BAILIWICK_DATASET, BAILIWICK_VERSION and BAILIWICK_TREE set and its output in
// the agent's log; waits for its end. PERMISSION_DENIED: the file is not the agent's own, or others may write to it;
// FAILED_PRECONDITION: it is not executable; DEADLINE_EXCEEDED: killed, with its process group, after `timeout`;
// ABORTED: it ended with another exit code than 0.
absl::Status RunVersionHook(const std::string& hook_path, const HookContext& context,
                            absl::Duration timeout = kHookTimeout);

}  // namespace bailiwick::agent
