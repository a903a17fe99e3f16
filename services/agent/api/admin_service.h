// AgentAdmin: what admins ask of this agent directly. Admin identities only.
#pragma once

#include "bailiwick/agent/v1/admin.grpc.pb.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {

class AdminService final : public agent::v1::AgentAdmin::Service {
 public:
  AdminService(Agent* agent, std::shared_ptr<const rpc::Gate> gate, const os::Clock* clock)
      : agent_(agent), gate_(std::move(gate)), clock_(clock) {}
  grpc::Status Commit(grpc::ServerContext* context, const agent::v1::CommitRequest* request,
                      grpc::ServerWriter<agent::v1::CommitEvent>* writer) override;
  grpc::Status PreviewCommit(grpc::ServerContext* context, const agent::v1::CommitRequest* request,
                             grpc::ServerWriter<agent::v1::CommitPreviewEvent>* writer) override;
  grpc::Status Diff(grpc::ServerContext* context, const agent::v1::DiffRequest* request,
                    grpc::ServerWriter<agent::v1::DiffEntry>* writer) override;
  grpc::Status Checkout(grpc::ServerContext* context, const agent::v1::CheckoutRequest* request,
                        grpc::ServerWriter<agent::v1::WorkEvent>* writer) override;
  grpc::Status PreviewCheckout(grpc::ServerContext* context, const agent::v1::CheckoutRequest* request,
                               agent::v1::CheckoutPreview* response) override;
  grpc::Status FindContent(grpc::ServerContext* context, const agent::v1::FindContentRequest* request,
                           grpc::ServerWriter<agent::v1::FoundContent>* writer) override;
  grpc::Status Verify(grpc::ServerContext* context, const agent::v1::VerifyRequest* request,
                      grpc::ServerWriter<agent::v1::WorkEvent>* writer) override;

  grpc::Status ReadAudit(grpc::ServerContext* context, const agent::v1::ReadAuditRequest* request,
                         grpc::ServerWriter<agent::v1::AuditChunk>* writer) override;

 private:
  absl::StatusOr<rpc::Peer> Authorize(const grpc::ServerContext& context, const char* method) const;
  Agent* const agent_;
  const std::shared_ptr<const rpc::Gate> gate_;
  const os::Clock* const clock_;
};

}  // namespace bailiwick::agent
