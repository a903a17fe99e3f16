// Whether a certificate leads to a root that is trusted, at a time that the caller knows better than the system clock
// may: the one check behind every handshake. Refusals are UNAUTHENTICATED and carry a code beside their sentence, for
// logs and the audit log. Pure functions, thread-safe; no clock, no files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/identity/certificates.h"

namespace bailiwick::identity {

// Refusal codes: NO_CERTIFICATE, UNREADABLE, UNKNOWN_CA, EXPIRED, NOT_YET_VALID, BAD_CERTIFICATE, NOT_ONE_IDENTITY,
// MALFORMED_IDENTITY, FOREIGN_DOMAIN, WRONG_KIND, WRONG_PEER, WRONG_REGION, UNKNOWN_SITE, REVOKED, NOT_ALLOWED,
// TOKEN_UNKNOWN, TOKEN_USED, TOKEN_EXPIRED.
absl::Status Refuse(std::string_view code, std::string_view sentence);  // UNAUTHENTICATED
absl::Status Forbid(std::string_view code, std::string_view sentence);  // PERMISSION_DENIED
std::string RefusalCode(const absl::Status& status);                    // empty: not one of these

enum class Use { kServer, kClient, kEither };
enum class Early {
  kRefuse,
  // A certificate from the future is taken as proof that the clock is behind: nobody but the CA can make one.
  kForgive,
};

inline constexpr int kMaxChainCertificates = 16;
inline constexpr int kMaxRoots = 16;

// The first certificate of `chain_pem`, of which the rest may be intermediates (a new root signed by an old one among
// them), must lead to one of `roots_pem` and be valid at `now` for this use. More than kMaxChainCertificates or
// kMaxRoots are not looked at.
absl::StatusOr<CertificateInfo> VerifyChain(std::string_view chain_pem, std::string_view roots_pem, Use use,
                                            absl::Time now, Early early = Early::kRefuse);

// The certificates in a PEM text, each in PEM again, at most `limit`. INVALID_ARGUMENT: none, or one is not for signing
// others while `authorities` asks for that.
absl::StatusOr<std::vector<std::string>> SplitPem(std::string_view pem, int limit, bool authorities);

// Those of the chain whose DER has this SHA-256, in PEM: the root that somebody pinned. Empty: it is not there.
std::string FindPinned(std::string_view chain_pem, std::string_view sha256);

}  // namespace bailiwick::identity
