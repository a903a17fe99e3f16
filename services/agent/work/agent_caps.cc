// What this site may send: as the coordinator said last, also over a restart while it is away.
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr char kCapsKey[] = "send-caps";

std::vector<Pacer::Cap> CapsOf(const agent::v1::SendCaps& caps) {
  std::vector<Pacer::Cap> out;
  for (const auto& cap : caps.caps()) {
    out.push_back({cap.id(), cap.to(), cap.bytes_per_second()});
    Log(Level::kInfo, "send-cap", {{"cap", cap.id()}, {"to", cap.to()}, {"bytes_per_second", cap.bytes_per_second()}});
  }
  return out;
}

}  // namespace

void Agent::OnCaps(const agent::v1::SendCaps& message) {
  pacer_.SetYielding({message.yielding().begin(), message.yielding().end()});
  agent::v1::SendCaps caps = message;
  caps.clear_yielding();  // of flows that a restart ends
  const std::string bytes = caps.SerializeAsString();
  if (bytes == caps_) return;
  caps_ = bytes;
  pacer_.Set(CapsOf(caps));
  if (absl::Status kept = state_->PutMeta(kCapsKey, bytes); !kept.ok()) {
    Log(Level::kError, "send-caps-not-kept", {{"error", kept}});  // they hold until the agent ends
  }
}

absl::Status Agent::RestoreCaps() {
  BW_ASSIGN_OR_RETURN(caps_, state_->GetMeta(kCapsKey));
  agent::v1::SendCaps caps;
  if (!caps.ParseFromString(caps_)) return absl::DataLossError("the caps on what this site sends cannot be read");
  pacer_.Set(CapsOf(caps));
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
