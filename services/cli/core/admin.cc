#include "services/cli/core/admin.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bailiwick/enroll/v1/enroll.pb.h"
#include "common/base/status.h"
#include "common/identity/spiffe.h"
#include "common/os/clock.h"
#include "common/os/deadline.h"
#include "common/rpc/codec.h"
#include "common/rpc/credentials.h"
#include "common/rpc/invitation.h"

namespace bailiwick::cli {

absl::StatusOr<std::unique_ptr<Admin>> Admin::Connect(const Context& context) {
  auto credentials = rpc::MutualChannelCredentials({context.credentials},
                                                   absl::StrCat("spiffe://", context.trust_domain, "/coordinator"));
  if (!credentials.ok()) return Annotate(credentials.status(), "the context's credentials cannot be used");
  BW_ASSIGN_OR_RETURN(auto proxy, rpc::Proxy::Parse(os::Files::System(), context.way_out));
  auto channel = rpc::Dial(context.coordinator, *credentials, proxy);
  if (!channel.ok()) return Annotate(channel.status(), "the context's coordinator");
  std::unique_ptr<Admin> admin = Over(context, *channel);
  admin->proxy_ = std::move(proxy);
  return admin;
}

std::unique_ptr<Admin> Admin::Over(const Context& context, const std::shared_ptr<grpc::Channel>& channel) {
  auto admin = std::make_unique<Admin>();
  admin->context_ = context;
  admin->control_ = control::v1::Control::NewStub(channel);
  return admin;
}

absl::StatusOr<std::unique_ptr<agent::v1::AgentAdmin::Stub>> Admin::Agent(const std::string& admin_endpoint,
                                                                          const std::string& spiffe_id) {
  BW_ASSIGN_OR_RETURN(auto credentials, rpc::MutualChannelCredentials({context_.credentials}, spiffe_id));
  auto channel = rpc::Dial(admin_endpoint, credentials, proxy_);
  if (!channel.ok()) return Annotate(channel.status(), absl::StrCat("the address of ", spiffe_id));
  return agent::v1::AgentAdmin::NewStub(*channel);
}

std::unique_ptr<grpc::ClientContext> Admin::Call(absl::Duration timeout) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(os::DeadlineIn(timeout));
  return context;
}

absl::Status Admin::Error(const grpc::Status& status, const std::string& who) {
  absl::Status error = rpc::FromGrpc(status);
  if (!absl::IsUnavailable(error) && !absl::IsDeadlineExceeded(error)) return error;
  const std::string text(error.message());
  if (absl::IsDeadlineExceeded(error) && text == "Deadline Exceeded") {
    return absl::DeadlineExceededError(absl::StrCat(who, " did not answer in time; is its machine up and reachable?"));
  }
  // gRPC's own words; an answer of the other side begins with none of them.
  bool transport = false;
  for (const char* mark :
       {"failed to connect to all addresses", "DNS resolution failed", "Socket closed", "Connection reset",
        "Broken pipe", "Endpoint read failed", "GOAWAY", "keepalive", "Cancelling all calls", "Ping timeout",
        "Connection timed out", "Failed to create secure channel", "Stream removed", "recvmsg:", "sendmsg:"}) {
    transport |= absl::StartsWithIgnoreCase(text, mark);
  }
  if (!transport) return error;
  const size_t cause = text.rfind(": ");
  const std::string detail = cause == std::string::npos ? text : text.substr(cause + 2);
  if (absl::StrContains(text, "HTTP proxy returned response code")) {
    return absl::UnavailableError(absl::StrCat("cannot reach ", who, ": the HTTP proxy on the way refuses it (", detail,
                                               "); see to its rules and credentials, or name another way (noProxy)"));
  }
  // Who refuses a certificate says so; what ends here without a word took the connection and went no further.
  if (absl::StrContains(text, "Handshake read failed")) {
    return absl::UnavailableError(
        absl::StrCat(who, " did not answer in time (", detail, "): it hangs, or its machine does; see to it there"));
  }
  const bool foreign = absl::StrContains(text, "andshake") || absl::StrContains(text, "ertificate") ||
                       absl::StrContains(text, "the peer is");
  return absl::UnavailableError(
      absl::StrCat("cannot reach ", who, " (", detail, "); ",
                   foreign ? "its certificate and this context's do not belong together"
                           : "start it, or correct its address if it listens elsewhere; if it runs there, "
                             "compare the clocks: bailiwick doctor"));
}

absl::Status Admin::Check(const grpc::Status& status) const {
  return Error(status, absl::StrCat("the coordinator at ", context_.coordinator));
}

absl::StatusOr<control::v1::DryRunResponse> Admin::Try(const control::v1::DryRunRequest& request) {
  control::v1::DryRunResponse response;
  absl::Status tried = Check(control_->DryRun(Call().get(), request, &response));
  if (absl::IsUnimplemented(tried)) {
    return absl::FailedPreconditionError("the coordinator's build is too old to try without doing; upgrade it first");
  }
  BW_RETURN_IF_ERROR(tried);
  return response;
}

absl::StatusOr<Admin::Policy> Admin::ReadPolicy(uint64_t revision) {
  Policy policy;
  control::v1::GetPolicyRequest request;
  request.set_revision(revision);
  for (bool more = true; more;) {
    control::v1::GetPolicyResponse response;
    BW_RETURN_IF_ERROR(Check(control_->GetPolicy(Call().get(), request, &response)));
    more = response.more() && response.classifications_size() != 0;
    for (const auto& c : response.classifications()) policy.records.push_back(rpc::FromProto(c));
    request.set_skip(static_cast<uint32_t>(policy.records.size()));
    if (!response.has_bundle()) return policy;
    policy.envelope = rpc::FromProto(response.bundle());
    policy.roots.clear();
    for (const auto& root : response.roots()) policy.roots.push_back(rpc::FromProto(root));
  }
  config::RootChain chain = policy.roots;
  if (revision != 0 && !chain.empty()) {
    // Signed by the root of its time: one of those that the chain leads over.
    BW_RETURN_IF_ERROR(config::WalkRoots(chain, chain[0].payload.empty() ? "" : config::RootHash(chain[0])).status());
    BW_RETURN_IF_ERROR(config::WalkRoots(chain, context_.policy_root_sha256).status());
    resource::v1::PolicyBundle message;
    message.ParseFromString(policy.envelope.payload);
    while (chain.size() > 1 && chain.back().payload != message.root()) chain.pop_back();
    BW_ASSIGN_OR_RETURN(policy.bundle, config::OpenBundle(policy.envelope, config::RootHash(chain.back())));
  } else {
    BW_ASSIGN_OR_RETURN(policy.bundle, config::OpenBundle(policy.envelope, context_.policy_root_sha256, chain));
  }
  if (revision != 0 && policy.bundle.world.revision != revision) {
    return absl::DataLossError(
        absl::StrCat("the coordinator gave revision ", policy.bundle.world.revision, " for ", revision));
  }
  return policy;
}

absl::Status Admin::MovePin(const Policy& policy) {
  BW_ASSIGN_OR_RETURN(std::string newest, config::WalkRoots(policy.roots, context_.policy_root_sha256));
  if (newest == context_.policy_root_sha256) return absl::OkStatus();
  context_.policy_root_sha256 = newest;
  return SaveContext(context_);
}

absl::StatusOr<config::Bundle> Admin::ReadBundle() {
  BW_ASSIGN_OR_RETURN(Policy policy, ReadPolicy());
  return std::move(policy.bundle);
}

absl::StatusOr<std::vector<config::Classification>> Admin::ReadClassifications(const policy::World& world) {
  BW_ASSIGN_OR_RETURN(Policy policy, ReadPolicy());
  std::vector<config::Classification> all;
  for (const auto& envelope : policy.records) {
    auto c = config::OpenClassification(envelope, world);
    if (c.ok()) all.push_back(*std::move(c));
  }
  return all;
}

absl::StatusOr<std::string> MakeJoinString(Admin& admin, const std::string& site, absl::Duration ttl) {
  control::v1::CreateJoinTokenRequest request;
  request.set_site(site);
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
  control::v1::CreateJoinTokenResponse token;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().CreateJoinToken(Admin::Call().get(), request, &token)));
  control::v1::GetInfoResponse info;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().GetInfo(Admin::Call().get(), {}, &info)));
  enroll::v1::JoinString join;
  join.set_join_address(info.join_address());
  join.set_ca_sha256(info.ca_sha256());
  join.set_policy_root_sha256(admin.context().policy_root_sha256);
  join.set_token(token.token());
  join.set_site(site);
  return rpc::EncodeJoinString(join);
}

absl::StatusOr<std::vector<Approval>> FindApprovals(Admin& admin, const std::vector<std::string>& names) {
  control::v1::ListSitesResponse sites;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListSites(Admin::Call().get(), {}, &sites)));
  std::vector<Approval> approvals;
  std::vector<std::string> missing = names;
  for (const auto& site : sites.sites()) {
    auto wanted = std::find(missing.begin(), missing.end(), site.name());
    const bool named = wanted != missing.end();
    if (named) missing.erase(wanted);
    if (!names.empty() && !named) continue;
    if (site.agent().empty()) {
      if (!named) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("no agent of site ", site.name(), " has joined; run: bailiwick site join-token ", site.name()));
    }
    const bool newcomer = !site.newcomer_ed25519().empty();
    if (newcomer ? !named : site.approved()) continue;  // whom another would replace is approved by name alone
    BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(site.agent()));
    Approval approval;
    approval.pin.set_site(site.name());
    approval.pin.set_agent(id.name);
    approval.pin.set_ed25519(newcomer ? site.newcomer_ed25519() : site.enrolment_ed25519());
    if (newcomer) approval.replaces = site.enrolment_ed25519();
    approval.connected = site.connected();
    approvals.push_back(std::move(approval));
  }
  if (!missing.empty())
    return absl::NotFoundError(absl::StrCat("site ", missing[0], " does not exist; see: bailiwick get sites"));
  return approvals;
}

absl::StatusOr<ChangeReport> Approve(Admin& admin, const std::vector<Approval>& approvals, Extent extent) {
  CatalogChange change;
  for (const Approval& approval : approvals) change.pin.push_back(approval.pin);
  return ApplyChange(admin, change, extent);
}

}  // namespace bailiwick::cli
