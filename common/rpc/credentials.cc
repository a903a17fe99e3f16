#include "common/rpc/credentials.h"

#include <grpc/support/log.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status.h"
#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

namespace tls = grpc::experimental;

constexpr unsigned kWatchSeconds = 1;
constexpr int kMaxStreams = 1024;
constexpr size_t kServerMemoryBytes = 256u << 20;
constexpr int kPingMillis = 20'000;
constexpr int kPingTimeoutMillis = 20'000;
constexpr int kMinPingIntervalMillis = 10'000;
constexpr int kMaxChainCertificates = 8;  // what we send has two
constexpr absl::Duration kJoinConnectTimeout = absl::Seconds(20);

std::shared_ptr<tls::CertificateProviderInterface> Watch(const CredentialFiles& files) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(os::JoinPath(files.directory, "key.pem"),
                                                               os::JoinPath(files.directory, "cert.pem"),
                                                               os::JoinPath(files.directory, "ca.pem"), kWatchSeconds);
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

// Accepts exactly one URI name, the one expected.
class ExpectIdentity : public tls::ExternalCertificateVerifier {
 public:
  explicit ExpectIdentity(std::string expected) : expected_(std::move(expected)) {}
  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    std::vector<grpc::string_ref> names = request->uri_names();
    if (names.size() == 1 && Text(names[0]) == expected_) {
      *sync_status = grpc::Status::OK;
    } else {
      const std::string got = names.size() == 1 ? Text(names[0]) : absl::StrCat(names.size(), " URI names");
      telemetry::Log(telemetry::Level::kWarning, "peer-identity-refused", {{"expected", expected_}, {"got", got}});
      *sync_status =
          grpc::Status(grpc::StatusCode::UNAUTHENTICATED, absl::StrCat("the peer is ", got, ", not ", expected_));
    }
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  const std::string expected_;
};

struct OpenSslFree {
  void operator()(X509* p) const { X509_free(p); }
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(X509_STORE* p) const { X509_STORE_free(p); }
  void operator()(X509_STORE_CTX* p) const { X509_STORE_CTX_free(p); }
  void operator()(STACK_OF(X509) * p) const { sk_X509_pop_free(p, X509_free); }
};

// The chain must hold a CA certificate with the pinned hash, and the leaf must be signed by it, valid now, and be a
// coordinator.
absl::Status VerifyPinnedChain(const std::string& chain_pem, const std::string& ca_sha256) {
  std::unique_ptr<BIO, OpenSslFree> bio(BIO_new_mem_buf(chain_pem.data(), static_cast<int>(chain_pem.size())));
  std::unique_ptr<X509, OpenSslFree> leaf(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (leaf == nullptr) return absl::PermissionDeniedError("the server presented no certificate");
  std::unique_ptr<X509_STORE, OpenSslFree> roots(X509_STORE_new());
  bool pinned = false;
  for (int i = 1; i < kMaxChainCertificates; ++i) {
    std::unique_ptr<X509, OpenSslFree> next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (next == nullptr) break;
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(next.get(), EVP_sha256(), hash, &n) == 1 &&
        ca_sha256 == std::string_view(reinterpret_cast<char*>(hash), n)) {
      X509_STORE_add_cert(roots.get(), next.get());
      pinned = true;
    }
  }
  ERR_clear_error();
  if (!pinned) return absl::PermissionDeniedError("the server's CA is not the one that the join string pins");
  std::unique_ptr<X509_STORE_CTX, OpenSslFree> context(X509_STORE_CTX_new());
  if (context == nullptr || X509_STORE_CTX_init(context.get(), roots.get(), leaf.get(), nullptr) != 1 ||
      X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_SERVER) != 1 || X509_verify_cert(context.get()) != 1) {
    const int code = X509_STORE_CTX_get_error(context.get());
    ERR_clear_error();
    return absl::PermissionDeniedError(absl::StrCat("the server's certificate is not valid under the pinned CA: ",
                                                    X509_verify_cert_error_string(code)));
  }
  auto info = identity::InspectCertificate(chain_pem);
  if (!info.ok()) return info.status();
  auto id = identity::ParseSpiffeId(info->uri);
  if (!id.ok() || id->kind != identity::Kind::kCoordinator) {
    return absl::PermissionDeniedError(absl::StrCat("the server is \"", info->uri, "\", not a coordinator"));
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

class ExpectPinnedCa : public tls::ExternalCertificateVerifier {
 public:
  ExpectPinnedCa(std::string ca_sha256, std::string trust_domain, std::shared_ptr<Refusal> refusal)
      : ca_sha256_(std::move(ca_sha256)), trust_domain_(std::move(trust_domain)), refusal_(std::move(refusal)) {}
  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    absl::Status status = VerifyPinnedChain(Text(request->peer_cert_full_chain()), ca_sha256_);
    if (status.ok() && !trust_domain_.empty()) {
      std::vector<grpc::string_ref> names = request->uri_names();
      if (names.size() != 1 || Text(names[0]) != absl::StrCat("spiffe://", trust_domain_, "/coordinator")) {
        status = absl::PermissionDeniedError("the server is a coordinator of another trust domain");
      }
    }
    if (!status.ok()) telemetry::Log(telemetry::Level::kWarning, "peer-identity-refused", {{"reason", status}});
    refusal_->Set(status);
    *sync_status =
        status.ok() ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(status.message()));
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  const std::string ca_sha256_;
  const std::string trust_domain_;
  const std::shared_ptr<Refusal> refusal_;
};

// Proxies of the environment are for the way out, never for this machine.
bool IsLoopback(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MutualServerCredentials(const CredentialFiles& files) {
  BW_RETURN_IF_ERROR(CheckFiles(files));
  tls::TlsServerCredentialsOptions options(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return tls::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> JoinServerCredentials(const CredentialFiles& files) {
  BW_RETURN_IF_ERROR(CheckFiles(files));
  tls::TlsServerCredentialsOptions options(Watch(files));
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return tls::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MutualChannelCredentials(
    const CredentialFiles& files, const std::string& expected_spiffe_id) {
  BW_RETURN_IF_ERROR(CheckFiles(files));
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_check_call_host(false);
  options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<ExpectIdentity>(expected_spiffe_id));
  return tls::TlsCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> JoinChannel(const std::string& address, const std::string& ca_sha256,
                                                           const std::string& expected_trust_domain_or_empty) {
  if (ca_sha256.size() != 32) return absl::InvalidArgumentError("the pinned CA hash must have 32 bytes");
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
      tls::ExternalCertificateVerifier::Create<ExpectPinnedCa>(ca_sha256, expected_trust_domain_or_empty, refusal));
  auto channel = grpc::CreateCustomChannel(address, tls::TlsCredentials(options), ClientArguments(address));
  // Connected here, so that a refusal is told as what it is and not as a coordinator that is down.
  const auto deadline = absl::ToChronoTime(os::Clock::System()->Now() + kJoinConnectTimeout);
  grpc_connectivity_state state = channel->GetState(true);
  while (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_CONNECTING) {
    if (!channel->WaitForStateChange(state, deadline)) break;
    state = channel->GetState(true);
  }
  if (state == GRPC_CHANNEL_READY) return channel;
  if (absl::Status why = refusal->Get(); !why.ok()) return why;
  return absl::UnavailableError(absl::StrCat("cannot connect to the join service at ", address,
                                             "; is the coordinator running, and its join port reachable from here?"));
}

void RouteGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* args) {
    telemetry::Log(telemetry::Level::kDebug, "grpc", {{"message", args->message}});
  });
}

void ApplyServerLimits(grpc::ServerBuilder& builder) {
  static grpc::ResourceQuota* quota = [] {
    auto* q = new grpc::ResourceQuota("bailiwick");
    q->Resize(kServerMemoryBytes);
    return q;
  }();
  builder.SetResourceQuota(*quota);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMillis);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMillis);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMillis);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

grpc::ChannelArguments ClientArguments(const std::string& address, int max_message_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_message_bytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMillis);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMillis);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // identities differ: connections are never shared
  if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

std::shared_ptr<grpc::Channel> Dial(const std::string& address,
                                    const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  return grpc::CreateCustomChannel(address, credentials, ClientArguments(address));
}

absl::StatusOr<Peer> PeerOf(const grpc::AuthContext& context, absl::Time now) {
  if (!context.IsPeerAuthenticated()) return absl::UnauthenticatedError("the peer presented no certificate");
  // gRPC leaves this empty when a certificate has several URI names: that is a refusal, not a default.
  std::vector<grpc::string_ref> ids = context.FindPropertyValues("peer_spiffe_id");
  if (ids.size() != 1) return absl::UnauthenticatedError("the peer's certificate does not carry exactly one SPIFFE id");
  std::vector<grpc::string_ref> pems = context.FindPropertyValues("x509_pem_cert");
  if (pems.size() != 1) return absl::UnauthenticatedError("the peer's certificate cannot be read");
  Peer peer;
  peer.uri = Text(ids[0]);
  auto id = identity::ParseSpiffeId(peer.uri);
  if (!id.ok()) return absl::UnauthenticatedError(id.status().message());
  peer.id = *id;
  auto info = identity::InspectCertificate(Text(pems[0]));
  if (!info.ok() || info->uri != peer.uri) return absl::UnauthenticatedError("the peer's certificate cannot be read");
  if (now > info->not_after) {
    return absl::UnauthenticatedError(absl::StrCat("the certificate of ", peer.uri, " expired at ",
                                                   absl::FormatTime(info->not_after, absl::UTCTimeZone())));
  }
  if (now < info->not_before)
    return absl::UnauthenticatedError(absl::StrCat("the certificate of ", peer.uri, " is not valid yet"));
  peer.certificate_sha256 = info->sha256;
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
