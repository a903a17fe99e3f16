// The coordinator's own certificate, as a directory of credentials that servers watch: issued by the CA here, a new key
// each time, at half its life and whenever what is trusted changed; or taken from files that somebody else renews. The
// join port always shows one of the CA here, which is what join strings pin. Not thread-safe but for the directories.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/rpc/credential_store.h"
#include "services/coordinator/ca/authority.h"

namespace bailiwick::coordinator {

class OwnCertificate {
 public:
  // `external`: a directory as rpc::ReadExternal takes it; empty: issued here. `trust_domain` decides the name.
  // `record` is told of each certificate before it is shown; it may be empty.
  OwnCertificate(os::Files* files, const os::Clock* clock, Authority* authority, const std::string& directory,
                 const std::string& trust_domain, const std::string& external, RecordIdentity record);
  // Brings it up to date. What cannot be used changes nothing: the error says why.
  absl::Status Tick();
  std::string directory() const { return store_.live(); }
  std::string join_directory() const { return external_.empty() ? store_.live() : join_store_.live(); }
  // PEM: what the CA here signs, and what the external files trust besides.
  std::string Roots() const;

 private:
  absl::Status Issue(rpc::CredentialStore& store);
  absl::Status TakeExternal();
  absl::Status Record(const std::string& kind, const std::string& chain_pem);

  os::Files* const files_;
  const os::Clock* const clock_;
  Authority* const authority_;
  const identity::SpiffeId id_;
  const std::string external_;
  const RecordIdentity record_;
  rpc::CredentialStore store_, join_store_;
  std::optional<rpc::Credentials> issued_;  // recorded, and not installed yet
  std::string recorded_;                    // chain of others that was recorded last
  mutable absl::Mutex mutex_;
  std::string external_roots_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bailiwick::coordinator
