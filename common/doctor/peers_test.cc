#include "common/doctor/peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/identity/certificates.h"
#include "common/os/files.h"

namespace bailiwick::doctor {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

Finding Skew(absl::Duration ahead, absl::Duration round_trip = absl::Milliseconds(10)) {
  Report report;
  JudgeSkew(report, "the coordinator", kNow + ahead, kNow, round_trip);
  return report.findings().at(0);
}

TEST(SkewTest, ClocksMayDifferByWhatIsBorne) {
  EXPECT_EQ(Skew(absl::ZeroDuration()).verdict, Verdict::kOk);
  EXPECT_EQ(Skew(absl::Seconds(20)).verdict, Verdict::kWarn);
  EXPECT_EQ(Skew(absl::Seconds(90)).verdict, Verdict::kFail);
  EXPECT_THAT(Skew(absl::Seconds(90)).found, HasSubstr("ahead of the coordinator's"));
  EXPECT_EQ(Skew(-absl::Hours(1)).verdict, Verdict::kFail);
  EXPECT_THAT(Skew(-absl::Hours(1)).found, HasSubstr("behind"));
  // An answer that took ten seconds may be as old as that.
  EXPECT_EQ(Skew(absl::Seconds(10), absl::Seconds(10)).verdict, Verdict::kOk);
}

Finding Version(const Build& theirs) {
  Report report;
  JudgeVersion(report, "coordinator", theirs, {"1.4.0", 2, 3});
  return report.findings().at(0);
}

TEST(VersionTest, NeighboursWorkTogether) {
  EXPECT_EQ(Version({"1.4.0", 2, 3}).verdict, Verdict::kOk);
  EXPECT_EQ(Version({"1.4.7", 0, 0}).verdict, Verdict::kOk);
  EXPECT_EQ(Version({"1.5.0", 3, 4}).verdict, Verdict::kWarn);
  EXPECT_EQ(Version({"1.3.9", 2, 2}).verdict, Verdict::kWarn);
  EXPECT_EQ(Version({"1.2.0", 2, 2}).verdict, Verdict::kFail);
  EXPECT_EQ(Version({"2.4.0", 2, 3}).verdict, Verdict::kFail);
  EXPECT_EQ(Version({"1.5.0", 4, 5}).verdict, Verdict::kFail);
  EXPECT_EQ(Version({"another", 2, 3}).verdict, Verdict::kWarn);
}

TEST(CallTest, WhatTheOtherEndSaysIsNotAPortThatIsClosed) {
  auto judged = [](const absl::Status& status) {
    Report report;
    JudgeCall(report, "coordinator", status, "hello");
    return std::make_pair(report.findings().at(0).verdict, report.ExitCode());
  };
  EXPECT_EQ(judged(absl::OkStatus()), std::make_pair(Verdict::kOk, 0));
  EXPECT_EQ(judged(absl::UnavailableError("handshake")), std::make_pair(Verdict::kFail, 6));
  EXPECT_EQ(judged(absl::UnauthenticatedError("revoked")), std::make_pair(Verdict::kFail, 1));
  EXPECT_EQ(judged(absl::UnimplementedError("old")), std::make_pair(Verdict::kWarn, 0));
}

TEST(ReachTest, AddressesAndNamesThatLeadNowhere) {
  auto last = [](const std::string& address) {
    Report report;
    EXPECT_FALSE(CheckReach(report, "x", address)) << address;
    return report.findings().back();
  };
  EXPECT_EQ(last("nonsense").check, "dns x");
  EXPECT_EQ(last("127.0.0.1:0").check, "dns x");
  EXPECT_EQ(last("no-such-name.invalid:1").check, "dns x");
  const Finding closed = last("127.0.0.1:1");  // nobody's
  EXPECT_EQ(closed.check, "tcp x");
  EXPECT_THAT(closed.remedy, HasSubstr("start it"));
}

class CredentialsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ca_ = *identity::NewAuthority("acme.example", kNow, absl::Hours(1000));
    ASSERT_TRUE(os::Files::System()->MakeDirs(directory_).ok());
    const identity::KeyPair key = *identity::NewTlsKey();
    const identity::SpiffeId id{identity::Kind::kAdmin, "acme.example", "", "", "ann"};
    Write("key.pem", key.private_key_pem);
    Write("cert.pem", *identity::IssueCertificate(ca_, key.csr_der, id, kNow, absl::Hours(24)));
    Write("ca.pem", ca_.certificate_pem);
  }
  void TearDown() override { EXPECT_TRUE(os::Files::System()->RemoveTree(directory_).ok()); }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(os::WriteFileAtomically(os::Files::System(), os::JoinPath(directory_, name), text).ok());
  }
  Finding At(absl::Duration age, bool renewed = true, const std::string& expected = "") {
    Report report;
    CheckCredentials(report, {"certificate", directory_, expected, renewed, "get a new one"}, kNow + age);
    return report.findings().back();
  }
  identity::CertificateAuthority ca_;
  const std::string directory_ = absl::StrCat(::testing::TempDir(), "/doctor-credentials-", ::getpid());
};

TEST_F(CredentialsTest, AgeIsAWarningBeforeItIsAFailure) {
  EXPECT_EQ(At(absl::Hours(1)).verdict, Verdict::kOk);
  EXPECT_THAT(At(absl::Hours(1)).found, HasSubstr("spiffe://acme.example/admin/ann until 2023-11-15"));
  EXPECT_EQ(At(absl::Hours(18)).verdict, Verdict::kWarn);
  EXPECT_EQ(At(absl::Hours(18), false).verdict, Verdict::kOk);
  EXPECT_EQ(At(absl::Hours(22), false).verdict, Verdict::kWarn);
  EXPECT_EQ(At(absl::Hours(25)).verdict, Verdict::kFail);
  EXPECT_EQ(At(-absl::Hours(1)).verdict, Verdict::kFail);
}

TEST_F(CredentialsTest, OneThatCannotServeIsAFailure) {
  EXPECT_EQ(At(absl::Hours(1), true, "spiffe://acme.example/coordinator").verdict, Verdict::kFail);
  Write("key.pem", identity::NewTlsKey()->private_key_pem);
  EXPECT_EQ(At(absl::Hours(1)).verdict, Verdict::kFail);
  SetUp();
  Write("ca.pem", identity::NewAuthority("acme.example", kNow, absl::Hours(1000))->certificate_pem);
  EXPECT_EQ(At(absl::Hours(1)).verdict, Verdict::kFail);
  Write("cert.pem", "no certificate");
  EXPECT_EQ(At(absl::Hours(1)).verdict, Verdict::kFail);
}

}  // namespace
}  // namespace bailiwick::doctor
