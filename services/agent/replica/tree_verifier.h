// Compares a laid-out tree with its manifest: names, types, modes, times, owners where restored, targets, and every
// byte.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/os/tree.h"
#include "services/agent/replica/tree_writer.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

inline constexpr size_t kMaxProblems = 1000;  // sentences; what follows is counted in one last sentence

// Adds a sentence a difference. An error means that the comparison itself could not be done. `seen`: another tree,
// whose files were compared; what is the same file in both is not read again.
absl::Status VerifyTree(DatasetHandle& dataset, os::TreeDir& tree, const std::string& label, const Digest& manifest,
                        const TreeStyle& style, std::vector<std::string>* problems, os::TreeDir* seen = nullptr);

}  // namespace bailiwick::agent
