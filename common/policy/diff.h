// What a change of the law changes: decisions, by classes of data and sites, and what exists and would have to go.
// Pure, deterministic, thread-safe; a million replicas are a matter of a second.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/policy/check.h"
#include "common/policy/evaluator.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

// What one law says of a copy from one site to another (transfer and reside).
struct CopyVerdict {
  Reason reason = Reason::kNoPermit;
  std::string what;  // the action that decided: "transfer", "reside"
  std::string rule;  // empty: no rule permits it, or the site is not declared
  Obligations obligations;
  bool permitted() const { return reason == Reason::kPermitted; }
};

// One change of decision, for all data and all pairs of sites that share it.
struct DecisionChange {
  std::vector<std::string> datasets;  // sorted
  Labels labels;                      // of the first
  std::string purpose;                // empty: without one
  CopyVerdict before, after;
  uint64_t pairs = 0;                                 // of different sites
  std::string from, to;                               // an example
  std::vector<std::string> from_regions, to_regions;  // of all pairs, sorted
};

// Of a copy between any two sites of either world, for every dataset and for every purpose that a rule names. A change
// is another verdict, or other obligations of a permit; which rule decides is not. Most pairs first.
std::vector<DecisionChange> DiffDecisions(const World& before, const World& after,
                                          const std::vector<NamedData>& datasets, absl::Time now);

// What exists. Numbers are indexes into `datasets` and `sites`.
struct Inventory {
  struct Replica {
    uint32_t dataset = 0, site = 0;
    uint64_t bytes = 0;
    std::vector<uint64_t> versions;
    bool held = false;  // a hold or a retention lock keeps it
  };
  struct Transfer {
    std::string id;
    uint32_t dataset = 0, from = 0, to = 0;
    uint64_t version = 0;
    std::string purpose;
  };
  std::vector<NamedData> datasets;         // with their homes; streams, not families
  std::vector<NamedData> datasets_before;  // the same with labels and homes as they were; empty: nothing changed
  std::vector<std::string> sites;
  std::vector<Replica> replicas;    // the homes' own copies included
  std::vector<Transfer> transfers;  // running
};

struct Impact {
  struct Eviction {
    size_t replica = 0;  // in the inventory
    Reason reason = Reason::kNoPermit;
    std::string rule;
    bool last_copy = false;  // of some version: nowhere lawful is another
  };
  struct Stop {
    size_t transfer = 0;
    Reason reason = Reason::kNoPermit;
    std::string rule, sentence;
  };
  std::vector<Eviction> evictions;  // copies that may lie where they do under the law before, not under the one after
  std::vector<Stop> stops;
  uint64_t bytes = 0;          // of the evictions
  size_t last_copies = 0;      // of the evictions
  size_t held = 0;             // of the evictions: in conflict, never erased silently
  size_t unlawful_before = 0;  // copies that neither law allows where they lie
};

// A copy is lawful where `reside` from the dataset's home is permitted; what lies at the home itself always is.
Impact Assess(const World& before, const World& after, const Inventory& inventory, absl::Time now);

}  // namespace bailiwick::policy
