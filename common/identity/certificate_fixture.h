// For tests: certificates that IssueCertificate refuses to make (several names, foreign kinds of names, any validity).
#pragma once

#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <string>

#include "absl/time/time.h"
#include "common/identity/certificates.h"

namespace bailiwick::identity {

struct OddCertificate {
  std::string names;  // as in openssl's subjectAltName: "URI:spiffe://a/b,DNS:x"; empty: no names at all
  absl::Time not_before;
  absl::Time not_after;
};

// A certificate of this CA for the key, server and client use, with nothing checked.
inline std::string IssueOdd(const CertificateAuthority& ca, const KeyPair& key, const OddCertificate& odd) {
  auto read_key = [](const std::string& pem) {
    BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    EVP_PKEY* result = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    return result;
  };
  BIO* bio = BIO_new_mem_buf(ca.certificate_pem.data(), static_cast<int>(ca.certificate_pem.size()));
  X509* issuer = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  EVP_PKEY* issuer_key = read_key(ca.private_key_pem);
  EVP_PKEY* subject_key = read_key(key.private_key_pem);
  X509* leaf = X509_new();
  EXPECT_EQ(X509_set_version(leaf, 2), 1);
  ASN1_INTEGER_set(X509_get_serialNumber(leaf), 4711);
  ASN1_TIME_set(X509_getm_notBefore(leaf), absl::ToTimeT(odd.not_before));
  ASN1_TIME_set(X509_getm_notAfter(leaf), absl::ToTimeT(odd.not_after));
  X509_set_pubkey(leaf, subject_key);
  X509_set_issuer_name(leaf, X509_get_subject_name(issuer));
  auto add = [&](int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, leaf, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    EXPECT_NE(extension, nullptr) << value;
    EXPECT_EQ(X509_add_ext(leaf, extension, -1), 1);
    X509_EXTENSION_free(extension);
  };
  add(NID_basic_constraints, "critical,CA:FALSE");
  add(NID_key_usage, "critical,digitalSignature");
  add(NID_ext_key_usage, "serverAuth,clientAuth");
  if (!odd.names.empty()) add(NID_subject_alt_name, odd.names);
  EXPECT_GT(X509_sign(leaf, issuer_key, EVP_sha256()), 0);
  BIO* out = BIO_new(BIO_s_mem());
  EXPECT_EQ(PEM_write_bio_X509(out, leaf), 1);
  char* data = nullptr;
  const long n = BIO_get_mem_data(out, &data);
  std::string pem(data, static_cast<size_t>(n));
  BIO_free(out);
  X509_free(leaf);
  X509_free(issuer);
  EVP_PKEY_free(issuer_key);
  EVP_PKEY_free(subject_key);
  return pem;
}

}  // namespace bailiwick::identity
