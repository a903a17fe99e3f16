// What a redaction of some paths has to name: the contents that they have had in any version held here, and the chunks
// that nothing else uses.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

struct FoundContent {
  static constexpr size_t kMaxCopyPaths = 20;
  std::vector<Digest> contents, chunks;  // sorted
  uint64_t files = 0;                    // paths
  uint64_t versions = 0;                 // that have any of it
  uint64_t bytes = 0;                    // raw, of the chunks
  uint64_t shared = 0;                   // chunks that other files use too, which are not in `chunks`
  uint64_t copies = 0;                   // other paths with the very same content
  std::vector<std::string> copy_paths;   // the first ones
};

// `paths`: of files, or of directories for all below them. NOT_FOUND: one that no version here has. INVALID_ARGUMENT:
// nothing at these paths has any content. Reads the manifests of all versions
// twice, what they share once, and each version's once more to count it; `progress` is told how many of how many.
absl::StatusOr<FoundContent> FindContent(DatasetHandle& dataset, const std::vector<std::string>& paths,
                                         const std::function<void(uint64_t searched, uint64_t of)>& progress);

}  // namespace bailiwick::agent
