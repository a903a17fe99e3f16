#include "common/os/host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/os/files.h"

namespace bailiwick::os {
namespace {

class HostTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(Files::System()->MakeDirs(directory_).ok()); }
  void TearDown() override { EXPECT_TRUE(Files::System()->RemoveTree(directory_).ok()); }
  const std::string directory_ = absl::StrCat(::testing::TempDir(), "/host-", ::getpid());
};

TEST_F(HostTest, SpaceAndKindAreThoseOfTheFileSystem) {
  auto space = SpaceOf(directory_);
  ASSERT_TRUE(space.ok()) << space.status();
  EXPECT_GT(space->total_bytes, space->free_bytes);
  EXPECT_TRUE(absl::IsNotFound(SpaceOf(directory_ + "/nothing").status()));
  auto proc = FileSystemOf("/proc");
  ASSERT_TRUE(proc.ok());
  EXPECT_EQ(proc->type, "0x9fa0");  // none that data lies on
  EXPECT_FALSE(proc->network);
}

TEST_F(HostTest, TryingADirectoryLeavesNothingBehind) {
  const Abilities can = TryDirectory(directory_);
  EXPECT_TRUE(can.write.ok() && can.sync.ok() && can.rename.ok() && can.hard_link.ok()) << can.write << can.sync;
  EXPECT_THAT(*Files::System()->List(directory_), ::testing::IsEmpty());
  EXPECT_FALSE(TryDirectory("/proc").write.ok());
}

TEST_F(HostTest, ALockFileNamesWhoRunsUnderItsNumber) {
  const std::string lock = JoinPath(directory_, "lock");
  EXPECT_FALSE(LockHolder(lock, "").has_value());
  std::ofstream(lock) << ::getpid() << "\n";
  char name[16] = {};
  ASSERT_EQ(::prctl(PR_GET_NAME, name), 0);
  EXPECT_EQ(LockHolder(lock, name), ::getpid());
  EXPECT_FALSE(LockHolder(lock, "somebody-else").has_value());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t ended;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  std::ofstream(lock) << child << "\n";
  EXPECT_FALSE(LockHolder(lock, "").has_value());
  ::waitpid(child, nullptr, 0);
  std::ofstream(lock) << "4194304000\n";
  EXPECT_FALSE(LockHolder(lock, "").has_value());
}

TEST_F(HostTest, LimitsAreRead) {
  auto files = OpenFilesLimit(0);
  ASSERT_TRUE(files.ok());
  EXPECT_GT(*files, 0u);
  EXPECT_EQ(*OpenFilesLimit(::getpid()), *files);
  EXPECT_GT(KernelSetting("fs.inotify.max_user_watches").value_or(0), 0u);
  EXPECT_TRUE(absl::IsUnavailable(KernelSetting("fs.inotify.no_such_thing").status()));
  EXPECT_GT(MachineMemory(), 0u);
  EXPECT_EQ(GroupLimit(0, "no.such.file"), kNoLimit);
}

TEST_F(HostTest, OwnersHaveNames) {
  auto owner = OwnerOf(directory_);
  ASSERT_TRUE(owner.ok());
  EXPECT_EQ(owner->uid, ::getuid());
  EXPECT_EQ(owner->mode, 0700u);
  EXPECT_EQ(UserName(0), "root");
  EXPECT_EQ(UserName(3'999'999'999), "3999999999");
}

}  // namespace
}  // namespace bailiwick::os
