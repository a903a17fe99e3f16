// What a coordinator's data directory holds besides the catalog: the CA, its own certificate, the grant key. Made once
// by init.
//   format, lock, catalog.db, audit/, ca/ (Authority), tls/live (OwnCertificate), grant.pem, timestamp.pem,
//   trust-domain
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/crypto/sign.h"
#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "common/os/files.h"

namespace bailiwick::coordinator {

struct Keys {
  std::string trust_domain;
  std::unique_ptr<crypto::SigningKey> grant_key;
  std::unique_ptr<crypto::SigningKey> timestamp_key;  // made when an older version left none
  std::string ca_directory;   // of Authority
  std::string tls_directory;  // of OwnCertificate
};

// What InitKeys would refuse, before it writes anything.
absl::Status CheckInit(os::Files* files, const std::string& directory, const std::string& trust_domain,
                       const std::string& admin_directory, const std::string& admin_name);
// FAILED_PRECONDITION: there is a coordinator already, or somebody's key in `admin_directory`. Writes an admin's
// credentials to `admin_directory`.
absl::Status InitKeys(os::Files* files, const os::Clock* clock, const std::string& directory,
                      const std::string& trust_domain, const std::string& admin_directory,
                      const std::string& admin_name);
// Whether init was completed here before. FAILED_PRECONDITION: for another trust domain, or by a newer version.
absl::StatusOr<bool> HoldsCoordinator(os::Files* files, const std::string& directory, const std::string& trust_domain);
// Whoever can read the directory has an admin: credentials that are not in `admin_directory`, or whose half life is
// over, are made anew by the CA. FAILED_PRECONDITION: others are there, or that is due, and a process serves from
// `directory`.
absl::Status KeepAdmin(os::Files* files, const os::Clock* clock, const std::string& directory,
                       const std::string& admin_directory, const std::string& admin_name);
// NOT_FOUND: init was never run. FAILED_PRECONDITION: written by a newer version.
absl::Status CheckFormat(os::Files* files, const std::string& directory);
// What a coordinator has served from has a catalog. DATA_LOSS: it is gone, or nothing is in it; to begin a new one in
// its place would forget every site, law and dataset.
absl::Status CheckCatalog(os::Files* files, const std::string& directory);
inline constexpr char kCatalogRemedy[] =
    "bring the whole data directory back from a backup; without one, start over with bailiwick-coordinator init in an "
    "empty directory, and let every site join anew";
// With the directory's lock held. NOT_FOUND: init was never run. FAILED_PRECONDITION: written by a newer version.
absl::StatusOr<Keys> LoadKeys(os::Files* files, const std::string& directory);

}  // namespace bailiwick::coordinator
