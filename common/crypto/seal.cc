#include "common/crypto/seal.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::crypto {
namespace {

// Fetched once: a look-up by name at each use costs more than sealing a small chunk.
const EVP_CIPHER* Aes256Gcm() {
  static const EVP_CIPHER* cipher = [] {
    const EVP_CIPHER* fetched = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
    if (fetched == nullptr) std::abort();  // no provider of AES-GCM: nothing can be kept secret
    return fetched;
  }();
  return cipher;
}

struct CipherContext {
  CipherContext() : ctx(EVP_CIPHER_CTX_new()) {
    if (ctx == nullptr) std::abort();
  }
  ~CipherContext() { EVP_CIPHER_CTX_free(ctx); }
  CipherContext(const CipherContext&) = delete;
  CipherContext& operator=(const CipherContext&) = delete;
  EVP_CIPHER_CTX* ctx;
};

EVP_CIPHER_CTX* ThreadContext() {
  thread_local CipherContext context;
  return context.ctx;
}

void Check(int ok) {
  if (ok != 1) std::abort();  // sealing memory cannot fail
}

const unsigned char* Bytes(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }

}  // namespace

SecretKey::~SecretKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

absl::StatusOr<SecretKey> SecretKey::From(std::string_view bytes) {
  if (bytes.size() != kSecretKeySize) return absl::InvalidArgumentError("a secret key has 32 bytes");
  SecretKey key;
  std::memcpy(key.bytes_.data(), bytes.data(), bytes.size());
  return key;
}

Nonce CounterNonce(uint64_t counter) {
  Nonce nonce{};
  for (size_t i = 0; i < sizeof counter; ++i) {
    nonce[kNonceSize - 1 - i] = static_cast<uint8_t>(counter >> (8 * i));
  }
  return nonce;
}

std::string HkdfSha256(std::string_view secret, std::string_view salt, std::string_view info, size_t size) {
  static EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  EVP_KDF_CTX* ctx = kdf == nullptr ? nullptr : EVP_KDF_CTX_new(kdf);
  if (ctx == nullptr) std::abort();
  char digest[] = "SHA256";
  auto octets = [](const char* name, std::string_view value) {
    return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(value.data()), value.size());
  };
  // An absent salt and a salt of 32 zero bytes are the same (RFC 5869); OpenSSL refuses one of no length.
  static const std::string no_salt(32, '\0');
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0), octets(OSSL_KDF_PARAM_KEY, secret),
      octets(OSSL_KDF_PARAM_SALT, salt.empty() ? std::string_view(no_salt) : salt),
      octets(OSSL_KDF_PARAM_INFO, info.data() == nullptr ? std::string_view("") : info), OSSL_PARAM_construct_end()};
  std::string out(size, '\0');
  Check(EVP_KDF_derive(ctx, reinterpret_cast<unsigned char*>(out.data()), out.size(), params));
  EVP_KDF_CTX_free(ctx);
  return out;
}

SecretKey DeriveKey(std::string_view secret, std::string_view salt, std::string_view info) {
  std::string bytes = HkdfSha256(secret, salt, info, kSecretKeySize);
  SecretKey key;
  std::memcpy(key.bytes_.data(), bytes.data(), bytes.size());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return key;
}

void Seal(const SecretKey& key, const Nonce& nonce, std::string_view associated, std::string_view plain,
          std::string* out) {
  EVP_CIPHER_CTX* ctx = ThreadContext();
  const size_t before = out->size();
  out->resize(before + plain.size() + kTagSize);
  unsigned char* sealed = reinterpret_cast<unsigned char*>(out->data()) + before;
  int n = 0;
  Check(EVP_EncryptInit_ex2(ctx, Aes256Gcm(), Bytes(key.view()), nonce.data(), nullptr));
  Check(EVP_EncryptUpdate(ctx, nullptr, &n, Bytes(associated), static_cast<int>(associated.size())));
  if (!plain.empty()) Check(EVP_EncryptUpdate(ctx, sealed, &n, Bytes(plain), static_cast<int>(plain.size())));
  Check(EVP_EncryptFinal_ex(ctx, sealed + plain.size(), &n));
  Check(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, kTagSize, sealed + plain.size()));
}

absl::StatusOr<std::string> Open(const SecretKey& key, const Nonce& nonce, std::string_view associated,
                                 std::string_view sealed) {
  if (sealed.size() < kTagSize) return absl::DataLossError("sealed bytes are cut short");
  EVP_CIPHER_CTX* ctx = ThreadContext();
  std::string plain(sealed.size() - kTagSize, '\0');
  unsigned char tag[kTagSize];
  std::memcpy(tag, sealed.data() + plain.size(), kTagSize);
  int n = 0;
  Check(EVP_DecryptInit_ex2(ctx, Aes256Gcm(), Bytes(key.view()), nonce.data(), nullptr));
  Check(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, kTagSize, tag));
  Check(EVP_DecryptUpdate(ctx, nullptr, &n, Bytes(associated), static_cast<int>(associated.size())));
  auto* out = reinterpret_cast<unsigned char*>(plain.data());
  if (!plain.empty()) Check(EVP_DecryptUpdate(ctx, out, &n, Bytes(sealed), static_cast<int>(plain.size())));
  if (EVP_DecryptFinal_ex(ctx, out + plain.size(), &n) != 1) {
    return absl::DataLossError("sealed bytes were changed, or are under another key");
  }
  return plain;
}

std::string WrapKey(const SecretKey& wrapping, const Nonce& nonce, std::string_view associated, const SecretKey& key) {
  std::string out(reinterpret_cast<const char*>(nonce.data()), nonce.size());
  Seal(wrapping, nonce, associated, key.view(), &out);
  return out;
}

absl::StatusOr<SecretKey> UnwrapKey(const SecretKey& wrapping, std::string_view associated, std::string_view wrapped) {
  if (wrapped.size() != kWrappedKeySize) return absl::DataLossError("a wrapped key has another length");
  Nonce nonce;
  std::copy_n(wrapped.begin(), kNonceSize, nonce.begin());
  BW_ASSIGN_OR_RETURN(std::string plain, Open(wrapping, nonce, associated, wrapped.substr(kNonceSize)));
  absl::StatusOr<SecretKey> key = SecretKey::From(plain);
  OPENSSL_cleanse(plain.data(), plain.size());
  return key;
}

Digest Blind(const SecretKey& key, const Digest& digest) {
  std::array<char, kSecretKeySize + 1 + Digest::kSize> bytes;
  std::copy_n(key.view().begin(), kSecretKeySize, bytes.begin());
  bytes[kSecretKeySize] = static_cast<char>(digest.algorithm);
  std::copy_n(digest.view().begin(), Digest::kSize, bytes.begin() + kSecretKeySize + 1);
  const Digest blind = Sha256({bytes.data(), bytes.size()});
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return blind;
}

}  // namespace bailiwick::crypto
