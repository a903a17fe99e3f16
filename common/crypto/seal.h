// Secrecy at rest: AES-256-GCM (NIST SP 800-38D), HKDF-SHA256 (RFC 5869) and the wrapping of keys, through OpenSSL.
// Thread-safe functions. A nonce must never be used twice under one key: whoever calls says why it is not.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/base/digest.h"

namespace bailiwick::crypto {

inline constexpr size_t kSecretKeySize = 32;
inline constexpr size_t kNonceSize = 12;
inline constexpr size_t kTagSize = 16;
inline constexpr size_t kWrappedKeySize = kNonceSize + kSecretKeySize + kTagSize;

using Nonce = std::array<uint8_t, kNonceSize>;
// The nonce that counts: four zero bytes, then the counter, big-endian.
Nonce CounterNonce(uint64_t counter);

// 32 secret bytes, wiped from memory when they go.
class SecretKey {
 public:
  SecretKey() = default;
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();
  static absl::StatusOr<SecretKey> From(std::string_view bytes);  // INVALID_ARGUMENT unless 32 bytes
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

 private:
  friend SecretKey DeriveKey(std::string_view secret, std::string_view salt, std::string_view info);
  std::array<uint8_t, kSecretKeySize> bytes_{};
};

// HKDF-SHA256, extract and expand; at most 255 * 32 bytes.
std::string HkdfSha256(std::string_view secret, std::string_view salt, std::string_view info, size_t size);
SecretKey DeriveKey(std::string_view secret, std::string_view salt, std::string_view info);

// Appends the sealed bytes and the 16 byte tag to `out`.
void Seal(const SecretKey& key, const Nonce& nonce, std::string_view associated, std::string_view plain,
          std::string* out);
// DATA_LOSS: not what was sealed under this key, nonce and associated data; nothing of it is given out.
absl::StatusOr<std::string> Open(const SecretKey& key, const Nonce& nonce, std::string_view associated,
                                 std::string_view sealed);

// A key under a wrapping key: nonce, sealed key, tag. `nonce` is random: far fewer than 2^32 keys are wrapped under
// one.
std::string WrapKey(const SecretKey& wrapping, const Nonce& nonce, std::string_view associated, const SecretKey& key);
absl::StatusOr<SecretKey> UnwrapKey(const SecretKey& wrapping, std::string_view associated, std::string_view wrapped);

// A name for `digest` that only holders of the key can make or recognize: SHA-256 of both, each of fixed length.
Digest Blind(const SecretKey& key, const Digest& digest);

}  // namespace bailiwick::crypto
