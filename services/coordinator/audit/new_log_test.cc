// A log that is ended and the one that follows it: power is lost at every operation.
#include "services/coordinator/audit/new_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/audit/log.h"
#include "common/audit/verify.h"
#include "common/os/fault_files.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::HasSubstr;

class NewLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(::testing::TempDir(), "/bw-new-log-", getpid(), "-",
                              ::testing::UnitTest::GetInstance()->current_test_info()->name());
    Clean();
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(directory_).ok()); }

  void Clean() {
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
  }
  std::unique_ptr<audit::Log> Open(os::Files* files) {
    auto log = audit::Log::Open(files, &clock_, os::Random::System(), directory_ + "/audit");
    EXPECT_TRUE(log.ok()) << log.status();
    if (!log.ok()) return nullptr;
    EXPECT_TRUE((*log)->SignAs("acme/coordinator", key_).ok());
    return *std::move(log);
  }
  // The origin of a log of some records.
  std::string Fill() {
    auto log = Open(files_);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(log->Append("policy-applied", "policy", "{}").ok());
    return log->origin();
  }
  absl::StatusOr<NewLog> Begin(os::Files* files) {
    return BeginNewLog(files, &clock_, os::Random::System(), directory_, "acme/coordinator", key_, "put back from May");
  }
  audit::Finding Finding(const std::string& path, const std::string& origin) {
    const audit::NoteKey key = {origin, audit::NoteKey::Type::kLog, key_.public_key()};
    auto trust = audit::Trust::Parse(absl::StrCat("log ", key.ToVkey(), "\nquorum none\n"), "trust");
    EXPECT_TRUE(trust.ok()) << trust.status();
    auto verdict = audit::VerifyLog(files_, path, *trust);
    EXPECT_TRUE(verdict.ok()) << verdict.status();
    return verdict.ok() ? verdict->finding : audit::Finding::kTampered;
  }

  os::Files* files_ = os::Files::System();
  os::FakeClock clock_;
  std::string directory_;
  const crypto::SigningKey key_ = *crypto::SigningKey::Generate();
};

TEST_F(NewLogTest, NamesTheOneBeforeWhichStaysWhole) {
  EXPECT_TRUE(absl::IsNotFound(Begin(files_).status())) << "none is made where none is";
  const std::string before = Fill();
  auto begun = Begin(files_);
  ASSERT_TRUE(begun.ok()) << begun.status();
  EXPECT_EQ(begun->before.origin, before);
  EXPECT_EQ(begun->before.size, 4u);
  EXPECT_EQ(begun->now.size, 2u);
  EXPECT_EQ(Finding(begun->kept, before), audit::Finding::kTrue);
  EXPECT_EQ(Finding(directory_ + "/audit", begun->now.origin), audit::Finding::kTrue);
  auto log = Open(files_);
  ASSERT_NE(log, nullptr);
  EXPECT_NE(log->origin(), before);
  EXPECT_EQ(log->origin(), begun->now.origin);
  auto records = log->Read(0, 10);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ(records->at(1).kind, kLogBegunAnew);
  for (const std::string& said :
       {before, begun->before.root.Hex(), std::string("\"size\":4"), std::string("from May")}) {
    EXPECT_THAT(records->at(1).detail, HasSubstr(said));
  }
  log.reset();
  auto again = Begin(files_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->before.origin, begun->now.origin) << "each names the one before it";
}

TEST_F(NewLogTest, EitherLogIsInItsPlaceWheneverPowerIsLost) {
  for (const bool keep : {false, true}) {
    bool finished = false;
    for (uint64_t n = 0; !finished; ++n) {
      ASSERT_LT(n, 1000u);
      SCOPED_TRACE(absl::StrCat(keep ? "kept" : "dropped", " after ", n));
      Clean();
      const std::string before = Fill();
      os::FaultFiles faults(files_, directory_);
      faults.StopAfter(n);
      finished = Begin(&faults).ok();
      ASSERT_TRUE((keep ? faults.KeepUnsynced() : faults.DropUnsynced()).ok());
      const absl::Status mended = FinishNewLog(&faults, directory_);
      ASSERT_TRUE(mended.ok()) << mended;
      std::string now;
      {
        auto log = Open(&faults);
        ASSERT_NE(log, nullptr);
        now = log->origin();
        ASSERT_TRUE(log->Append("policy-applied", "policy", "{}").ok());
        if (now != before) {
          auto records = log->Read(1, 1);
          ASSERT_TRUE(records.ok() && records->size() == 1) << records.status();
          EXPECT_THAT(records->at(0).detail, HasSubstr(before)) << "no log that does not name the one before it";
        }
      }
      EXPECT_EQ(Finding(directory_ + "/audit", now), audit::Finding::kTrue);
      if (now == before) {
        EXPECT_FALSE(finished);
        const auto again = Begin(&faults);
        EXPECT_TRUE(again.ok()) << again.status();
      }
      EXPECT_EQ(Finding(absl::StrCat(directory_, "/audit-before-", before.substr(before.rfind('/') + 1)), before),
                audit::Finding::kTrue);
    }
  }
}

}  // namespace
}  // namespace bailiwick::coordinator
