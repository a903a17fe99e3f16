#include "common/identity/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/identity/certificate_fixture.h"

namespace bailiwick::identity {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
const SpiffeId kFactory{Kind::kAgent, "example.org", "eu/de", "factory", "a"};

CertificateAuthority Ca(absl::Time made = kNow, absl::Duration life = absl::Hours(24 * 365)) {
  return *NewAuthority("example.org", made, life);
}
std::string Leaf(const CertificateAuthority& ca, absl::Time made = kNow, absl::Duration life = absl::Hours(24)) {
  return *IssueCertificate(ca, NewTlsKey()->csr_der, kFactory, made, life);
}
std::string CodeOf(const absl::StatusOr<CertificateInfo>& verified) { return RefusalCode(verified.status()); }

TEST(VerifyChain, OneThatATrustedRootSigned) {
  const CertificateAuthority ca = Ca();
  for (Use use : {Use::kServer, Use::kClient, Use::kEither}) {
    auto info = VerifyChain(Leaf(ca), ca.certificate_pem, use, kNow);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->uri, kFactory.str());
  }
}

TEST(VerifyChain, EachRefusalHasItsCode) {
  const CertificateAuthority ca = Ca(), foreign = Ca();
  const std::string leaf = Leaf(ca);
  EXPECT_EQ(CodeOf(VerifyChain("", ca.certificate_pem, Use::kClient, kNow)), "NO_CERTIFICATE");
  EXPECT_EQ(CodeOf(VerifyChain("not a certificate", ca.certificate_pem, Use::kClient, kNow)), "NO_CERTIFICATE");
  EXPECT_EQ(CodeOf(VerifyChain(leaf, foreign.certificate_pem, Use::kClient, kNow)), "UNKNOWN_CA");
  EXPECT_EQ(CodeOf(VerifyChain(leaf, "", Use::kClient, kNow)), "UNKNOWN_CA");
  // The foreign CA's certificate in the chain proves nothing, nor does the right one beside a foreign leaf.
  EXPECT_EQ(CodeOf(VerifyChain(leaf + ca.certificate_pem, foreign.certificate_pem, Use::kClient, kNow)), "UNKNOWN_CA");
  EXPECT_EQ(CodeOf(VerifyChain(Leaf(foreign) + ca.certificate_pem, ca.certificate_pem, Use::kClient, kNow)),
            "UNKNOWN_CA");
  EXPECT_EQ(CodeOf(VerifyChain(leaf, ca.certificate_pem, Use::kClient, kNow + absl::Hours(25))), "EXPIRED");
  EXPECT_EQ(CodeOf(VerifyChain(leaf, ca.certificate_pem, Use::kClient, kNow - absl::Hours(1))), "NOT_YET_VALID");
  // A leaf is no CA: it cannot sign another.
  auto key = *NewTlsKey();
  CertificateAuthority climber{*IssueCertificate(ca, key.csr_der, kFactory, kNow, absl::Hours(24)),
                               key.private_key_pem};
  const std::string climbed =
      IssueOdd(climber, *NewTlsKey(), {"URI:" + kFactory.str(), kNow - absl::Hours(1), kNow + absl::Hours(1)});
  EXPECT_FALSE(VerifyChain(climbed + climber.certificate_pem, ca.certificate_pem, Use::kClient, kNow).ok());
}

TEST(VerifyChain, ARootThatExpiredTrustsNobody) {
  const CertificateAuthority ca = Ca(kNow, absl::Hours(1));
  EXPECT_EQ(CodeOf(VerifyChain(Leaf(ca), ca.certificate_pem, Use::kClient, kNow + absl::Hours(2))), "EXPIRED");
}

// A box that wakes in 1970 has no other proof of the time than what the CA signed.
TEST(VerifyChain, FromTheFutureOnlyWhereThatIsForgiven) {
  const CertificateAuthority ca = Ca();
  const absl::Time wakes = absl::UnixEpoch();
  EXPECT_EQ(CodeOf(VerifyChain(Leaf(ca), ca.certificate_pem, Use::kServer, wakes)), "NOT_YET_VALID");
  EXPECT_TRUE(VerifyChain(Leaf(ca), ca.certificate_pem, Use::kServer, wakes, Early::kForgive).ok());
  EXPECT_EQ(CodeOf(VerifyChain(Leaf(ca), ca.certificate_pem, Use::kServer, kNow + absl::Hours(25), Early::kForgive)),
            "EXPIRED");
  EXPECT_EQ(CodeOf(VerifyChain(Leaf(Ca()), ca.certificate_pem, Use::kServer, wakes, Early::kForgive)), "UNKNOWN_CA");
}

TEST(VerifyChain, ALinkLeadsFromTheOldRootToTheNew) {
  const CertificateAuthority first = Ca(), second = Ca(kNow + absl::Hours(1)), third = Ca(kNow + absl::Hours(2));
  const std::string link = *LinkAuthority(first, second), further = *LinkAuthority(second, third);
  const absl::Time now = kNow + absl::Hours(3);
  const std::string leaf = Leaf(third, now);
  EXPECT_EQ(CodeOf(VerifyChain(leaf, first.certificate_pem, Use::kServer, now)), "UNKNOWN_CA");
  EXPECT_EQ(CodeOf(VerifyChain(leaf + further, first.certificate_pem, Use::kServer, now)), "UNKNOWN_CA");
  auto led = VerifyChain(leaf + third.certificate_pem + further + link, first.certificate_pem, Use::kServer, now);
  EXPECT_TRUE(led.ok()) << led.status();
  EXPECT_TRUE(VerifyChain(leaf, first.certificate_pem + third.certificate_pem, Use::kServer, now).ok()) << "overlap";
  // A link that nobody trusted signed leads nowhere.
  const std::string forged = *LinkAuthority(Ca(), third);
  EXPECT_EQ(CodeOf(VerifyChain(leaf + forged, first.certificate_pem, Use::kServer, now)), "UNKNOWN_CA");
}

TEST(Renewal, AtHalfLifeMoreOrLess) {
  const CertificateAuthority ca = Ca();
  for (absl::Duration life : {absl::Hours(24), absl::Hours(1), absl::Minutes(5), absl::Seconds(20)}) {
    for (int i = 0; i < 10; ++i) {
      auto info = *InspectCertificate(Leaf(ca, kNow, life));
      EXPECT_GE(info.renew_at(), kNow + life * 0.44) << life;
      EXPECT_LE(info.renew_at(), kNow + life * 0.56) << life;
    }
  }
  std::set<absl::Time> times;  // a fleet that joined at one time does not come back at one time
  for (int i = 0; i < 20; ++i) times.insert(InspectCertificate(Leaf(ca, kNow, absl::Hours(24)))->renew_at());
  EXPECT_GT(times.size(), 10u);
}

TEST(SplitPem, RootsAreCasAndNothingElse) {
  const CertificateAuthority one = Ca(), two = Ca();
  auto roots = SplitPem(one.certificate_pem + two.certificate_pem, kMaxRoots, true);
  ASSERT_TRUE(roots.ok()) << roots.status();
  EXPECT_EQ(roots->size(), 2u);
  EXPECT_FALSE(SplitPem("", kMaxRoots, true).ok());
  EXPECT_FALSE(SplitPem(one.certificate_pem + Leaf(one), kMaxRoots, true).ok());
  EXPECT_EQ(FindPinned(Leaf(one) + one.certificate_pem, CertificateSha256(one.certificate_pem)), one.certificate_pem);
  EXPECT_EQ(FindPinned(Leaf(one) + one.certificate_pem, CertificateSha256(two.certificate_pem)), "");
}

}  // namespace
}  // namespace bailiwick::identity
