#include "services/agent/transfer/flow_metrics.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kMaxCode = 32;

telemetry::CounterFamily bytes_moved("bailiwick_agent_transfer_bytes_total",
                                     "Bytes of content sent to or received from a site.",
                                     {"dataset", "peer", "direction"});
telemetry::CounterFamily decisions("bailiwick_agent_flow_decisions_total",
                                   "Flows that this end was asked for: what it decided, and by which rule of the law.",
                                   {"direction", "result", "rule"});
telemetry::HistogramFamily durations("bailiwick_agent_transfer_duration_seconds",
                                     "How long flows took that have ended, by how they ended.",
                                     {"direction", "result"});
telemetry::GaugeFamily running("bailiwick_agent_transfers_running", "Flows that run now.", {"direction"});

std::string Direction(bool receive) { return receive ? "receive" : "send"; }

std::string Code(const std::string& code) { return IsCode(code) ? code : "OTHER"; }

}  // namespace

bool IsCode(std::string_view code) {
  return !code.empty() && code.size() <= kMaxCode &&
         std::all_of(code.begin(), code.end(), [](char c) { return absl::ascii_isupper(c) || c == '_'; });
}

void CountFlowBytes(const std::string& dataset, const std::string& peer_site, bool receive, uint64_t bytes) {
  bytes_moved.With({dataset, peer_site, Direction(receive)}).Add(bytes);
}

void CountDecision(bool receive, const std::string& code, const std::string& rule) {
  decisions.With({Direction(receive), Code(code), rule}).Add();
}

void CountFlowEnd(bool receive, const std::string& code, absl::Duration took) {
  durations.With({Direction(receive), Code(code)}).Observe(took);
}

RunningFlowMark::RunningFlowMark(bool receive) : receive_(receive) { running.With({Direction(receive_)}).Add(1); }
RunningFlowMark::~RunningFlowMark() { running.With({Direction(receive_)}).Add(-1); }

}  // namespace bailiwick::agent
