// What /metrics asks the agent at each scrape, beside what is counted where it happens.
#pragma once

#include "common/telemetry/metrics.h"
#include "services/agent/law/law.h"
#include "services/agent/state/agent_state.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {

// Thread-safe.
void CollectAgent(Agent& agent, const Law& law, AgentState& state, telemetry::Exposition* out);

}  // namespace bailiwick::agent
