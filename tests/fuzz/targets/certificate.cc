// Certificates as DER in PEM (so that mutations reach the DER), texts of PEM as they are, and certificate requests.
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/identity/certificates.h"
#include "common/identity/verify.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(certificate) {
  using namespace bailiwick::identity;
  const uint8_t mode = in.Byte();
  std::string pem;
  if (mode % 4 == 0) {
    pem = in.Rest();
  } else if (mode % 4 == 1) {
    CheckRequest(in.Rest()).IgnoreError();
    return;
  } else {
    while (!in.done()) {
      const std::string_view der = in.Chunk();
      absl::StrAppend(&pem, "-----BEGIN CERTIFICATE-----\n", absl::Base64Escape({der.data(), der.size()}),
                      "\n-----END CERTIFICATE-----\n");
    }
  }
  auto info = InspectCertificate(pem);
  if (info.ok()) {
    REQUIRE(info->sha256.size() == 32 && info->sha256 == CertificateSha256(pem));
    info->renew_at();
    if (auto id = ParseSpiffeId(info->uri); id.ok()) REQUIRE(id->str() == info->uri);
  }
  auto all = SplitPem(pem, kMaxChainCertificates, false);
  REQUIRE(all.ok() || !info.ok());
  SplitPem(pem, kMaxRoots, true).IgnoreError();
  if (!info.ok()) return;
  REQUIRE(all->size() <= kMaxChainCertificates && CertificateSha256(all->front()) == info->sha256);
  REQUIRE(!FindPinned(pem, info->sha256).empty() && FindPinned(pem, std::string(32, 'x')).empty());
  // By itself as root, and by nobody: the latter never does.
  VerifyChain(pem, all->back(), Use::kServer, bailiwick::fuzz::Now(), Early::kForgive).IgnoreError();
  REQUIRE(!VerifyChain(pem, "", Use::kEither, bailiwick::fuzz::Now()).ok());
  CheckPair(pem, pem).IgnoreError();
}
