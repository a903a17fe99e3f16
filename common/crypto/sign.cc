#include "common/crypto/sign.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cstdlib>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::crypto {
namespace {

constexpr size_t kMaxPayload = 64 << 20;  // larger documents do not exist; refuse before hashing
constexpr size_t kMaxSignatures = 256;    // each costs a verification

struct PkeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct ContextDeleter {
  void operator()(EVP_MD_CTX* ctx) const { EVP_MD_CTX_free(ctx); }
};
struct BioDeleter {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using Pkey = std::unique_ptr<EVP_PKEY, PkeyDeleter>;
using Context = std::unique_ptr<EVP_MD_CTX, ContextDeleter>;
using Bio = std::unique_ptr<BIO, BioDeleter>;

const unsigned char* Bytes(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }

absl::StatusOr<std::string> RawPublicKey(EVP_PKEY* key) {
  std::string raw(kPublicKeySize, '\0');
  size_t size = raw.size();
  if (EVP_PKEY_get_raw_public_key(key, reinterpret_cast<unsigned char*>(raw.data()), &size) != 1 ||
      size != kPublicKeySize) {
    return absl::InternalError("an Ed25519 key gave no public key");
  }
  return raw;
}

EVP_PKEY* Raw(const std::shared_ptr<void>& key) { return static_cast<EVP_PKEY*>(key.get()); }

std::shared_ptr<void> Share(Pkey key) {
  return std::shared_ptr<void>(key.release(), [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); });
}

}  // namespace

absl::StatusOr<SigningKey> SigningKey::Generate() {
  Pkey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (key == nullptr) {
    ERR_clear_error();
    return absl::InternalError("OpenSSL could not make an Ed25519 key");
  }
  SigningKey out;
  BW_ASSIGN_OR_RETURN(out.public_key_, RawPublicKey(key.get()));
  out.key_ = Share(std::move(key));
  return out;
}

absl::StatusOr<SigningKey> SigningKey::FromPem(std::string_view pem) {
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // The callback refuses to ask for a passphrase: a process without a terminal must not wait for one.
  Pkey key(bio == nullptr ? nullptr
                          : PEM_read_bio_PrivateKey(
                                bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  ERR_clear_error();
  if (key == nullptr) return absl::InvalidArgumentError("not an unencrypted private key in PKCS#8 PEM");
  if (EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) {
    return absl::InvalidArgumentError("the private key is not an Ed25519 key");
  }
  SigningKey out;
  BW_ASSIGN_OR_RETURN(out.public_key_, RawPublicKey(key.get()));
  out.key_ = Share(std::move(key));
  return out;
}

absl::StatusOr<SigningKey> SigningKey::FromSeed(std::string_view seed) {
  if (seed.size() != 32) return absl::InvalidArgumentError("the seed of an Ed25519 key has 32 bytes");
  Pkey key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, Bytes(seed), seed.size()));
  if (key == nullptr) {
    ERR_clear_error();
    return absl::InternalError("OpenSSL could not make an Ed25519 key of a seed");
  }
  SigningKey out;
  BW_ASSIGN_OR_RETURN(out.public_key_, RawPublicKey(key.get()));
  out.key_ = Share(std::move(key));
  return out;
}

std::string SigningKey::ToPem() const {
  Bio bio(BIO_new(BIO_s_secmem()));
  if (bio == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), Raw(key_), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    std::abort();  // only memory can be missing
  }
  char* data = nullptr;
  long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string SigningKey::Sign(std::string_view message) const {
  Context ctx(EVP_MD_CTX_new());
  std::string signature(kSignatureSize, '\0');
  size_t size = signature.size();
  if (ctx == nullptr || EVP_DigestSignInit(ctx.get(), nullptr, nullptr, nullptr, Raw(key_)) != 1 ||
      EVP_DigestSign(ctx.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, Bytes(message),
                     message.size()) != 1 ||
      size != kSignatureSize) {
    std::abort();  // a valid key signs any bytes
  }
  return signature;
}

bool VerifySignature(std::string_view public_key, std::string_view message, std::string_view signature) {
  if (public_key.size() != kPublicKeySize || signature.size() != kSignatureSize) return false;
  Pkey key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, Bytes(public_key), public_key.size()));
  Context ctx(EVP_MD_CTX_new());
  bool good = key != nullptr && ctx != nullptr &&
              EVP_DigestVerifyInit(ctx.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
              EVP_DigestVerify(ctx.get(), Bytes(signature), signature.size(), Bytes(message), message.size()) == 1;
  ERR_clear_error();  // a refusal must not turn up later in somebody else's TLS error
  return good;
}

std::string KeyId(std::string_view public_key) { return std::string(Sha256(public_key).view()); }

std::string PreAuthEncoding(std::string_view payload_type, std::string_view payload) {
  std::string out;
  out.reserve(payload.size() + payload_type.size() + 48);
  absl::StrAppend(&out, "DSSEv1 ", payload_type.size(), " ");
  out.append(payload_type);
  absl::StrAppend(&out, " ", payload.size(), " ");
  out.append(payload);
  return out;
}

Envelope SignEnvelope(std::string_view payload_type, std::string_view payload, const SigningKey& key) {
  Envelope envelope{std::string(payload_type), std::string(payload), {}};
  AddSignature(envelope, key);
  return envelope;
}

void AddSignature(Envelope& envelope, const SigningKey& key) {
  envelope.signatures.push_back(
      {KeyId(key.public_key()), key.Sign(PreAuthEncoding(envelope.payload_type, envelope.payload))});
}

std::vector<std::string> ValidSigners(const Envelope& envelope, std::string_view payload_type,
                                      const std::vector<std::string>& public_keys) {
  std::vector<std::string> signers;
  for (const std::string& key : public_keys) {
    if (std::find(signers.begin(), signers.end(), key) == signers.end() &&
        VerifyEnvelope(envelope, payload_type, {key}).ok()) {
      signers.push_back(key);
    }
  }
  return signers;
}

absl::Status VerifyEnvelope(const Envelope& envelope, std::string_view payload_type,
                            const std::vector<std::string>& public_keys, size_t threshold) {
  if (threshold == 0) return absl::PermissionDeniedError("a threshold of no signatures is refused");
  if (envelope.payload_type != payload_type) {
    return absl::PermissionDeniedError(absl::StrCat("the signed document is of type \"",
                                                    absl::CHexEscape(envelope.payload_type.substr(0, 100)),
                                                    "\", expected \"", std::string(payload_type), "\""));
  }
  if (envelope.payload.size() > kMaxPayload)
    return absl::PermissionDeniedError("the signed document is larger than 64 MiB");
  if (envelope.signatures.size() > kMaxSignatures) {
    return absl::PermissionDeniedError("the signed document carries too many signatures");
  }
  const std::string signed_bytes = PreAuthEncoding(envelope.payload_type, envelope.payload);
  // The key id only chooses what to try; what counts is the key that verifies, once.
  std::set<std::string> signers;
  bool known = false;
  for (const std::string& key : public_keys) {
    const std::string id = KeyId(key);
    for (const Signature& signature : envelope.signatures) {
      if (signature.key_id != id) continue;
      known = true;
      if (VerifySignature(key, signed_bytes, signature.signature)) {
        signers.insert(key);
        break;
      }
    }
  }
  if (signers.size() >= threshold) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(signers.size(), " of ", threshold,
                                                  " required signatures on the document are valid",
                                                  known && signers.empty() ? "; it was changed after signing"
                                                  : known                  ? ""
                                                          : "; no key that signed it is trusted here"));
}

}  // namespace bailiwick::crypto
