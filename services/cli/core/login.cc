// A person's way to credentials: by a login string, once.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "bailiwick/enroll/v1/enroll.grpc.pb.h"
#include "common/base/status.h"
#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/rpc/credential_store.h"
#include "common/rpc/credentials.h"
#include "common/rpc/invitation.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {
std::string LoginString(const Context& context, const control::v1::GetInfoResponse& info, const std::string& person,
                        const std::string& token) {
  enroll::v1::LoginString login;
  login.set_join_address(info.join_address());
  login.set_ca_sha256(info.ca_sha256());
  login.set_policy_root_sha256(context.policy_root_sha256);
  login.set_token(token);
  login.set_person(person);
  return rpc::EncodeLoginString(login);
}

absl::StatusOr<std::string> MakeLoginString(Admin& admin, const std::string& person, absl::Duration ttl,
                                            control::v1::Proposal* proposal) {
  control::v1::CreateLoginTokenRequest request;
  request.set_person(person);
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
  control::v1::CreateLoginTokenResponse token;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().CreateLoginToken(Admin::Call().get(), request, &token)));
  if (token.has_proposal()) {
    *proposal = token.proposal();
    return std::string();
  }
  control::v1::GetInfoResponse info;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().GetInfo(Admin::Call().get(), {}, &info)));
  return LoginString(admin.context(), info, person, token.token());
}

namespace {

constexpr absl::Duration kMostEarly = absl::Seconds(3);  // clocks may differ

// A login string and the context that is to come of it.
struct Invited {
  enroll::v1::LoginString login;
  Context context;
  rpc::Proxy proxy;
  bool replaces = false;
};

absl::StatusOr<Invited> Accept(const std::string& text, const std::string& directory, bool replace,
                               const rpc::Proxy::Settings& way_out) {
  BW_ASSIGN_OR_RETURN(enroll::v1::LoginString login, rpc::ParseLoginString(text));
  os::Files* files = os::Files::System();
  Context context;
  context.directory = directory;
  BW_ASSIGN_OR_RETURN(const bool exists, files->Exists(os::JoinPath(directory, "context.yaml")));
  if (exists && !replace) {
    return absl::AlreadyExistsError(
        absl::StrCat(directory, " holds a context already; choose another with --to, or say --replace"));
  }
  if (exists) {
    BW_ASSIGN_OR_RETURN(context, LoadContext(directory));
  }
  if (!way_out.proxy.empty() || !way_out.credentials.empty() || !way_out.exempt.empty()) context.way_out = way_out;
  BW_ASSIGN_OR_RETURN(rpc::Proxy proxy, rpc::Proxy::Parse(files, context.way_out));
  return Invited{std::move(login), std::move(context), std::move(proxy), exists};
}

}  // namespace

absl::StatusOr<std::vector<std::string>> TryLogin(const std::string& text, const std::string& directory, bool replace,
                                                  const rpc::Proxy::Settings& way_out) {
  BW_ASSIGN_OR_RETURN(const Invited invited, Accept(text, directory, replace, way_out));
  const enroll::v1::LoginString& login = invited.login;
  BW_RETURN_IF_ERROR(rpc::JoinChannel(login.join_address(), login.ca_sha256(), "", invited.proxy).status());
  return std::vector<std::string>{
      absl::StrCat("the string is spent at ", login.join_address(),
                   ", where the coordinator that it pins answers; whether it counts, the spending says"),
      absl::StrCat("credentials of ", login.person(), invited.replaces ? " replace those in " : " are in ", directory)};
}

absl::StatusOr<std::string> Login(const std::string& text, const std::string& directory, bool replace,
                                  const std::vector<std::string>& policy_keys, const rpc::Proxy::Settings& way_out) {
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(Invited invited, Accept(text, directory, replace, way_out));
  const enroll::v1::LoginString& login = invited.login;
  Context& context = invited.context;
  const absl::Time now = os::Clock::System()->Now();
  BW_ASSIGN_OR_RETURN(identity::KeyPair key, identity::NewTlsKey());
  BW_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                      rpc::JoinChannel(login.join_address(), login.ca_sha256(), "", invited.proxy));
  enroll::v1::LoginRequest request;
  request.set_token(login.token());
  request.set_csr_der(key.csr_der);
  enroll::v1::JoinResponse response;
  grpc::Status called = enroll::v1::Enroll::NewStub(channel)->Login(Admin::Call().get(), request, &response);
  if (!called.ok()) return Annotate(rpc::FromGrpc(called), absl::StrCat("logging in at ", login.join_address()));
  BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(response.spiffe_id()));
  rpc::CredentialStore store(files, os::JoinPath(directory, "identity"));
  BW_RETURN_IF_ERROR(files->MakeDirs(directory));
  BW_RETURN_IF_ERROR(store.Install({key.private_key_pem, response.certificate_chain_pem(), response.ca_pem()},
                                   response.spiffe_id(), now));
  context.coordinator = response.control_address();
  context.trust_domain = id.trust_domain;
  context.credentials = store.live();
  context.policy_root_sha256 = login.policy_root_sha256();
  if (!policy_keys.empty()) context.policy_keys = policy_keys;
  BW_RETURN_IF_ERROR(SaveContext(context));
  // Of somebody who was revoked a moment ago it begins behind that: what is handed out works.
  BW_ASSIGN_OR_RETURN(const identity::CertificateInfo info,
                      identity::InspectCertificate(response.certificate_chain_pem()));
  const absl::Duration early = info.not_before - os::Clock::System()->Now();
  if (early > absl::ZeroDuration()) os::Clock::System()->SleepFor(std::min(early, kMostEarly));
  return id.name;
}

}  // namespace bailiwick::cli
