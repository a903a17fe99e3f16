// A change that waits for signatures: what it would do, and one's own signature on it. Pure.
#pragma once

#include <string>
#include <vector>

#include "common/config/world.h"
#include "common/crypto/sign.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

// What the request would change of the law, lines for people: from its signed bytes, compared with the bundle in force
// (revision 0: none).
absl::StatusOr<std::string> DescribePending(const control::v1::ApplyRequest& request, const config::Bundle& before,
                                            const std::vector<config::Classification>& known);
// Adds the signatures of these keys where the request can use them; returns how many were added. FAILED_PRECONDITION:
// its root is not the one that `root_sha256` leads to. `known_roots`: the chain to the root in force, never empty.
absl::StatusOr<int> SignPending(const std::vector<crypto::SigningKey>& keys, const std::string& root_sha256,
                                const config::RootChain& known_roots, control::v1::ApplyRequest* request);

}  // namespace bailiwick::cli
