#include "services/coordinator/core/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "services/coordinator/ca/authority.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::HasSubstr;

class KeysTest : public ::testing::Test {
 protected:
  KeysTest() {
    char path[] = "/tmp/bw-keys-XXXXXX";
    base_ = ::mkdtemp(path);
    data_ = base_ + "/data";
    admin_ = base_ + "/admin";
  }
  ~KeysTest() override { EXPECT_TRUE(files_->RemoveTree(base_).ok()); }
  absl::Status Init() { return InitKeys(files_, &clock_, data_, "acme", admin_, "admin"); }
  absl::Status Keep() { return KeepAdmin(files_, &clock_, data_, admin_, "admin"); }
  std::string Read(const std::string& name) { return *os::ReadFile(files_, admin_ + "/" + name); }

  os::Files* const files_ = os::Files::System();
  os::FakeClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  std::string base_, data_, admin_;
};

TEST_F(KeysTest, AnInitThatWasCompletedIsFoundAgain) {
  EXPECT_FALSE(*HoldsCoordinator(files_, data_, "acme"));
  ASSERT_TRUE(Init().ok());
  EXPECT_TRUE(*HoldsCoordinator(files_, data_, "acme"));
  EXPECT_THAT(HoldsCoordinator(files_, data_, "other").status().message(), HasSubstr("of acme, not of other"));
  EXPECT_TRUE(absl::IsFailedPrecondition(Init()));
  ASSERT_TRUE(files_->Remove(data_ + "/format").ok());  // it was interrupted
  EXPECT_FALSE(*HoldsCoordinator(files_, data_, "acme"));
  EXPECT_TRUE(Init().ok());
}

TEST_F(KeysTest, AKeyOfSomebodyElseIsNotWrittenOver) {
  ASSERT_TRUE(Init().ok());
  const std::string key = Read("key.pem"), cert = Read("cert.pem");
  const absl::Status other = InitKeys(files_, &clock_, base_ + "/other", "emca", admin_, "admin");
  EXPECT_TRUE(absl::IsFailedPrecondition(other)) << other;
  EXPECT_THAT(other.message(), HasSubstr("--admin-dir"));
  EXPECT_TRUE(absl::IsFailedPrecondition(InitKeys(files_, &clock_, base_ + "/again", "acme", admin_, "admin")));
  EXPECT_FALSE(*files_->Exists(base_ + "/other"));
  ASSERT_TRUE(InitKeys(files_, &clock_, base_ + "/other", "emca", base_ + "/theirs", "admin").ok());
  const absl::Status kept = KeepAdmin(files_, &clock_, base_ + "/other", admin_, "admin");
  EXPECT_TRUE(absl::IsFailedPrecondition(kept)) << kept;
  EXPECT_THAT(kept.message(), HasSubstr("spiffe://acme/admin/admin"));
  EXPECT_EQ(Read("key.pem"), key);
  EXPECT_EQ(Read("cert.pem"), cert);
}

TEST_F(KeysTest, TheAdminsCredentialsAreMadeAnewInTimeAndWhenTheyAreGone) {
  ASSERT_TRUE(Init().ok());
  const std::string first = Read("cert.pem");
  ASSERT_TRUE(Keep().ok());
  EXPECT_EQ(Read("cert.pem"), first);
  clock_.Advance(absl::Hours(24 * 300));
  {
    auto lock = files_->Lock(data_ + "/lock");
    EXPECT_TRUE(absl::IsFailedPrecondition(Keep())) << "a process serves from there";
  }
  ASSERT_TRUE(Keep().ok());
  const std::string second = Read("cert.pem");
  EXPECT_NE(second, first);
  EXPECT_TRUE(identity::CheckPair(second, Read("key.pem")).ok());
  EXPECT_EQ(identity::InspectCertificate(second)->uri, "spiffe://acme/admin/admin");
  EXPECT_GT(identity::InspectCertificate(second)->not_after, clock_.Now() + absl::Hours(24 * 364));
  ASSERT_TRUE(files_->RemoveTree(admin_).ok());
  ASSERT_TRUE(Keep().ok());
  EXPECT_TRUE(identity::CheckPair(Read("cert.pem"), Read("key.pem")).ok());
  EXPECT_EQ(Read("ca.pem"), (*Authority::Open(files_, &clock_, data_ + "/ca", "acme", {}))->Roots());
}

}  // namespace
}  // namespace bailiwick::coordinator
