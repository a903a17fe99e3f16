// The Control service: admins only, thin over the core.
#pragma once

#include "bailiwick/control/v1/control.grpc.pb.h"
#include "common/os/clock.h"
#include "services/coordinator/audit/audit_desk.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {

class ControlService final : public control::v1::Control::Service {
 public:
  ControlService(Core* core, audit::Log* audit, AuditDesk* audit_desk, std::shared_ptr<const rpc::Gate> gate,
                 const os::Clock* clock, const std::atomic<bool>* stopping)
      : core_(core),
        audit_(audit),
        audit_desk_(audit_desk),
        gate_(std::move(gate)),
        clock_(clock),
        stopping_(stopping) {}

#define BW_CONTROL_RPC(name) \
  grpc::Status name(grpc::ServerContext*, const control::v1::name##Request*, control::v1::name##Response*) override
  BW_CONTROL_RPC(GetInfo);
  BW_CONTROL_RPC(Apply);
  BW_CONTROL_RPC(DryRun);
  BW_CONTROL_RPC(ListResources);
  BW_CONTROL_RPC(GetPolicy);
  BW_CONTROL_RPC(ListPolicies);
  BW_CONTROL_RPC(GetPending);
  BW_CONTROL_RPC(RejectPending);
  BW_CONTROL_RPC(CreateJoinToken);
  BW_CONTROL_RPC(ListSites);
  BW_CONTROL_RPC(ListAgents);
  BW_CONTROL_RPC(Revoke);
  BW_CONTROL_RPC(AllowRecoveries);
  BW_CONTROL_RPC(RotateAuthority);
  BW_CONTROL_RPC(ListAuthorities);
  BW_CONTROL_RPC(CreateLoginToken);
  BW_CONTROL_RPC(WhoAmI);
  BW_CONTROL_RPC(ListProposals);
  BW_CONTROL_RPC(Approve);
  BW_CONTROL_RPC(Withdraw);
  BW_CONTROL_RPC(ListDatasets);
  BW_CONTROL_RPC(ListVersions);
  BW_CONTROL_RPC(ListReplicas);
  BW_CONTROL_RPC(ListTransfers);
  BW_CONTROL_RPC(Why);
  BW_CONTROL_RPC(Pin);
  BW_CONTROL_RPC(Hold);
  BW_CONTROL_RPC(ListHolds);
  BW_CONTROL_RPC(Release);
  BW_CONTROL_RPC(ListEvictions);
  BW_CONTROL_RPC(Redact);
  BW_CONTROL_RPC(ListRedactions);
  BW_CONTROL_RPC(ListAuditLogs);
#undef BW_CONTROL_RPC
  grpc::Status ReadAudit(grpc::ServerContext* context, const agent::v1::ReadAuditRequest* request,
                         grpc::ServerWriter<agent::v1::AuditChunk>* writer) override;
  grpc::Status Events(grpc::ServerContext* context, const control::v1::EventsRequest* request,
                      grpc::ServerWriter<control::v1::Event>* writer) override;

 private:
  // Who asks, and may ask this: see rpc/access.h.
  absl::StatusOr<rpc::Peer> Admin(const grpc::ServerContext& context, const char* method) const;
  Core* const core_;
  audit::Log* const audit_;
  AuditDesk* const audit_desk_;
  const std::shared_ptr<const rpc::Gate> gate_;
  const os::Clock* const clock_;
  const std::atomic<bool>* const stopping_;
};

}  // namespace bailiwick::coordinator
