// Copies that the law does not permit where they are, or no longer: what is known of each, and which of their versions
// may be erased because they are verified elsewhere. Repair comes first: where a policy wants a number of copies, the
// site that stands in must have the newest version before the unlawful one goes. The last verified copy of a version is
// never given up. The agents decide by their own law; an order only tells them what lies elsewhere.
//
// Pure: no I/O and no clock. Depends on the values of the input, never on the order of its lists.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {

// A copy that is out of use: its agent fenced it, or the law as known here forbids it.
struct UnlawfulCopy {
  DatasetId dataset;
  std::string dataset_name;
  std::string site;
  std::set<VersionNumber> versions;  // as its agent last said
  uint64_t stored_bytes = 0;
  enum class Stage { kSilent, kFenced, kErasing, kErased };
  Stage stage = Stage::kSilent;  // as its agent last said; silent: nothing about a fence
  bool judged = true;            // false: its agent cannot evaluate the law
  bool overdue = false;  // the copy is lawful, these versions are past their retention: nothing stands in for them
  std::set<VersionNumber> held;  // by holds, as its agent said
  std::string rule, sentence;    // the law's
  absl::Time since;              // of the fence
};

struct EvictionStatus {
  DatasetId dataset;
  std::string dataset_name;
  std::string site;
  std::string state;     // unconfirmed, fenced, repairing, last-copy, held, unjudged, erasing
  std::string sentence;  // why it has to go, and why it is still there
  std::string rule;
  std::set<VersionNumber> versions;
  uint64_t stored_bytes = 0;
  absl::Time since;      // fenced; when unconfirmed: last heard of
  bool overdue = false;  // as UnlawfulCopy
};

struct Eviction {  // to tell the site's agent
  DatasetId dataset;
  std::string site;
  std::set<VersionNumber> safe;
};

struct EvictionPlan {
  std::vector<EvictionStatus> copies;  // by dataset name and site
  std::vector<Eviction> orders;        // of connected sites
  std::map<std::pair<DatasetId, std::string>, size_t> by_copy;  // place in `copies` by dataset and site
};

// `input.datasets[].held` must not count the unlawful copies.
EvictionPlan PlanEvictions(const PlanInput& input, const std::vector<UnlawfulCopy>& copies);

}  // namespace bailiwick::coordinator
