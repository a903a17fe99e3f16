// A change that waits for signatures: what it would do, and one's own signature on it. Pure.
#pragma once

#include <string>
#include <vector>

#include "common/config/world.h"
#include "common/crypto/sign.h"
#include "services/cli/core/admin.h"
#include "services/cli/core/change.h"

namespace bailiwick::cli {

// What a law says besides its resources: who may sign and classify, how long it counts, which machines are pinned;
// lines for people.
std::string DescribeTrust(const config::Bundle& bundle);
// What the request would change, lines for people, compared with what is known (a bundle of revision 0: no law): of the
// law from the request's signed bytes, of resources that nobody signs from what it carries.
absl::StatusOr<std::string> DescribePending(const control::v1::ApplyRequest& request, const Known& known);
// Adds the signatures of these keys where the request can use them; returns how many were added. FAILED_PRECONDITION:
// its root is not the one that `root_sha256` leads to. `known_roots`: the chain to the root in force, never empty.
absl::StatusOr<int> SignPending(const std::vector<crypto::SigningKey>& keys, const std::string& root_sha256,
                                const config::RootChain& known_roots, control::v1::ApplyRequest* request);

}  // namespace bailiwick::cli
