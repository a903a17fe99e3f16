#include "services/coordinator/ca/authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/identity/verify.h"
#include "services/coordinator/ca/own_certificate.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr absl::Duration kLeaf = absl::Hours(24);
const identity::SpiffeId kFactory{identity::Kind::kAgent, "acme", "eu", "factory", "factory"};

class AuthorityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "bw-authority-" + std::to_string(::getpid());
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
    first_ = *identity::NewAuthority("acme", clock_.Now(), Authority::kLife);
    ASSERT_TRUE(os::WriteFileAtomically(files_, root_ + "/cert.pem", first_.certificate_pem).ok());
    ASSERT_TRUE(os::WriteFileAtomically(files_, root_ + "/key.pem", first_.private_key_pem).ok());
    Open();
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }
  void Open() {
    authority_.reset();
    auto opened = Authority::Open(files_, &clock_, root_, "acme", {.leaf_life = kLeaf, .record = record_});
    ASSERT_TRUE(opened.ok()) << opened.status();
    authority_ = *std::move(opened);
  }
  std::string Issue() {
    auto chain = authority_->Issue(identity::NewTlsKey()->csr_der, kFactory, kLeaf);
    EXPECT_TRUE(chain.ok()) << chain.status();
    return chain.ok() ? *chain : "";
  }
  bool Leads(const std::string& chain, const std::string& roots) {
    return identity::VerifyChain(chain, roots, identity::Use::kClient, clock_.Now()).ok();
  }
  bool Tick() {
    auto ticked = authority_->Tick();
    EXPECT_TRUE(ticked.ok()) << ticked.status();
    return ticked.ok() && *ticked;
  }

  std::vector<std::string> Take() { return std::exchange(records_, {}); }

  os::Files* files_ = os::Files::System();
  os::FakeClock clock_;
  std::vector<std::string> records_;
  absl::Status answer_;              // of the log
  std::function<void()> on_record_;  // what things are like then
  const RecordIdentity record_ = [this](const std::string& kind, const std::string& subject, const std::string&) {
    if (on_record_) on_record_();
    if (answer_.ok()) records_.push_back(kind + " " + subject);
    return answer_;
  };
  std::string root_;
  identity::CertificateAuthority first_;
  std::unique_ptr<Authority> authority_;
};

TEST_F(AuthorityTest, NothingThatWasIssuedEverStopsCounting) {
  std::vector<std::pair<std::string, absl::Time>> issued;
  std::string roots_at_start = authority_->Roots();
  for (int hour = 0; hour < 24 * 12; ++hour) {
    if (hour % 60 == 30) {
      ASSERT_TRUE(authority_->Rotate().ok()) << hour;
    }
    Tick();
    if (hour % 7 == 0) Open();  // a restart at any time
    issued.emplace_back(Issue(), clock_.Now() + kLeaf);
    std::erase_if(issued, [&](const auto& one) { return clock_.Now() >= one.second; });
    for (size_t i = 0; i < issued.size(); i += 4) ASSERT_TRUE(Leads(issued[i].first, authority_->Roots())) << hour;
    // Who knows only what was said before this hour is led on.
    ASSERT_TRUE(Leads(issued.back().first, roots_at_start)) << hour;
    ASSERT_TRUE(Leads(issued.back().first, first_.certificate_pem)) << hour << ": through every CA since the first";
    if (hour % 24 == 0) roots_at_start = authority_->Roots();
    clock_.Advance(absl::Hours(1));
  }
}

TEST_F(AuthorityTest, ANewOneIsPublishedThenSignsThenStandsAlone) {
  clock_.Advance(absl::Hours(24 * 366));  // whatever the first one issued before it wrote that down is over
  const std::string old = authority_->Signer();
  Issue();
  ASSERT_TRUE(authority_->Rotate().ok());
  EXPECT_TRUE(Tick());
  EXPECT_FALSE(Tick());
  EXPECT_EQ(authority_->Signer(), old);
  EXPECT_EQ(identity::SplitPem(authority_->Roots(), 16, true)->size(), 2u);
  EXPECT_TRUE(absl::IsFailedPrecondition(authority_->Rotate()));
  clock_.Advance(kLeaf);
  EXPECT_TRUE(Tick());
  EXPECT_NE(authority_->Signer(), old);
  EXPECT_FALSE(*files_->Exists(root_ + "/key.pem")) << "the old key is gone as soon as it signs no more";
  EXPECT_THAT(authority_->Roots(), HasSubstr(old));
  Open();
  EXPECT_NE(authority_->Signer(), old);
  clock_.Advance(2 * kLeaf + absl::Hours(1));
  EXPECT_TRUE(Tick());
  EXPECT_THAT(authority_->Roots(), Not(HasSubstr(old)));
}

TEST_F(AuthorityTest, WhatItDoesByItselfIsRecordedFirstOrNotDone) {
  clock_.Advance(Authority::kLife / 2 + absl::Hours(1));
  const std::string old = authority_->Roots();
  on_record_ = [&] { EXPECT_FALSE(*files_->Exists(root_ + "/generations")) << "nothing counts yet"; };
  ASSERT_TRUE(files_->Remove(root_ + "/generations").ok());
  answer_ = absl::UnavailableError("the audit log cannot be written");
  EXPECT_EQ(authority_->Tick().status(), answer_);
  EXPECT_EQ(authority_->Roots(), old);
  EXPECT_THAT(Take(), IsEmpty());
  answer_ = absl::OkStatus();
  EXPECT_TRUE(Tick());
  EXPECT_THAT(Take(), ElementsAre("authority-rotated ca"));
  EXPECT_FALSE(Tick());
  EXPECT_THAT(Take(), IsEmpty());
  clock_.Advance(kLeaf);
  on_record_ = [&] { EXPECT_TRUE(*files_->Exists(root_ + "/key.pem")); };
  answer_ = absl::UnavailableError("the audit log cannot be written");
  EXPECT_FALSE(authority_->Tick().ok());
  EXPECT_TRUE(*files_->Exists(root_ + "/key.pem"));
  answer_ = absl::OkStatus();
  EXPECT_TRUE(Tick());
  EXPECT_FALSE(*files_->Exists(root_ + "/key.pem"));
  EXPECT_THAT(Take(), ElementsAre("authority-key-destroyed ca"));
  ASSERT_TRUE(authority_->Rotate().ok());
  EXPECT_THAT(Take(), IsEmpty()) << "whoever asks for it records it";
}

TEST_F(AuthorityTest, AClockThatGoesBackBringsNoOldKeyBack) {
  ASSERT_TRUE(authority_->Rotate().ok());
  clock_.Advance(kLeaf);
  Tick();
  const std::string signer = authority_->Signer();
  clock_.SetWall(clock_.Now() - absl::Hours(20));
  Open();
  EXPECT_EQ(authority_->Signer(), signer);
  EXPECT_TRUE(Leads(Issue(), authority_->Roots()));
}

TEST_F(AuthorityTest, WithoutAKeyItSaysSoAndDoesNotSign) {
  ASSERT_TRUE(authority_->Rotate().ok());
  clock_.Advance(kLeaf);
  Tick();
  authority_.reset();
  ASSERT_TRUE(files_->Remove(root_ + "/gen-2/key.pem").ok());
  auto opened = Authority::Open(files_, &clock_, root_, "acme", {.leaf_life = kLeaf});
  EXPECT_TRUE(absl::IsDataLoss(opened.status())) << opened.status();
}

TEST_F(AuthorityTest, TheCoordinatorsOwnCertificateIsRenewedWithANewKeyAndByTheNewCa) {
  OwnCertificate own(files_, &clock_, authority_.get(), root_ + "/tls", "acme", "", record_);
  ASSERT_TRUE(own.Tick().ok());
  auto read = [&](const char* name) { return *os::ReadFile(files_, own.directory() + "/" + name); };
  const std::string key = read("key.pem");
  EXPECT_THAT(Take(), ElementsAre("certificate-renewed coordinator"));
  clock_.Advance(kLeaf / 4);
  ASSERT_TRUE(own.Tick().ok());
  EXPECT_EQ(read("key.pem"), key);
  EXPECT_THAT(Take(), IsEmpty());
  clock_.Advance(kLeaf * 0.4);
  on_record_ = [&] { EXPECT_EQ(read("key.pem"), key) << "the old one is shown still"; };
  answer_ = absl::UnavailableError("the audit log cannot be written");
  EXPECT_EQ(own.Tick(), answer_);
  answer_ = absl::OkStatus();
  ASSERT_TRUE(own.Tick().ok());
  on_record_ = nullptr;
  EXPECT_THAT(Take(), ElementsAre("certificate-renewed coordinator"));
  EXPECT_NE(read("key.pem"), key);
  ASSERT_TRUE(authority_->Rotate().ok());
  ASSERT_TRUE(own.Tick().ok());
  EXPECT_EQ(identity::SplitPem(read("ca.pem"), 16, true)->size(), 2u);
  clock_.Advance(kLeaf);
  Tick();
  ASSERT_TRUE(own.Tick().ok());
  EXPECT_TRUE(Leads(read("cert.pem"), authority_->Signer()));
}

TEST_F(AuthorityTest, ACertificateOfSomebodyElseIsTakenOnceItWorks) {
  const std::string outside = root_ + "/outside";
  OwnCertificate own(files_, &clock_, authority_.get(), root_ + "/tls", "acme", outside, record_);
  EXPECT_TRUE(absl::IsNotFound(own.Tick()));
  const identity::CertificateAuthority other = *identity::NewAuthority("acme", clock_.Now(), absl::Hours(99));
  auto put = [&](const identity::SpiffeId& id) {
    auto key = *identity::NewTlsKey();
    const std::string chain = *identity::IssueCertificate(other, key.csr_der, id, clock_.Now(), absl::Hours(1));
    EXPECT_TRUE(files_->MakeDirs(outside).ok());
    EXPECT_TRUE(os::WriteFileAtomically(files_, outside + "/tls.crt", chain).ok());
    EXPECT_TRUE(os::WriteFileAtomically(files_, outside + "/tls.key", key.private_key_pem).ok());
    EXPECT_TRUE(os::WriteFileAtomically(files_, outside + "/ca.crt", other.certificate_pem).ok());
    return chain;
  };
  put(kFactory);
  EXPECT_FALSE(own.Tick().ok()) << "an agent's name";
  EXPECT_THAT(Take(), IsEmpty());
  const std::string good = put({identity::Kind::kCoordinator, "acme", "", "", ""});
  ASSERT_TRUE(own.Tick().ok());
  EXPECT_THAT(Take(), ElementsAre("certificate-installed coordinator", "certificate-renewed coordinator"))
      << "that of somebody else, and the one that the join port shows";
  EXPECT_EQ(*os::ReadFile(files_, own.directory() + "/cert.pem"), good);
  EXPECT_TRUE(Leads(*os::ReadFile(files_, own.join_directory() + "/cert.pem"), first_.certificate_pem))
      << "for who joins";
  EXPECT_THAT(own.Roots(), HasSubstr(other.certificate_pem));
  EXPECT_THAT(own.Roots(), HasSubstr(first_.certificate_pem));
  ASSERT_TRUE(os::WriteFileAtomically(files_, outside + "/tls.key", identity::NewTlsKey()->private_key_pem).ok());
  EXPECT_FALSE(own.Tick().ok()) << "half of a pair";
  EXPECT_THAT(Take(), IsEmpty());
  EXPECT_EQ(*os::ReadFile(files_, own.directory() + "/cert.pem"), good);
}

}  // namespace
}  // namespace bailiwick::coordinator
