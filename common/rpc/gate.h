// Who may talk to this process: the checks of a handshake and, at every RPC and every window of a flow, those that gRPC
// does not do or does only once: expiry, exactly one identity, our trust domain, the deny list. One a process; whoever
// is refused is told to `refused`, with code and sentence, before the refusal is said. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <optional>
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

// What stands behind the name of who was refused. kClaimed: nothing, whoever knocks can make up another each time.
enum class Named { kProven, kClaimed };

class Gate {
 public:
  struct Options {
    std::string trust_domain;         // empty: any
    std::function<absl::Time()> now;  // empty: the system's
    // May block; may be empty. `named`: see Named.
    std::function<void(const std::string& who, const absl::Status& why, Named named)> refused;
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
  // The same, and may ask this: see access.h, and Heard.
  absl::StatusOr<Peer> Authorize(const grpc::ServerContextBase& context, std::string_view rpc) const;
  absl::Status CheckMayAsk(const Peer& peer, std::string_view rpc) const;
  void SetPeople(const People& people);
  // Of who does not know by itself who was revoked, and is told: called now and then, with the time since boot and
  // whether it would be told now. Unheard for longer than a grant lives, it refuses people, whose certificates live for
  // weeks. Never called: it knows by itself.
  void Heard(absl::Duration boot, bool connected);
  static constexpr absl::Duration kMaxUnheard = absl::Minutes(10);  // policy::kMaxGrantLife
  // What may change while a connection lasts. Expiry is asked with `until` where the peer proved a newer certificate.
  absl::Status Check(const Peer& peer, absl::Time until) const;
  absl::Status Check(const Peer& peer) const { return Check(peer, peer.not_after); }
  // The refusal as it is, recorded. For what is decided elsewhere: a role, a region.
  absl::Status Refused(const std::string& who, const absl::Status& why, Named named = Named::kProven) const;

 private:
  const Options options_;
  mutable absl::Mutex mutex_;
  std::map<std::string, absl::Time> denied_ ABSL_GUARDED_BY(mutex_);
  People people_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Duration> heard_ ABSL_GUARDED_BY(mutex_);  // boot time
  absl::Duration unheard_ ABSL_GUARDED_BY(mutex_);               // as of the last call of Heard
};

}  // namespace bailiwick::rpc
