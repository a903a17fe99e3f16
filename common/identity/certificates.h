// X.509 for mTLS (with common/crypto and common/rpc the only folders that include OpenSSL): ECDSA P-256 keys, a small
// CA, certificates with exactly one URI SAN. Thread-safe functions; nothing here reads a clock or a file.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/identity/spiffe.h"

namespace bailiwick::identity {

inline constexpr absl::Duration kAgentCertificateLife = absl::Hours(24);

struct KeyPair {
  std::string private_key_pem;  // secret
  std::string csr_der;          // a request for a certificate of this key; names nothing
};
absl::StatusOr<KeyPair> NewTlsKey();

struct CertificateAuthority {
  std::string certificate_pem;
  std::string private_key_pem;
};
absl::StatusOr<CertificateAuthority> NewAuthority(std::string_view trust_domain, absl::Time now, absl::Duration life);

// A leaf for the CSR's key with `id` as its only SAN (names asked for in the CSR are ignored), client and server use.
// not_before is 5 minutes ago for skewed clocks. INVALID_ARGUMENT: bad CSR signature, a key that is not P-256, or an id
// that would not be read back as itself.
absl::StatusOr<std::string> IssueCertificate(const CertificateAuthority& ca, std::string_view csr_der,
                                             const SpiffeId& id, absl::Time now, absl::Duration life);

struct CertificateInfo {
  std::string uri;  // empty unless there is exactly one URI SAN
  absl::Time not_before;
  absl::Time not_after;
  std::string sha256;  // of the DER, 32 bytes
};
// Of the first certificate of a chain, trusted or not. INVALID_ARGUMENT.
absl::StatusOr<CertificateInfo> InspectCertificate(std::string_view pem);
absl::Status CheckPair(std::string_view certificate_pem, std::string_view private_key_pem);  // INVALID_ARGUMENT
std::string CertificateSha256(std::string_view pem);  // of the first certificate's DER; empty when unreadable

}  // namespace bailiwick::identity
