#include "common/doctor/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "common/os/files.h"

namespace bailiwick::doctor {
namespace {

using ::testing::HasSubstr;

Finding Only(const std::function<void(Report&)>& check, size_t index = 0) {
  Report report;
  check(report);
  EXPECT_GT(report.findings().size(), index);
  return report.findings().at(index);
}

TEST(JudgeTest, EachNumberIsOkOrTooSmallByDegrees) {
  using Judgement = void (*)(Report&, uint64_t);
  const struct {
    Judgement judge;
    uint64_t ok, warn, fail;
  } rows[] = {{JudgeOpenFiles, 4096, 4095, 511},
              {JudgeProcesses, os::kNoLimit, 511, 127},
              {JudgeMemory, kGiB, kGiB - 1, 256 * kMiB - 1}};
  for (const auto& row : rows) {
    EXPECT_EQ(Only([&](Report& r) { row.judge(r, row.ok); }).verdict, Verdict::kOk);
    EXPECT_EQ(Only([&](Report& r) { row.judge(r, row.warn); }).verdict, Verdict::kWarn);
    const Finding fail = Only([&](Report& r) { row.judge(r, row.fail); });
    EXPECT_EQ(fail.verdict, Verdict::kFail);
    EXPECT_THAT(fail.remedy, HasSubstr("raise"));
  }
}

TEST(JudgeTest, SpaceIsMeasuredByTheReserveAndByTheWhole) {
  os::Space space{
      .free_bytes = 100 * kGiB, .total_bytes = 1000 * kGiB, .free_inodes = 1 << 20, .total_inodes = 1 << 21};
  auto disk = [&space](Report& r) { JudgeSpace(r, "/data", space); };
  EXPECT_EQ(Only(disk).verdict, Verdict::kOk);
  space.free_bytes = 40 * kGiB;
  EXPECT_EQ(Only(disk).verdict, Verdict::kWarn);
  space.free_bytes = kGiB - 1;
  EXPECT_EQ(Only(disk).verdict, Verdict::kFail);
  EXPECT_EQ(Only(disk, 1).verdict, Verdict::kOk);
  space.free_bytes = 49 * kGiB;
  space.total_bytes = 200 * kGiB;
  EXPECT_EQ(Only(disk).verdict, Verdict::kOk);
  auto reserved = [&space](Report& r) { JudgeSpace(r, "/data", space, "", 50 * kGiB); };
  EXPECT_EQ(Only(reserved).verdict, Verdict::kFail) << "an agent that leaves 50 GiB takes nothing more";
  EXPECT_THAT(Only(reserved).remedy, HasSubstr("50.0 GiB, lower diskReserve"));
  space.total_bytes = 512 << 20;
  space.free_bytes = 500 << 20;
  EXPECT_EQ(Only(disk).verdict, Verdict::kOk) << "a small disk is no full one";
  space.free_bytes = 50 << 20;
  EXPECT_EQ(Only(disk).verdict, Verdict::kFail);
  EXPECT_THAT(Only(disk).remedy, HasSubstr("free at least 128.0 MiB"));
  space.free_inodes = 9'999;
  EXPECT_EQ(Only(disk, 1).verdict, Verdict::kWarn);
  space.free_inodes = 0;
  EXPECT_EQ(Only(disk, 1).verdict, Verdict::kFail);
  space.total_inodes = 0;  // Btrfs
  EXPECT_EQ(Only(disk, 1).verdict, Verdict::kOk);
}

TEST(JudgeTest, FewWatchesAreAWarning) {
  EXPECT_EQ(Only([](Report& r) { JudgeWatches(r, 1 << 20, 128); }).verdict, Verdict::kOk);
  EXPECT_EQ(Only([](Report& r) { JudgeWatches(r, 8192, 128); }).verdict, Verdict::kWarn);
  EXPECT_EQ(Only([](Report& r) { JudgeWatches(r, 1 << 20, 4); }).verdict, Verdict::kWarn);
}

class FilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(os::Files::System()->MakeDirs(directory_).ok());
    ASSERT_TRUE(os::WriteFileAtomically(os::Files::System(), key_, "secret").ok());
  }
  void TearDown() override { EXPECT_TRUE(os::Files::System()->RemoveTree(directory_).ok()); }
  const std::string directory_ = absl::StrCat(::testing::TempDir(), "/doctor-", ::getpid());
  const std::string key_ = os::JoinPath(directory_, "key.pem");
};

TEST_F(FilesTest, KeysAreForTheirOwnersAlone) {
  auto look = [this](Report& r) { CheckKeyFile(r, "tls", key_); };
  EXPECT_EQ(Only(look).verdict, Verdict::kOk);
  ASSERT_EQ(::chmod(key_.c_str(), 0640), 0);
  EXPECT_EQ(Only(look).verdict, Verdict::kFail);
  EXPECT_THAT(Only(look).remedy, HasSubstr(absl::StrCat("chmod 600 ", key_)));
  ASSERT_EQ(::unlink(key_.c_str()), 0);
  EXPECT_EQ(Only(look).verdict, Verdict::kFail);
  Report optional;
  CheckKeyFile(optional, "tls", key_, true);
  EXPECT_TRUE(optional.findings().empty());
}

TEST_F(FilesTest, NobodyElseWritesWhereDataLies) {
  auto look = [this](Report& r) { CheckOwners(r, {directory_, directory_ + "/nothing", key_}); };
  EXPECT_EQ(Only(look).verdict, Verdict::kOk);
  ASSERT_EQ(::chmod(directory_.c_str(), 0777), 0);
  EXPECT_THAT(Only(look).remedy, HasSubstr("chmod go-w"));
  EXPECT_EQ(Only(look).verdict, Verdict::kFail);
}

TEST_F(FilesTest, ADirectoryThatTakesNoFilesIsNoPlaceForData) {
  Report proc;
  CheckDisk(proc, "/proc");
  const auto found = std::find_if(proc.findings().begin(), proc.findings().end(),
                                  [](const Finding& f) { return f.check == "file system"; });
  ASSERT_NE(found, proc.findings().end());
  EXPECT_EQ(found->verdict, Verdict::kFail);
  Report missing;
  CheckDisk(missing, directory_ + "/nothing");
  EXPECT_EQ(missing.ExitCode(), 1);
}

}  // namespace
}  // namespace bailiwick::doctor
