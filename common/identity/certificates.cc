#include "common/identity/certificates.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/identity/openssl.h"

namespace bailiwick::identity {
namespace {

constexpr size_t kMaxCommonName = 64;  // RFC 5280, ub-common-name

absl::StatusOr<Key> NewKey() {
  Key key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpenSslError("cannot make a key");
  return key;
}

absl::StatusOr<std::string> KeyPem(EVP_PKEY* key) {
  Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return OpenSslError("cannot write a key");
  }
  return Drain(bio.get());
}

absl::StatusOr<Key> ParseKey(std::string_view pem) {
  Bio bio = ReadBio(pem);
  Key key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return 0; }, nullptr));
  ERR_clear_error();
  if (key == nullptr) return absl::InvalidArgumentError("not a private key in PEM");
  return key;
}

absl::StatusOr<Certificate> ParseCertificate(std::string_view pem) {
  Bio bio = ReadBio(pem);
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) return absl::InvalidArgumentError("not a certificate in PEM");
  return certificate;
}

bool IsP256(EVP_PKEY* key) {
  char group[32] = "";
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) == 1 &&
         std::string_view(group) == "prime256v1";
}

absl::StatusOr<Request> ParseRequest(std::string_view csr_der) {
  const auto* p = reinterpret_cast<const unsigned char*>(csr_der.data());
  Request request(d2i_X509_REQ(nullptr, &p, static_cast<long>(csr_der.size())));
  ERR_clear_error();
  if (p != reinterpret_cast<const unsigned char*>(csr_der.data()) + csr_der.size()) request.reset();
  EVP_PKEY* key = request == nullptr ? nullptr : X509_REQ_get0_pubkey(request.get());
  if (key == nullptr) return absl::InvalidArgumentError("the certificate request cannot be read");
  if (!IsP256(key)) return absl::InvalidArgumentError("the certificate request's key is not ECDSA P-256");
  if (X509_REQ_verify(request.get(), key) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError("the certificate request is not signed by its own key");
  }
  return request;
}

absl::Status AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (extension == nullptr || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return OpenSslError("cannot add a certificate extension");
  }
  return absl::OkStatus();
}

absl::StatusOr<Certificate> NewCertificate(EVP_PKEY* key, absl::Time not_before, absl::Time not_after) {
  Certificate certificate(X509_new());
  Serial serial(BN_new());
  if (certificate == nullptr || serial == nullptr || X509_set_version(certificate.get(), 2) != 1 ||
      BN_rand(serial.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get())) == nullptr ||
      ASN1_TIME_set(X509_getm_notBefore(certificate.get()), absl::ToTimeT(not_before)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate.get()), absl::ToTimeT(not_after)) == nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return OpenSslError("cannot make a certificate");
  }
  return certificate;
}

// CAs of one domain differ in the second part, so that no issuer is mistaken for another.
absl::Status NameAuthority(X509* certificate, std::string_view trust_domain) {
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  if (X509_pubkey_digest(certificate, EVP_sha256(), hash, &n) != 1) return OpenSslError("cannot name a CA");
  const std::string serial = absl::BytesToHexString({reinterpret_cast<char*>(hash), 8});
  const std::string common = absl::StrCat("Bailiwick CA of ", std::string(trust_domain)).substr(0, kMaxCommonName);
  X509_NAME* name = X509_get_subject_name(certificate);
  for (const auto& [field, text] : {std::pair{"CN", common}, std::pair{"serialNumber", serial}}) {
    if (X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.c_str()), -1,
                                   -1, 0) != 1) {
      return OpenSslError("cannot name a CA");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Time> FromAsn1(const ASN1_TIME* time) {
  std::tm tm{};
  // A null time would be read as now.
  if (time == nullptr || ASN1_TIME_to_tm(time, &tm) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError("the certificate's validity cannot be read");
  }
  return absl::FromTM(tm, absl::UTCTimeZone());
}

}  // namespace

absl::StatusOr<KeyPair> NewTlsKey() {
  BW_ASSIGN_OR_RETURN(Key key, NewKey());
  KeyPair pair;
  BW_ASSIGN_OR_RETURN(pair.private_key_pem, KeyPem(key.get()));
  Request request(X509_REQ_new());
  if (request == nullptr || X509_REQ_set_version(request.get(), 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0) {
    return OpenSslError("cannot make a certificate request");
  }
  unsigned char* der = nullptr;
  const int n = i2d_X509_REQ(request.get(), &der);
  if (n <= 0) return OpenSslError("cannot write a certificate request");
  pair.csr_der.assign(reinterpret_cast<char*>(der), static_cast<size_t>(n));
  OPENSSL_free(der);
  return pair;
}

absl::StatusOr<CertificateAuthority> NewAuthority(std::string_view trust_domain, absl::Time now, absl::Duration life) {
  BW_ASSIGN_OR_RETURN(Key key, NewKey());
  BW_ASSIGN_OR_RETURN(Certificate certificate, NewCertificate(key.get(), now - kBackdate, now + life));
  BW_RETURN_IF_ERROR(NameAuthority(certificate.get(), trust_domain));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
  BW_RETURN_IF_ERROR(
      AddExtension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE"));
  BW_RETURN_IF_ERROR(AddExtension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign"));
  BW_RETURN_IF_ERROR(AddExtension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash"));
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0) return OpenSslError("cannot sign the CA certificate");
  CertificateAuthority ca;
  BW_ASSIGN_OR_RETURN(ca.certificate_pem, CertificatePem(certificate.get()));
  BW_ASSIGN_OR_RETURN(ca.private_key_pem, KeyPem(key.get()));
  return ca;
}

absl::Status CheckRequest(std::string_view csr_der) { return ParseRequest(csr_der).status(); }

absl::StatusOr<std::string> IssueCertificate(const CertificateAuthority& ca, std::string_view csr_der,
                                             const SpiffeId& id, absl::Time now, absl::Duration life,
                                             absl::Time earliest) {
  // The name goes into a string that OpenSSL parses: a comma in it would become a second name.
  auto checked = ParseSpiffeId(id.str());
  if (!checked.ok()) return checked.status();
  if (*checked != id) return absl::InvalidArgumentError(absl::StrCat(id.str(), " would be read as another identity"));
  BW_ASSIGN_OR_RETURN(Request request, ParseRequest(csr_der));
  EVP_PKEY* subject_key = X509_REQ_get0_pubkey(request.get());
  BW_ASSIGN_OR_RETURN(Certificate issuer, ParseCertificate(ca.certificate_pem));
  BW_ASSIGN_OR_RETURN(Key issuer_key, ParseKey(ca.private_key_pem));
  BW_ASSIGN_OR_RETURN(Certificate leaf, NewCertificate(subject_key, std::max(earliest, now - std::min(kBackdate, life)), now + life));
  X509_set_issuer_name(leaf.get(), X509_get_subject_name(issuer.get()));
  BW_RETURN_IF_ERROR(AddExtension(leaf.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE"));
  BW_RETURN_IF_ERROR(AddExtension(leaf.get(), issuer.get(), NID_key_usage, "critical,digitalSignature"));
  BW_RETURN_IF_ERROR(AddExtension(leaf.get(), issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth"));
  BW_RETURN_IF_ERROR(AddExtension(leaf.get(), issuer.get(), NID_authority_key_identifier, "keyid"));
  // The subject is empty, so the name must be critical (RFC 5280, 4.2.1.6). Characters of an id need no escaping here.
  BW_RETURN_IF_ERROR(
      AddExtension(leaf.get(), issuer.get(), NID_subject_alt_name, absl::StrCat("critical,URI:", id.str())));
  if (X509_sign(leaf.get(), issuer_key.get(), EVP_sha256()) == 0) return OpenSslError("cannot sign a certificate");
  return CertificatePem(leaf.get());
}

absl::StatusOr<std::string> LinkAuthority(const CertificateAuthority& ca, const CertificateAuthority& next) {
  BW_ASSIGN_OR_RETURN(Certificate issuer, ParseCertificate(ca.certificate_pem));
  BW_ASSIGN_OR_RETURN(Key issuer_key, ParseKey(ca.private_key_pem));
  BW_ASSIGN_OR_RETURN(Certificate subject, ParseCertificate(next.certificate_pem));
  BW_ASSIGN_OR_RETURN(CertificateInfo old, InspectCertificate(ca.certificate_pem));
  BW_ASSIGN_OR_RETURN(CertificateInfo own, InspectCertificate(next.certificate_pem));
  BW_ASSIGN_OR_RETURN(Certificate link, NewCertificate(X509_get0_pubkey(subject.get()), own.not_before,
                                                       std::min(own.not_after, old.not_after)));
  X509_set_subject_name(link.get(), X509_get_subject_name(subject.get()));
  X509_set_issuer_name(link.get(), X509_get_subject_name(issuer.get()));
  BW_RETURN_IF_ERROR(AddExtension(link.get(), issuer.get(), NID_basic_constraints, "critical,CA:TRUE"));
  BW_RETURN_IF_ERROR(AddExtension(link.get(), issuer.get(), NID_key_usage, "critical,keyCertSign,cRLSign"));
  BW_RETURN_IF_ERROR(AddExtension(link.get(), issuer.get(), NID_subject_key_identifier, "hash"));
  BW_RETURN_IF_ERROR(AddExtension(link.get(), issuer.get(), NID_authority_key_identifier, "keyid"));
  if (X509_sign(link.get(), issuer_key.get(), EVP_sha256()) == 0) return OpenSslError("cannot sign a CA certificate");
  return CertificatePem(link.get());
}

absl::Time CertificateInfo::renew_at() const {
  const absl::Duration total = not_after - not_before;
  const absl::Duration life = total >= 2 * kBackdate ? total - kBackdate : total / 2;
  const double jitter = sha256.empty() ? 0 : static_cast<unsigned char>(sha256[0]) / 255.0 - 0.5;
  return not_after - life + life * (0.5 + 0.1 * jitter);
}

absl::StatusOr<CertificateInfo> InspectCertificate(std::string_view pem) {
  BW_ASSIGN_OR_RETURN(Certificate certificate, ParseCertificate(pem));
  CertificateInfo info;
  BW_ASSIGN_OR_RETURN(info.not_before, FromAsn1(X509_get0_notBefore(certificate.get())));
  BW_ASSIGN_OR_RETURN(info.not_after, FromAsn1(X509_get0_notAfter(certificate.get())));
  info.sha256 = DerSha256(certificate.get());
  auto* names =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr));
  int uris = 0;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    ++uris;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    info.uri.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                    static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  GENERAL_NAMES_free(names);
  ERR_clear_error();
  if (uris != 1) info.uri.clear();
  return info;
}

absl::Status CheckPair(std::string_view certificate_pem, std::string_view private_key_pem) {
  BW_ASSIGN_OR_RETURN(Certificate certificate, ParseCertificate(certificate_pem));
  BW_ASSIGN_OR_RETURN(Key key, ParseKey(private_key_pem));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError("the certificate and the private key do not belong together");
  }
  return absl::OkStatus();
}

std::string CertificateSha256(std::string_view pem) {
  auto certificate = ParseCertificate(pem);
  return certificate.ok() ? DerSha256(certificate->get()) : "";
}

}  // namespace bailiwick::identity
