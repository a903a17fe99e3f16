#include "common/rpc/credentials.h"

#include <grpc/support/log.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <cstdlib>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "common/os/deadline.h"
#include "common/os/files.h"
#include "common/rpc/handshake_watch.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

namespace tls = grpc::experimental;

constexpr unsigned kWatchSeconds = 1;
constexpr int kMaxStreams = 1024;  // a connection; one that asks for more is ended
constexpr size_t kServerMemoryBytes = 256u << 20;
constexpr int kMaxMetadataBytes = 16 << 10;  // a certificate chain travels in messages, never in headers
// From the first byte to the end of the handshake. A tenth of it is a bad link; who takes all of it wants to keep a
// descriptor of ours.
constexpr int kHandshakeMillis = 15'000;
// Where everybody may come in, everybody gets little: a join is one small message on a connection of some seconds.
constexpr int kOpenMaxStreams = 8;
constexpr size_t kOpenMemoryBytes = 32u << 20;
constexpr int kOpenMaxThreads = 32;
constexpr int kOpenMaxMessageBytes = 64 << 10;
constexpr int kOpenIdleMillis = 20'000;
constexpr int kOpenAgeMillis = 60'000;
constexpr int kOpenAgeGraceMillis = 10'000;
constexpr int kPingMillis = 20'000;
constexpr int kPingTimeoutMillis = 20'000;
constexpr int kMinPingIntervalMillis = 10'000;
constexpr int kMaxConnectionAgeMillis = 5 * 60'000;
constexpr uint64_t kMaxPem = 1 << 20;
constexpr absl::Duration kJoinConnectTimeout = absl::Seconds(20);

std::shared_ptr<tls::CertificateProviderInterface> Watch(const CredentialFiles& files) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(os::JoinPath(files.directory, "key.pem"),
                                                               os::JoinPath(files.directory, "cert.pem"),
                                                               os::JoinPath(files.directory, "ca.pem"), kWatchSeconds);
}

// TLS 1.3 and nothing below. gRPC 1.51 has no setting for the lowest version, but one for the ciphers of the versions
// below 1.3: the only one that is left needs a shared key that nobody has, so that no such handshake finds a cipher.
// For the whole process, both ends; read by gRPC with the first credentials.
void RequireTls13() {
  static const int once = ::setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1);
  (void)once;
}

// gRPC would only say "handshake failed" later: say now what is wrong with the files.
absl::Status CheckFiles(const CredentialFiles& files) {
  os::Files* system = os::Files::System();
  BW_ASSIGN_OR_RETURN(std::string key, os::ReadFile(system, os::JoinPath(files.directory, "key.pem"), 1 << 20));
  BW_ASSIGN_OR_RETURN(std::string certificate,
                      os::ReadFile(system, os::JoinPath(files.directory, "cert.pem"), 1 << 20));
  BW_RETURN_IF_ERROR(os::ReadFile(system, os::JoinPath(files.directory, "ca.pem"), 1 << 20).status());
  return Annotate(identity::CheckPair(certificate, key), files.directory);
}

std::string Text(grpc::string_ref ref) { return std::string(ref.data(), ref.size()); }

// The leaf first, then what came with it: a server gets the chain of its client without the leaf.
std::string ChainOf(tls::TlsCustomVerificationCheckRequest* request) {
  return Text(request->peer_cert()) + Text(request->peer_cert_full_chain());
}

grpc::Status Refusing(const absl::Status& why) {
  return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(why.message()));
}

// Verifies a chain as the gate does; a client besides that the server has exactly the one name expected.
class HandshakeVerifier : public tls::ExternalCertificateVerifier {
 public:
  HandshakeVerifier(SharedGate gate, std::string directory, std::optional<std::string> expected)
      : gate_(std::move(gate)), directory_(std::move(directory)), expected_(std::move(expected)) {}
  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    absl::Status checked = Check(request);
    *sync_status = checked.ok() ? grpc::Status::OK : Refusing(checked);
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  absl::Status Check(tls::TlsCustomVerificationCheckRequest* request) const {
    BW_ASSIGN_OR_RETURN(std::string roots, os::ReadFile(os::Files::System(), os::JoinPath(directory_, "ca.pem"), kMaxPem));
    if (!expected_.has_value()) {
      return gate_->CheckChain(ChainOf(request), roots, identity::Use::kClient, identity::Early::kRefuse).status();
    }
    const bool coordinator = absl::EndsWith(*expected_, "/coordinator");
    BW_RETURN_IF_ERROR(gate_
                           ->CheckChain(ChainOf(request), roots, identity::Use::kServer,
                                        coordinator ? identity::Early::kForgive : identity::Early::kRefuse)
                           .status());
    std::vector<grpc::string_ref> names = request->uri_names();
    if (names.size() == 1 && Text(names[0]) == *expected_) return absl::OkStatus();
    const std::string got = names.size() == 1 ? Text(names[0]) : absl::StrCat(names.size(), " URI names");
    return gate_->Refused(got, identity::Refuse("WRONG_PEER", absl::StrCat("the peer is ", got, ", not ", *expected_)));
  }

  const SharedGate gate_;
  const std::string directory_;
  const std::optional<std::string> expected_;  // nothing: a server, which takes any name here
};

SharedGate OrSystem(const SharedGate& gate) {
  return gate != nullptr ? gate : std::make_shared<Gate>(Gate::Options{.trust_domain = "", .now = {}, .refused = {}});
}

// The chain must lead to what is trusted, and the leaf must be a coordinator.
absl::Status VerifyCoordinator(const std::string& chain_pem, const JoinTrust& trust) {
  std::string roots = trust.roots_pem;
  if (!trust.ca_sha256.empty()) {
    roots = identity::FindPinned(chain_pem, trust.ca_sha256);
    if (roots.empty()) return absl::PermissionDeniedError("the server's CA is not the one that the join string pins");
  }
  auto info =
      identity::VerifyChain(chain_pem, roots, identity::Use::kServer, trust.now, identity::Early::kForgive);
  if (!info.ok()) {
    return absl::PermissionDeniedError(
        absl::StrCat("the server is not trusted here: ", std::string(info.status().message())));
  }
  auto id = identity::ParseSpiffeId(info->uri);
  if (!id.ok() || id->kind != identity::Kind::kCoordinator) {
    return absl::PermissionDeniedError(absl::StrCat("the server is \"", info->uri, "\", not a coordinator"));
  }
  if (!trust.trust_domain.empty() && id->trust_domain != trust.trust_domain) {
    return absl::PermissionDeniedError("the server is a coordinator of another trust domain");
  }
  return absl::OkStatus();
}

// Why a verifier refused. gRPC itself only says UNAVAILABLE, as of a peer that is down.
class Refusal {
 public:
  void Set(const absl::Status& why) {
    absl::MutexLock lock(&mutex_);
    why_ = why;
  }
  absl::Status Get() const {
    absl::MutexLock lock(&mutex_);
    return why_;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
};

class ExpectCoordinator : public tls::ExternalCertificateVerifier {
 public:
  ExpectCoordinator(JoinTrust trust, std::shared_ptr<Refusal> refusal)
      : trust_(std::move(trust)), refusal_(std::move(refusal)) {}
  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    absl::Status status = VerifyCoordinator(ChainOf(request), trust_);
    if (!status.ok()) telemetry::Log(telemetry::Level::kWarning, "peer-identity-refused", {{"reason", status}});
    refusal_->Set(status);
    *sync_status = status.ok() ? grpc::Status::OK : Refusing(status);
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  const JoinTrust trust_;
  const std::shared_ptr<Refusal> refusal_;
};

// Names of gRPC's own that its headers do not tell.
constexpr char kConnectServer[] = "grpc.http_connect_server";
constexpr char kConnectHeaders[] = "grpc.http_connect_headers";

grpc::ChannelArguments ClientArguments(int max_message_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_message_bytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMillis);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMillis);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // identities differ: connections are never shared
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);          // gRPC's own, which goes by the environment
  return arguments;
}

// As gRPC writes its targets: nothing in it can be taken for another kind of address. Brackets are escaped as in any URI.
std::string Target(const HostPort& address) {
  return absl::StrCat("dns:///", absl::StrReplaceAll(JoinHostPort(address.host, address.port),
                                                     {{"%", "%25"}, {"[", "%5B"}, {"]", "%5D"}}));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MutualServerCredentials(const CredentialFiles& files,
                                                                                 const SharedGate& gate) {
  RequireTls13();
  BW_RETURN_IF_ERROR(CheckFiles(files));
  tls::TlsServerCredentialsOptions options(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  // Verified all the same, by the verifier.
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_BUT_DONT_VERIFY);
  options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<HandshakeVerifier>(OrSystem(gate), files.directory, std::nullopt));
  return tls::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> JoinServerCredentials(const CredentialFiles& files) {
  RequireTls13();
  BW_RETURN_IF_ERROR(CheckFiles(files));
  tls::TlsServerCredentialsOptions options(Watch(files));
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return tls::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MutualChannelCredentials(
    const CredentialFiles& files, const std::string& expected_spiffe_id, const SharedGate& gate) {
  RequireTls13();
  BW_RETURN_IF_ERROR(CheckFiles(files));
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(false);  // by gRPC
  options.set_check_call_host(false);
  options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<HandshakeVerifier>(
      OrSystem(gate), files.directory, std::optional<std::string>(expected_spiffe_id)));
  return tls::TlsCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> JoinChannel(const std::string& address, const std::string& ca_sha256,
                                                           const std::string& expected_trust_domain_or_empty,
                                                           const Proxy& proxy) {
  if (ca_sha256.size() != 32) return absl::InvalidArgumentError("the pinned CA hash must have 32 bytes");
  return JoinChannel(address, JoinTrust{.ca_sha256 = ca_sha256,
                                        .roots_pem = "",
                                        .trust_domain = expected_trust_domain_or_empty,
                                        .now = os::Clock::System()->Now()},
                     proxy);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> JoinChannel(const std::string& address, const JoinTrust& trust,
                                                           const Proxy& proxy) {
  RequireTls13();
  auto refusal = std::make_shared<Refusal>();
  // The chain is verified by our own verifier against the pin: there is no root to know beforehand. gRPC wants one all
  // the same and would look for the system's, which a bare edge box does not have: it gets one that nobody holds the
  // key of.
  const absl::Time now = os::Clock::System()->Now();
  BW_ASSIGN_OR_RETURN(identity::CertificateAuthority unused, identity::NewAuthority("unused", now, absl::Hours(1)));
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(std::make_shared<tls::StaticDataCertificateProvider>(unused.certificate_pem));
  options.watch_root_certs();
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<ExpectCoordinator>(trust, refusal));
  BW_ASSIGN_OR_RETURN(auto channel, Dial(address, tls::TlsCredentials(options), proxy));
  // Connected here, so that a refusal is told as what it is and not as a coordinator that is down.
  const auto deadline = os::DeadlineIn(kJoinConnectTimeout);
  grpc_connectivity_state state = channel->GetState(true);
  while (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_CONNECTING) {
    if (!channel->WaitForStateChange(state, deadline)) break;
    state = channel->GetState(true);
  }
  if (state == GRPC_CHANNEL_READY) return channel;
  if (absl::Status why = refusal->Get(); !why.ok()) return why;
  BW_ASSIGN_OR_RETURN(const HostPort wanted, ParseHostPort(address));
  const std::string through =
      proxy.Covers(wanted.host) ? absl::StrCat(" through the proxy ", proxy.address()) : std::string();
  return absl::UnavailableError(absl::StrCat("cannot connect to the join service at ", address, through,
                                             "; is the coordinator running, and its join port reachable from here?"));
}

void RouteGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* args) {
    HandshakeWatch::Saw(args->message);
    telemetry::Log(telemetry::Level::kDebug, "grpc", {{"message", args->message}});
  });
}

namespace {

// Shared by the servers of one kind, so that what strangers take is not missing where peers come in.
const grpc::ResourceQuota& QuotaOf(Door door) {
  static const auto* mutual = [] {
    auto* quota = new grpc::ResourceQuota("bailiwick");
    quota->Resize(kServerMemoryBytes);
    return quota;
  }();
  static const auto* open = [] {
    auto* quota = new grpc::ResourceQuota("bailiwick-open");
    quota->Resize(kOpenMemoryBytes).SetMaxThreads(kOpenMaxThreads);
    return quota;
  }();
  return door == Door::kMutual ? *mutual : *open;
}

}  // namespace

void ApplyServerLimits(grpc::ServerBuilder& builder, Door door) {
  const bool open = door == Door::kOpen;
  builder.SetResourceQuota(QuotaOf(door));
  builder.SetMaxReceiveMessageSize(open ? kOpenMaxMessageBytes : kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, open ? kOpenMaxStreams : kMaxStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMillis);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMillis);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMillis);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMillis);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // gRPC looks at a certificate once a connection: no connection outlives one by much. Streams that run go on.
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, open ? kOpenAgeMillis : kMaxConnectionAgeMillis);
  if (!open) return;
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kOpenAgeGraceMillis);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kOpenIdleMillis);
  // Nor is more than one message read ahead, however fast it comes.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kOpenMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kOpenMaxMessageBytes);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const std::string& address,
                                                    const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                                    const Proxy& proxy, int max_message_bytes) {
  BW_ASSIGN_OR_RETURN(const HostPort wanted, ParseHostPort(address));
  grpc::ChannelArguments arguments = ClientArguments(max_message_bytes);
  if (!proxy.Covers(wanted.host)) return grpc::CreateCustomChannel(Target(wanted), credentials, arguments);
  // The proxy is dialled, and finds the name of the other end itself.
  arguments.SetString(kConnectServer, JoinHostPort(wanted.host, wanted.port));
  if (!proxy.authorization().empty()) arguments.SetString(kConnectHeaders, proxy.authorization());
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, JoinHostPort(wanted.host, wanted.port));
  BW_ASSIGN_OR_RETURN(const HostPort way, ParseHostPort(proxy.address()));
  return grpc::CreateCustomChannel(Target(way), credentials, arguments);
}

absl::StatusOr<Peer> PeerOf(const grpc::AuthContext& context) {
  if (!context.IsPeerAuthenticated()) return identity::Refuse("NO_CERTIFICATE", "the peer presented no certificate");
  // gRPC leaves this empty when a certificate has several URI names: that is a refusal, not a default.
  std::vector<grpc::string_ref> ids = context.FindPropertyValues("peer_spiffe_id");
  if (ids.size() != 1) {
    return identity::Refuse("NOT_ONE_IDENTITY", "the peer's certificate does not carry exactly one SPIFFE id");
  }
  std::vector<grpc::string_ref> pems = context.FindPropertyValues("x509_pem_cert");
  if (pems.size() != 1) return identity::Refuse("UNREADABLE", "the peer's certificate cannot be read");
  Peer peer;
  peer.uri = Text(ids[0]);
  auto id = identity::ParseSpiffeId(peer.uri);
  if (!id.ok()) return identity::Refuse("MALFORMED_IDENTITY", std::string(id.status().message()));
  peer.id = *id;
  auto info = identity::InspectCertificate(Text(pems[0]));
  if (!info.ok() || info->uri != peer.uri) {
    return identity::Refuse("UNREADABLE", "the peer's certificate cannot be read");
  }
  peer.certificate_sha256 = info->sha256;
  peer.not_before = info->not_before;
  peer.not_after = info->not_after;
  return peer;
}

absl::Status CheckTimes(const Peer& peer, absl::Time now, absl::Time until) {
  if (now > until) {
    return identity::Refuse("EXPIRED", absl::StrCat("the certificate of ", peer.uri, " expired at ",
                                                    absl::FormatTime(until, absl::UTCTimeZone())));
  }
  if (now < peer.not_before) {
    return identity::Refuse("NOT_YET_VALID", absl::StrCat("the certificate of ", peer.uri, " is not valid yet"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Peer> PeerOf(const grpc::AuthContext& context, absl::Time now) {
  BW_ASSIGN_OR_RETURN(Peer peer, PeerOf(context));
  BW_RETURN_IF_ERROR(CheckTimes(peer, now, peer.not_after));
  return peer;
}

absl::StatusOr<Peer> PeerOf(const grpc::ServerContextBase& context, absl::Time now) {
  auto auth = context.auth_context();
  if (auth == nullptr) return absl::UnauthenticatedError("the peer presented no certificate");
  return PeerOf(*auth, now);
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace bailiwick::rpc
