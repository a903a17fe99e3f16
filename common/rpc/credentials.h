// mTLS for gRPC: what a server demands of a client and a client of a server. Files are watched, so a renewed
// certificate is used for new connections without a restart (field: swap a directory link, never single files).
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/identity/spiffe.h"
#include "common/rpc/gate.h"
#include "common/rpc/proxy.h"

namespace bailiwick::rpc {

inline constexpr int kMaxMessageBytes = 4 << 20;  // of control messages; those of transfers are larger

// A directory with cert.pem (leaf first), key.pem (0600), ca.pem.
struct CredentialFiles {
  std::string directory;
};

// Certificates are verified by the gate's time against the roots of ca.pem as they are at each handshake, not by gRPC:
// its own check goes by the system clock, and says nobody why it refused. Without a gate: by the system clock.
using SharedGate = std::shared_ptr<const Gate>;
// Server that demands a client certificate of our CA before the first RPC. Handlers ask the gate who it is.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MutualServerCredentials(const CredentialFiles& files,
                                                                                 const SharedGate& gate = nullptr);
// Server without client certificates, for the join port only. Its cert.pem must hold the leaf and then the CA
// certificate: who joins knows the CA only by its hash and finds it in what the server sends.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> JoinServerCredentials(const CredentialFiles& files);
// Client that presents its certificate and accepts only a server of our CA whose one URI SAN is `expected`.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MutualChannelCredentials(
    const CredentialFiles& files, const std::string& expected_spiffe_id, const SharedGate& gate = nullptr);
// Whom a client without a certificate trusts to be its coordinator: whoever a CA with this SHA-256 leads to (a join string
// pins it), or one of these roots. The domain may be empty: any.
struct JoinTrust {
  std::string ca_sha256;  // or:
  std::string roots_pem;
  std::string trust_domain;
  absl::Time now;  // a certificate of the coordinator from the future is believed: see identity::Early
};
// Connected: waits for the handshake, at most 20 s. UNAVAILABLE: cannot connect. PERMISSION_DENIED: another CA, an
// expired certificate, not a coordinator. INVALID_ARGUMENT: not HOST:PORT.
absl::StatusOr<std::shared_ptr<grpc::Channel>> JoinChannel(const std::string& address, const JoinTrust& trust,
                                                           const Proxy& proxy);
absl::StatusOr<std::shared_ptr<grpc::Channel>> JoinChannel(const std::string& address, const std::string& ca_sha256,
                                                           const std::string& expected_trust_domain_or_empty,
                                                           const Proxy& proxy);

// gRPC's own words go to our log at debug level: what matters of them comes back as a status. Call once, before any
// channel.
void RouteGrpcLog();

// Who can open a connection that lasts: only who shows a certificate of ours, or everybody (the ports for joining and
// for health checks).
enum class Door { kMutual, kOpen };
// What a server grants its clients: sizes, rates, times, memory; the numbers, with their reasons, are in the .cc file.
// Both ends must use these: pings, for one, are asked for and answered by the same rule.
void ApplyServerLimits(grpc::ServerBuilder& builder, Door door = Door::kMutual);
// Not connected yet. Through the proxy where it covers the host; a variable of the environment (https_proxy) says nothing
// here. INVALID_ARGUMENT: the address is not HOST:PORT; peers say these, and gRPC would take sockets and lists for addresses.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const std::string& address,
                                                    const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                                    const Proxy& proxy, int max_message_bytes = kMaxMessageBytes);

// The peer's identity as the handshake proved it. UNAUTHENTICATED: not exactly one SPIFFE id. With `now` also: the
// certificate is not valid at that time.
absl::StatusOr<Peer> PeerOf(const grpc::AuthContext& context);
absl::StatusOr<Peer> PeerOf(const grpc::AuthContext& context, absl::Time now);
absl::StatusOr<Peer> PeerOf(const grpc::ServerContextBase& context, absl::Time now);
// UNAUTHENTICATED before the certificate begins and after `until`.
absl::Status CheckTimes(const Peer& peer, absl::Time now, absl::Time until);

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace bailiwick::rpc
