// What /metrics says of each dataset here and of commits. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::agent {

struct DatasetFigures {
  uint64_t versions = 0;       // held
  uint64_t newest = 0;         // number; 0: none
  uint64_t current = 0;        // number that `current` shows; 0: none
  uint64_t logical_bytes = 0;  // of all versions, each as if it stood alone
  uint64_t given_up = 0;       // versions whose content the home gave up (dropAfterCopies)
  uint64_t packs = 0;
  uint64_t chunks = 0;  // in the packs
  uint64_t stored_bytes = 0;
  bool problem = false;  // of its layout or its source
  bool fenced = false;
  absl::Time read_back_at = absl::InfinitePast();  // see Scrubber; with a version only
  uint64_t damaged = 0;                            // chunks, as of then
};

void SayFigures(const std::string& dataset, const DatasetFigures& figures);
// Nothing of it is here any more: its gauges go, its counters stay.
void ForgetFigures(const std::string& dataset);
void CollectFigures(telemetry::Exposition* out);
// `result`: "committed", "unchanged" or the code of the error.
void CountCommit(const std::string& dataset, const std::string& result, uint64_t new_bytes, absl::Duration took);

}  // namespace bailiwick::agent
