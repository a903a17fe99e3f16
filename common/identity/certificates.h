// X.509 for mTLS (with common/crypto and common/rpc the only folders that include OpenSSL): ECDSA P-256 keys, a small
// CA, certificates with exactly one URI SAN. Thread-safe functions; nothing here reads a clock or a file.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/identity/spiffe.h"

namespace bailiwick::identity {

inline constexpr absl::Duration kAgentCertificateLife = absl::Hours(24);  // at most
// Certificates begin so much before they are made, for skewed clocks; those that live shorter, by their life.
inline constexpr absl::Duration kBackdate = absl::Minutes(5);

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

// INVALID_ARGUMENT: not a request, not signed by its own key, or the key is not P-256.
absl::Status CheckRequest(std::string_view csr_der);

// A leaf for the CSR's key with `id` as its only SAN (names asked for in the CSR are ignored), client and server use.
// It begins kBackdate ago, but not before `earliest`. INVALID_ARGUMENT: bad CSR signature, a key that is not P-256, or an
// id that would not be read back as itself.
absl::StatusOr<std::string> IssueCertificate(const CertificateAuthority& ca, std::string_view csr_der,
                                             const SpiffeId& id, absl::Time now, absl::Duration life,
                                             absl::Time earliest = absl::InfinitePast());
// The certificate of `next`, signed by `ca` and valid as long as that: whoever trusts `ca` alone is led to `next` by it.
absl::StatusOr<std::string> LinkAuthority(const CertificateAuthority& ca, const CertificateAuthority& next);

struct CertificateInfo {
  std::string uri;  // empty unless there is exactly one URI SAN
  absl::Time not_before;
  absl::Time not_after;
  std::string sha256;  // of the DER, 32 bytes
  // When to have a new one: half its life, earlier or later by up to a twentieth of it, which differs by certificate so
  // that a fleet that was switched on together does not renew together.
  absl::Time renew_at() const;
};
// Of the first certificate of a chain, trusted or not. INVALID_ARGUMENT.
absl::StatusOr<CertificateInfo> InspectCertificate(std::string_view pem);
absl::Status CheckPair(std::string_view certificate_pem, std::string_view private_key_pem);  // INVALID_ARGUMENT
std::string CertificateSha256(std::string_view pem);  // of the first certificate's DER; empty when unreadable

}  // namespace bailiwick::identity
