// The site's own command for "a new version is here". It runs at least once for a version that becomes current and
// stays so until its turn comes: again after a stop or a crash before the agent noted its end, never for versions that
// were overtaken while an earlier run went on. So it must be idempotent.
#pragma once

#include <atomic>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/ids.h"

namespace bailiwick::agent {

struct HookContext {
  std::string dataset;
  VersionNumber version = 0;
  std::string tree;  // absolute path of the tree
};

inline constexpr absl::Duration kHookTimeout = absl::Minutes(10);

// False: there is no hook. Runs it with BAILIWICK_DATASET, BAILIWICK_VERSION and BAILIWICK_TREE set and its output in
// the agent's log; waits for its end. PERMISSION_DENIED: the file is not the agent's own, or others may write to it;
// FAILED_PRECONDITION: it is not executable; DEADLINE_EXCEEDED, CANCELLED: killed, with its process group, after
// `timeout` or for `stop`; ABORTED: it ended with another exit code than 0.
absl::StatusOr<bool> RunVersionHook(const std::string& hook_path, const HookContext& context,
                                    const std::atomic<bool>& stop, absl::Duration timeout = kHookTimeout);

}  // namespace bailiwick::agent
