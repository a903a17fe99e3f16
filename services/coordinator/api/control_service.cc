#include "services/coordinator/api/control_service.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/rpc/audit.h"
#include "common/rpc/credentials.h"

namespace bailiwick::coordinator {
namespace {

constexpr absl::Duration kFollowEvery = absl::Milliseconds(200);

// Runs `body` for an admin and turns what it returns into the response.
template <typename Response, typename Body>
grpc::Status Serve(const absl::StatusOr<rpc::Peer>& peer, Response* response, Body body) {
  if (!peer.ok()) return rpc::ToGrpc(peer.status());
  absl::StatusOr<Response> result = body(*peer, peer->uri);
  if (!result.ok()) return rpc::ToGrpc(result.status());
  *response = *std::move(result);
  return grpc::Status::OK;
}

// The call that would do it; of no act one that everybody may make, for an answer that says so.
const char* MethodOf(const control::v1::DryRunRequest& request) {
  switch (request.act_case()) {
    case control::v1::DryRunRequest::kApply:
      return "Apply";
    case control::v1::DryRunRequest::kRejectPending:
      return "RejectPending";
    case control::v1::DryRunRequest::kCreateJoinToken:
      return "CreateJoinToken";
    case control::v1::DryRunRequest::kRevoke:
      return "Revoke";
    case control::v1::DryRunRequest::kAllowRecoveries:
      return "AllowRecoveries";
    case control::v1::DryRunRequest::kCreateLoginToken:
      return "CreateLoginToken";
    case control::v1::DryRunRequest::kApprove:
      return "Approve";
    case control::v1::DryRunRequest::kWithdraw:
      return "Withdraw";
    case control::v1::DryRunRequest::kRotateAuthority:
      return "RotateAuthority";
    case control::v1::DryRunRequest::kPin:
      return "Pin";
    case control::v1::DryRunRequest::kHold:
      return "Hold";
    case control::v1::DryRunRequest::kRelease:
      return "Release";
    case control::v1::DryRunRequest::kRedact:
      return "Redact";
    case control::v1::DryRunRequest::ACT_NOT_SET:
      break;
  }
  return "DryRun";
}

}  // namespace

absl::StatusOr<rpc::Peer> ControlService::Admin(const grpc::ServerContext& context, const char* method) const {
  return gate_->Authorize(context, absl::StrCat("bailiwick.control.v1.Control/", method));
}

#define BW_SERVE(name, expression)                                                                           \
  grpc::Status ControlService::name(grpc::ServerContext* context, const control::v1::name##Request* request, \
                                    control::v1::name##Response* response) {                                 \
    return Serve(                                                                                            \
        Admin(*context, #name), response,                                                                    \
        [&]([[maybe_unused]] const rpc::Peer& peer,                                                          \
            [[maybe_unused]] const std::string& who) -> absl::StatusOr<control::v1::name##Response> {        \
          (void)request;                                                                                     \
          return expression;                                                                                 \
        });                                                                                                  \
  }
BW_SERVE(GetInfo, core_->Info())
BW_SERVE(Apply, core_->Apply(who, *request))
BW_SERVE(ListResources, core_->Resources(*request))
BW_SERVE(GetPolicy, core_->Policy(*request))
BW_SERVE(ListPolicies, core_->Policies(*request))
BW_SERVE(GetPending, core_->GetPending())
BW_SERVE(RejectPending, core_->RejectPending(who, *request))
BW_SERVE(CreateJoinToken, core_->CreateJoinToken(who, *request))
BW_SERVE(ListSites, core_->Sites())
BW_SERVE(ListAgents, core_->Agents())
BW_SERVE(Revoke, core_->Revoke(who, *request))
BW_SERVE(AllowRecoveries, core_->AllowRecoveries(who, *request))
BW_SERVE(RotateAuthority, core_->RotateAuthority(who))
BW_SERVE(ListAuthorities, core_->Authorities())
BW_SERVE(CreateLoginToken, core_->CreateLoginToken(who, *request))
BW_SERVE(WhoAmI, core_->WhoAmI(peer))
BW_SERVE(ListProposals, core_->Proposals())
BW_SERVE(Approve, core_->Approve(who, *request))
BW_SERVE(Withdraw, core_->Withdraw(who, *request))
BW_SERVE(ListDatasets, core_->Datasets())
BW_SERVE(ListVersions, core_->Versions(*request))
BW_SERVE(ListReplicas, core_->Replicas(request->dataset(), request->site()))
BW_SERVE(ListTransfers, core_->Transfers(request->transfer_id()))
BW_SERVE(Why, core_->Why(request->dataset(), request->site()))
BW_SERVE(Pin, core_->Pin(who, *request))
BW_SERVE(Hold, core_->Hold(who, *request))
BW_SERVE(ListHolds, core_->Holds(request->dataset()))
BW_SERVE(Release, core_->Release(who, *request))
BW_SERVE(ListEvictions, core_->Evictions(*request))
BW_SERVE(Redact, core_->Redact(who, *request))
BW_SERVE(ListRedactions, core_->Redactions(*request))
BW_SERVE(ListAuditLogs, audit_desk_->Logs())
#undef BW_SERVE

grpc::Status ControlService::DryRun(grpc::ServerContext* context, const control::v1::DryRunRequest* request,
                                    control::v1::DryRunResponse* response) {
  auto peer = Admin(*context, "DryRun");
  if (peer.ok()) peer = Admin(*context, MethodOf(*request));
  return Serve(peer, response, [&](const rpc::Peer&, const std::string& who) { return core_->DryRun(who, *request); });
}

grpc::Status ControlService::ReadAudit(grpc::ServerContext* context, const agent::v1::ReadAuditRequest* request,
                                       grpc::ServerWriter<agent::v1::AuditChunk>* writer) {
  auto peer = Admin(*context, "ReadAudit");
  if (!peer.ok()) return rpc::ToGrpc(peer.status());
  return rpc::ToGrpc(rpc::ServeAudit(*audit_, *request, peer->uri,
                                     [&](const agent::v1::AuditChunk& chunk) { return writer->Write(chunk); }));
}

grpc::Status ControlService::Events(grpc::ServerContext* context, const control::v1::EventsRequest* request,
                                    grpc::ServerWriter<control::v1::Event>* writer) {
  auto who = Admin(*context, "Events");
  if (!who.ok()) return rpc::ToGrpc(who.status());
  control::v1::EventsRequest next = *request;
  while (true) {
    auto events = core_->Events(next);
    if (!events.ok()) return rpc::ToGrpc(events.status());
    for (const auto& event : *events) {
      if (!writer->Write(event)) return grpc::Status::OK;
      next.set_after(event.sequence());
      next.set_limit(0);
    }
    if (context->IsCancelled() || *stopping_) return grpc::Status::OK;
    if (!request->follow() && (events->empty() || request->limit() != 0)) return grpc::Status::OK;
    if (events->empty()) clock_->SleepFor(kFollowEvery);
  }
}

}  // namespace bailiwick::coordinator
