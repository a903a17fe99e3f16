#include "common/identity/openssl.h"

#include <openssl/err.h>

#include "absl/strings/str_cat.h"
#include "common/crypto/digest.h"

namespace bailiwick::identity {

absl::Status OpenSslError(std::string_view what) {
  char text[256] = "unknown";
  if (unsigned long e = ERR_get_error(); e != 0) ERR_error_string_n(e, text, sizeof text);
  ERR_clear_error();
  return absl::InternalError(absl::StrCat(std::string(what), ": ", text));
}

Bio ReadBio(std::string_view bytes) { return Bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size()))); }

std::string Drain(BIO* bio) {
  char* data = nullptr;
  const long n = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(n));
}

absl::StatusOr<std::string> CertificatePem(X509* certificate) {
  Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate) != 1) return OpenSslError("cannot write a certificate");
  return Drain(bio.get());
}

std::string DerSha256(X509* certificate) {
  unsigned char* der = nullptr;
  const int n = i2d_X509(certificate, &der);
  if (n <= 0) return "";
  Digest digest = crypto::Sha256({reinterpret_cast<char*>(der), static_cast<size_t>(n)});
  OPENSSL_free(der);
  return std::string(digest.view());
}

}  // namespace bailiwick::identity
