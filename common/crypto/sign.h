// Ed25519 (RFC 8032) keys and DSSE envelopes (payload type inside what is signed). Immutable objects, thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"

namespace bailiwick::crypto {

inline constexpr size_t kPublicKeySize = 32;
inline constexpr size_t kSignatureSize = 64;

class SigningKey {
 public:
  static absl::StatusOr<SigningKey> Generate();
  static absl::StatusOr<SigningKey> FromPem(std::string_view pem);    // PKCS#8
  static absl::StatusOr<SigningKey> FromSeed(std::string_view seed);  // the 32 secret bytes of RFC 8032
  std::string ToPem() const;                                          // secret: write it 0600
  const std::string& public_key() const { return public_key_; }       // raw, 32 bytes
  std::string Sign(std::string_view message) const;                   // 64 bytes

 private:
  std::shared_ptr<void> key_;
  std::string public_key_;
};

// False on any malformed key or signature.
bool VerifySignature(std::string_view public_key, std::string_view message, std::string_view signature);

// SHA-256 of the raw public key, 32 bytes.
std::string KeyId(std::string_view public_key);

struct Signature {
  std::string key_id;
  std::string signature;
};

struct Envelope {
  std::string payload_type;
  std::string payload;
  std::vector<Signature> signatures;
};

// "DSSEv1" SP len(type) SP type SP len(payload) SP payload
std::string PreAuthEncoding(std::string_view payload_type, std::string_view payload);

Envelope SignEnvelope(std::string_view payload_type, std::string_view payload, const SigningKey& key);
void AddSignature(Envelope& envelope, const SigningKey& key);

// OK if the type is the one expected and at least `threshold` different keys of `public_keys` signed. Otherwise
// PERMISSION_DENIED with the reason. threshold 0 is refused.
absl::Status VerifyEnvelope(const Envelope& envelope, std::string_view payload_type,
                            const std::vector<std::string>& public_keys, size_t threshold = 1);

// Those of `public_keys` that validly signed, each once, in their order; empty when the type is another.
std::vector<std::string> ValidSigners(const Envelope& envelope, std::string_view payload_type,
                                      const std::vector<std::string>& public_keys);

inline constexpr std::string_view kVersionType = "application/vnd.bailiwick.version.v1";
inline constexpr std::string_view kBundleType = "application/vnd.bailiwick.policy-bundle.v1";
inline constexpr std::string_view kClassificationType = "application/vnd.bailiwick.classification.v1";
inline constexpr std::string_view kGrantType = "application/vnd.bailiwick.grant.v1";
// By the source itself, while the coordinator is out of reach.
inline constexpr std::string_view kSelfGrantType = "application/vnd.bailiwick.self-grant.v1";
inline constexpr std::string_view kRootType = "application/vnd.bailiwick.policy-root.v1";
inline constexpr std::string_view kTimestampType = "application/vnd.bailiwick.policy-timestamp.v1";
inline constexpr std::string_view kBindingType = "application/vnd.bailiwick.certificate-binding.v1";
inline constexpr std::string_view kReceiptType = "application/vnd.bailiwick.erasure-receipt.v1";
inline constexpr std::string_view kCopyType = "application/vnd.bailiwick.copy-statement.v1";
inline constexpr std::string_view kRedactionType = "application/vnd.bailiwick.redaction-order.v1";

inline constexpr std::string_view kStorageType = "application/vnd.bailiwick.storage-statement.v1";
inline constexpr std::string_view kHopType = "application/vnd.bailiwick.hop.v1";

}  // namespace bailiwick::crypto
