// Reads back every chunk of versions and checks it against its digest: what is damaged is found, and quarantined so
// that a replica fetches it anew.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

struct VerifyReport {
  static constexpr size_t kMaxProblems = 100;
  uint64_t checked_chunks = 0;
  uint64_t checked_bytes = 0;  // raw
  uint64_t total_bytes = 0;    // logical, of all versions: an upper bound since shared chunks are read once
  std::vector<std::string> problems;
  uint64_t problem_count = 0;
  uint64_t redacted_chunks = 0;
  uint64_t dropped_chunks = 0;  // that the home gave up
  void Add(std::string problem) {
    if (problems.size() < kMaxProblems) problems.push_back(std::move(problem));
    ++problem_count;
  }
};

// Versions may be dropped, and content given up, while it reads: that is no problem. Errors: CANCELLED by `progress`;
// what cannot be looked at.
absl::Status VerifyVersions(DatasetHandle& dataset, const std::vector<store::CatalogVersion>& versions,
                            const std::function<absl::Status(const VerifyReport&)>& progress, VerifyReport* report);

// Those of `versions` of which the store lacks something, or keeps something back as damaged. Reads nodes, no content;
// what they share is looked at once, some 50 bytes of memory a node.
absl::StatusOr<std::set<VersionNumber>> DamagedVersions(DatasetHandle& dataset,
                                                        const std::vector<store::CatalogVersion>& versions);

// "added", "removed", "type", "modified", "mode", "meta".
std::string DescribeChange(const store::Entry* before, const store::Entry* after);

}  // namespace bailiwick::agent
