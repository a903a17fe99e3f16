// What flows leave behind for /metrics. Thread-safe. What a peer says (codes, names) becomes a label only where it
// looks like one of ours.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace bailiwick::agent {

// Whether it looks like the code that a flow ends with.
bool IsCode(std::string_view code);

void CountFlowBytes(const std::string& dataset, const std::string& peer_site, bool receive, uint64_t bytes);
// Whether this end let a flow begin: "PERMITTED" or the code of the refusal, and the rule of the law that decided.
void CountDecision(bool receive, const std::string& code, const std::string& rule);
void CountFlowEnd(bool receive, const std::string& code, absl::Duration took);

// Counts a flow as running while it lives.
class RunningFlowMark {
 public:
  explicit RunningFlowMark(bool receive);
  ~RunningFlowMark();
  RunningFlowMark(const RunningFlowMark&) = delete;
  RunningFlowMark& operator=(const RunningFlowMark&) = delete;

 private:
  const bool receive_;
};

}  // namespace bailiwick::agent
