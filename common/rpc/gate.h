// Who may talk to this process: the checks of a handshake and, at every RPC and every window of a flow, those that gRPC
// does not do or does only once: expiry, exactly one identity, our trust domain, the deny list. One a process; whoever
// is refused is told to `refused`, with code and sentence, before the refusal is said. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/identity/spiffe.h"
#include "common/identity/verify.h"
#include "common/rpc/access.h"

namespace bailiwick::rpc {

// The peer's identity as the handshake proved it: exactly one SPIFFE id.
struct Peer {
  identity::SpiffeId id;
  std::string uri;
  std::string certificate_sha256;
  absl::Time not_before, not_after;  // of that certificate
};

// An identity that was revoked: its certificates that begin no later than this do not count. The infinite future: none.
struct Denied {
  std::string spiffe_id;
  absl::Time at;
};

class Gate {
 public:
  struct Options {
    std::string trust_domain;         // empty: any
    std::function<absl::Time()> now;  // empty: the system's
    std::function<void(const std::string& who, const absl::Status& why)> refused;  // may block; may be empty
  };
  explicit Gate(Options options) : options_(std::move(options)) {}

  void SetDenied(const std::vector<Denied>& denied);
  absl::Time Now() const;

  // Of a handshake: refusals are recorded here, gRPC only breaks the connection.
  absl::StatusOr<identity::CertificateInfo> CheckChain(const std::string& chain_pem, const std::string& roots_pem,
                                                       identity::Use use, identity::Early early) const;
  // Who asks, if it may ask anything at all now. UNAUTHENTICATED, PERMISSION_DENIED.
  absl::StatusOr<Peer> Admit(const grpc::AuthContext& context) const;
  absl::StatusOr<Peer> Admit(const grpc::ServerContextBase& context) const;
  // The same, and may ask this: see access.h.
  absl::StatusOr<Peer> Authorize(const grpc::ServerContextBase& context, std::string_view rpc) const;
  void SetPeople(const People& people);
  // What may change while a connection lasts. Expiry is asked with `until` where the peer proved a newer certificate.
  absl::Status Check(const Peer& peer, absl::Time until) const;
  absl::Status Check(const Peer& peer) const { return Check(peer, peer.not_after); }
  // The refusal as it is, recorded. For what is decided elsewhere: a role, a region.
  absl::Status Refused(const std::string& who, const absl::Status& why) const;

 private:
  const Options options_;
  mutable absl::Mutex mutex_;
  std::map<std::string, absl::Time> denied_ ABSL_GUARDED_BY(mutex_);
  People people_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::rpc
