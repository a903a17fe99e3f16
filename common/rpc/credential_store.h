// Credentials in a directory, replaced as a whole: gen-N/{key,cert,ca}.pem and `live`, a link to the generation in use.
// Whoever reads through the link sees the old ones or the new ones, never a mixture. What does not verify (key and
// certificate a pair, a chain to the roots beside it, valid, the expected name) is refused and changes nothing. Durable
// on OK. A few generations before stay, for connections that were opened with them. One writer at a time; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/identity/certificates.h"
#include "common/os/files.h"

namespace bailiwick::rpc {

struct Credentials {
  std::string key_pem;  // secret
  std::string chain_pem;
  std::string roots_pem;
};
// INVALID_ARGUMENT, UNAUTHENTICATED: why they would not work at this moment under this name (empty: any one name).
absl::Status CheckCredentials(const Credentials& credentials, const std::string& uri, absl::Time now);
// What an audit record tells of a certificate, as JSON: which one, and until when. INVALID_ARGUMENT: there is none.
absl::StatusOr<std::string> CertificateDetail(const std::string& chain_pem);

class CredentialStore {
 public:
  CredentialStore(os::Files* files, std::string directory) : files_(files), directory_(std::move(directory)) {}

  std::string live() const;                  // the directory to read credentials from
  absl::StatusOr<Credentials> Load() const;  // those in use; NOT_FOUND: none yet
  absl::Status Install(const Credentials& credentials, const std::string& uri, absl::Time now);
  // In two steps, for who has something to make durable between them.
  absl::StatusOr<std::string> Stage(const Credentials& credentials, const std::string& uri, absl::Time now);
  absl::Status Swap(const std::string& staged);
  static constexpr size_t kKept = 4;
  // Chains of the generation in use and of those kept before it, each once, newest first.
  std::vector<std::string> Chains() const;

 private:
  absl::StatusOr<std::vector<uint64_t>> Generations() const;  // ascending

  os::Files* const files_;
  const std::string directory_;
  absl::Mutex mutex_;
};

// Credentials that somebody else renews (cert-manager, SPIRE), from a directory with one of the sets of names that they
// use: tls.crt, tls.key, ca.crt; svid.pem, svid_key.pem, svid_bundle.pem or bundle.pem; cert.pem, key.pem, ca.pem.
// NOT_FOUND names the directory. A set that is being replaced may be read half: check it, and read again later.
absl::StatusOr<Credentials> ReadExternal(os::Files* files, const std::string& directory);

}  // namespace bailiwick::rpc
