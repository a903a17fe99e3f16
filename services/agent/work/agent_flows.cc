// Flows that this agent dials: by order of the coordinator, or of its own accord while there is none.
#include <thread>
#include <utility>

#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"
#include "services/agent/transfer/frame.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

constexpr int kMaxDialledFlows = 32;  // each has a thread; more orders are refused and come again

}  // namespace

void Agent::OnOrder(const agent::v1::TransferOrder& message) {
  FlowOrder order;
  order.transfer_id = message.transfer_id();
  order.receive = message.receive();
  order.version_record = rpc::FromProto(message.version_record());
  order.grant = rpc::FromProto(message.grant());
  {
    absl::MutexLock lock(&mutex_);
    if (flows_.count(order.transfer_id) != 0) return;  // told twice
  }
  auto fail = [this, id = order.transfer_id](const std::string& code, const std::string& why) {
    transfer_env_.report({.transfer_id = id, .state = TransferUpdate::State::kFailed, .code = code, .message = why});
  };
  auto control = std::make_shared<FlowControl>();
  const bool launched =
      Launch(message.transfer_id(), control, [=, this, peer = message.peer(), endpoint = message.peer_endpoint()] {
        auto channel = DialPeer(peer, endpoint);
        if (!channel.ok()) return fail("INTERNAL", std::string(channel.status().message()));
        RunDialledFlow(transfer_env_, order, OpenExchange(*channel), control);
      });
  if (!launched) fail("BUSY", "this agent runs as many transfers as it may");
}

bool Agent::Launch(const std::string& transfer_id, const std::shared_ptr<FlowControl>& control,
                   std::function<void()> run) {
  {
    absl::MutexLock lock(&mutex_);
    if (flow_threads_ >= kMaxDialledFlows || stopping_ || flows_.count(transfer_id) != 0) return false;
    flows_[transfer_id] = control;
    ++flow_threads_;
  }
  std::thread([this, transfer_id, run = std::move(run)] {
    run();
    absl::MutexLock lock(&mutex_);
    flows_.erase(transfer_id);
    --flow_threads_;
  }).detach();
  return true;
}

// Whoever dialled.
void Agent::CancelFlows(const std::string& transfer_id, const std::string& why) {
  absl::MutexLock lock(&mutex_);
  if (auto it = flows_.find(transfer_id); it != flows_.end()) it->second->Cancel("CANCELLED", why);
  for (const auto& [id, work] : work_) {
    for (const auto& [control, flow] : work->flows) {
      if (flow.id == transfer_id) control->Cancel("CANCELLED", why);
    }
  }
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Agent::DialPeer(const std::string& peer, const std::string& endpoint) {
  BW_ASSIGN_OR_RETURN(auto credentials, rpc::MutualChannelCredentials({identity_->credentials_directory()}, peer, gate_));
  return rpc::Dial(endpoint, credentials, proxy_, static_cast<int>(kMaxFrameBytes));
}

}  // namespace bailiwick::agent
