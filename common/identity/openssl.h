// OpenSSL objects that free themselves, for this folder alone: nothing outside includes it.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bailiwick::identity {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Request = std::unique_ptr<X509_REQ, Freer<X509_REQ_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;
using Serial = std::unique_ptr<BIGNUM, Freer<BN_free>>;
struct StackFreer {  // the stack alone, not what is in it
  void operator()(STACK_OF(X509) * p) const { sk_X509_free(p); }
};

// The oldest error of OpenSSL's queue, which is empty afterwards.
absl::Status OpenSslError(std::string_view what);
Bio ReadBio(std::string_view bytes);  // not copied
std::string Drain(BIO* bio);
absl::StatusOr<std::string> CertificatePem(X509* certificate);
std::string DerSha256(X509* certificate);  // 32 bytes; empty when it cannot be encoded

}  // namespace bailiwick::identity
