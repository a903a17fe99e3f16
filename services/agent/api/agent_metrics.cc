#include "services/agent/api/agent_metrics.h"

#include "common/telemetry/process_metrics.h"
#include "services/agent/work/dataset_metrics.h"

namespace bailiwick::agent {
namespace {

double Seconds(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

void CollectLaw(const Law& law, telemetry::Exposition* out) {
  out->Gauge("bailiwick_agent_policy_revision", "Revision of the signed policy that is installed, 0 without one.", {},
             static_cast<double>(law.revision()));
  if (const absl::Time called = law.called_current(); called != absl::InfinitePast()) {
    out->Gauge("bailiwick_agent_policy_called_current_timestamp_seconds",
               "When a signed word last said that the installed policy is the current one.", {}, Seconds(called));
  }
  const policy::GrantDecision fresh = law.CheckFresh();
  out->Gauge("bailiwick_agent_policy_stale",
             "1 while nothing may flow, because the policy is too old or the clock is wrong.", {},
             fresh.permitted ? 0 : 1);
  out->Gauge("bailiwick_agent_clock_skew_seconds",
             "How far the clock is ahead of the signed time, negative when behind; beyond "
             "60 s nothing flows.",
             {}, absl::ToDoubleSeconds(law.clock().Now() - law.clock().Best()));
}

}  // namespace

void CollectAgent(Agent& agent, const Law& law, AgentState& state, telemetry::Exposition* out) {
  telemetry::CollectProcess("agent", *state.env().clock, out);
  out->Gauge("bailiwick_agent_coordinator_connected", "1 while there is a session with the coordinator.", {},
             agent.connected() ? 1 : 0);
  out->Gauge("bailiwick_agent_certificate_expiry_timestamp_seconds", "When the agent's certificate ends.", {},
             Seconds(agent.certificate().not_after));
  CollectLaw(law, out);
  CollectFigures(out);
  out->Gauge("bailiwick_agent_audit_records", "Records in the audit log.", {},
             static_cast<double>(agent.audit()->size()));
  out->Gauge("bailiwick_agent_audit_bytes", "Size of the records in the audit log.", {},
             static_cast<double>(agent.audit()->bytes()));
  if (auto free = state.env().files->FreeBytes(state.directory()); free.ok()) {
    out->Gauge("bailiwick_agent_disk_free_bytes", "Free space where the data directory lies.", {},
               static_cast<double>(*free));
  }
  out->Gauge("bailiwick_agent_disk_reserve_bytes", "Space there that new content leaves free.", {},
             static_cast<double>(state.env().disk_reserve));
}

}  // namespace bailiwick::agent
