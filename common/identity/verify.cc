#include "common/identity/verify.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/utc_text.h"
#include "common/identity/openssl.h"

namespace bailiwick::identity {
namespace {

constexpr char kPayload[] = "bailiwick/refusal";
constexpr int kAuthLevel = 2;  // OpenSSL's: 112 bits, no SHA-1

absl::Status WithCode(absl::Status status, std::string_view code) {
  status.SetPayload(kPayload, absl::Cord(std::string(code)));
  return status;
}

std::string NameOf(const CertificateInfo& info) {
  return info.uri.empty() ? "the peer" : info.uri.substr(0, 300);
}

absl::Status Explain(int error, const CertificateInfo& info) {
  const std::string who = NameOf(info);
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return Refuse("EXPIRED", absl::StrCat("the certificate of ", who, " expired at ", UtcText(info.not_after)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Refuse("NOT_YET_VALID",
                    absl::StrCat("the certificate of ", who, " is not valid before ", UtcText(info.not_before)));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return Refuse("UNKNOWN_CA", absl::StrCat("the certificate of ", who, " is of a CA that is not trusted here: ",
                                               X509_verify_cert_error_string(error)));
    default:
      return Refuse("BAD_CERTIFICATE", absl::StrCat("the certificate of ", who, " is not valid: ",
                                                    X509_verify_cert_error_string(error)));
  }
}

// Every certificate of the text, as OpenSSL objects.
std::vector<Certificate> ReadAll(std::string_view pem, int limit) {
  std::vector<Certificate> all;
  Bio bio = ReadBio(pem);
  while (static_cast<int>(all.size()) < limit) {
    Certificate next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (next == nullptr) break;
    all.push_back(std::move(next));
  }
  ERR_clear_error();
  return all;
}

bool IsAuthority(X509* certificate) { return X509_check_ca(certificate) == 1; }

}  // namespace

absl::Status Refuse(std::string_view code, std::string_view sentence) {
  return WithCode(absl::UnauthenticatedError(std::string(sentence)), code);
}
absl::Status Forbid(std::string_view code, std::string_view sentence) {
  return WithCode(absl::PermissionDeniedError(std::string(sentence)), code);
}
std::string RefusalCode(const absl::Status& status) {
  auto payload = status.GetPayload(kPayload);
  return payload.has_value() ? std::string(*payload) : "";
}

absl::StatusOr<CertificateInfo> VerifyChain(std::string_view chain_pem, std::string_view roots_pem, Use use,
                                            absl::Time now, Early early) {
  std::vector<Certificate> chain = ReadAll(chain_pem, kMaxChainCertificates);
  if (chain.empty()) return Refuse("NO_CERTIFICATE", "the peer presented no certificate");
  auto info = InspectCertificate(chain_pem);
  if (!info.ok()) return Refuse("UNREADABLE", std::string(info.status().message()));
  std::unique_ptr<X509_STORE, Freer<X509_STORE_free>> roots(X509_STORE_new());
  for (const Certificate& root : ReadAll(roots_pem, kMaxRoots)) X509_STORE_add_cert(roots.get(), root.get());
  std::unique_ptr<STACK_OF(X509), StackFreer> others(sk_X509_new_null());
  for (size_t i = 1; i < chain.size(); ++i) {
    // A root that comes along proves nothing, and would hide a link that leads to a trusted one.
    if (X509_self_signed(chain[i].get(), 0) != 1) sk_X509_push(others.get(), chain[i].get());  // not owned
  }
  std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>> context(X509_STORE_CTX_new());
  if (roots == nullptr || others == nullptr || context == nullptr ||
      X509_STORE_CTX_init(context.get(), roots.get(), chain[0].get(), others.get()) != 1) {
    ERR_clear_error();
    return absl::InternalError("cannot prepare the verification of a certificate");
  }
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  if (early == Early::kForgive) now = std::max(now, info->not_before);
  X509_VERIFY_PARAM_set_time(param, absl::ToTimeT(now));
  X509_VERIFY_PARAM_set_auth_level(param, kAuthLevel);
  if (use != Use::kEither) {
    X509_STORE_CTX_set_purpose(context.get(),
                               use == Use::kServer ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  }
  const bool good = X509_verify_cert(context.get()) == 1;
  const int error = X509_STORE_CTX_get_error(context.get());
  ERR_clear_error();
  if (!good || error != X509_V_OK) return Explain(error, *info);
  return info;
}

absl::StatusOr<std::vector<std::string>> SplitPem(std::string_view pem, int limit, bool authorities) {
  std::vector<std::string> all;
  for (const Certificate& certificate : ReadAll(pem, limit)) {
    if (authorities && !IsAuthority(certificate.get())) {
      return absl::InvalidArgumentError("a certificate that is to be trusted as a root is not a CA's");
    }
    BW_ASSIGN_OR_RETURN(std::string text, CertificatePem(certificate.get()));
    all.push_back(std::move(text));
  }
  if (all.empty()) return absl::InvalidArgumentError("there is no certificate in PEM");
  return all;
}

std::string FindPinned(std::string_view chain_pem, std::string_view sha256) {
  std::string found;
  for (const Certificate& certificate : ReadAll(chain_pem, kMaxChainCertificates)) {
    if (DerSha256(certificate.get()) != sha256) continue;
    auto pem = CertificatePem(certificate.get());
    if (pem.ok()) found += *pem;
  }
  return found;
}

}  // namespace bailiwick::identity
