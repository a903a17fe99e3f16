#include "common/os/fault_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace bailiwick::os {
namespace {

class FaultFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = ::testing::TempDir() + "bw-faults-" + std::to_string(::getpid()) + "-" + info->name();
    ASSERT_TRUE(Files::System()->RemoveTree(root_).ok());
    ASSERT_TRUE(Files::System()->MakeDirs(root_).ok());
    ASSERT_TRUE(WriteFileAtomically(Files::System(), root_ + "/old", "old").ok());
    faults_ = std::make_unique<FaultFiles>(Files::System(), root_);
  }
  void TearDown() override { EXPECT_TRUE(Files::System()->RemoveTree(root_).ok()); }

  std::string root_;
  std::unique_ptr<FaultFiles> faults_;
};

TEST_F(FaultFilesTest, UnsyncedBytesAreLostSyncedOnesStay) {
  auto file = faults_->OpenReadWrite(root_ + "/old", false);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(faults_->operations(), 0u) << "opening what exists changes nothing";
  ASSERT_TRUE((*file)->WriteAt(0, "new").ok());
  ASSERT_TRUE((*file)->Sync().ok());
  ASSERT_TRUE((*file)->WriteAt(3, "er").ok());
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/old"), "newer");
  ASSERT_TRUE(faults_->DropUnsynced().ok());
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/old"), "new");
  EXPECT_FALSE((*file)->WriteAt(0, "x").ok()) << "opened before the restart";
  EXPECT_FALSE((*file)->Size().ok());
}

TEST_F(FaultFilesTest, NamesNeedTheirDirectorySynced) {
  {
    auto a = faults_->CreateNew(root_ + "/a");
    auto b = faults_->CreateNew(root_ + "/b");
    ASSERT_TRUE(a.ok() && b.ok());
    ASSERT_TRUE((*a)->WriteAt(0, "aaa").ok());
    ASSERT_TRUE((*a)->Sync().ok());
    ASSERT_TRUE(faults_->SyncDir(root_).ok());
    ASSERT_TRUE((*b)->WriteAt(0, "never synced").ok());
  }
  ASSERT_TRUE(faults_->CreateNew(root_ + "/c").ok());
  ASSERT_TRUE(faults_->Rename(root_ + "/a", root_ + "/renamed").ok());
  ASSERT_TRUE(faults_->Remove(root_ + "/old").ok());
  ASSERT_TRUE(faults_->DropUnsynced().ok());
  EXPECT_EQ(*faults_->List(root_), (std::vector<std::string>{"a", "b", "old"}));
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/a"), "aaa");
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/b"), "");
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/old"), "old");
}

TEST_F(FaultFilesTest, RenameAcrossDirectoriesIsTwoChanges) {
  ASSERT_TRUE(faults_->MakeDirs(root_ + "/one/two").ok());
  ASSERT_TRUE(faults_->Rename(root_ + "/old", root_ + "/one/two/new").ok());
  ASSERT_TRUE(faults_->SyncDir(root_ + "/one/two").ok());
  ASSERT_TRUE(faults_->DropUnsynced().ok());
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/old"), "old");
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/one/two/new"), "old");
}

TEST_F(FaultFilesTest, RemoveTreeComesBackUnlessSynced) {
  ASSERT_TRUE(faults_->MakeDirs(root_ + "/dir").ok());
  ASSERT_TRUE(WriteFileAtomically(faults_.get(), root_ + "/dir/x", "x").ok());
  ASSERT_TRUE(faults_->RemoveTree(root_ + "/dir").ok());
  ASSERT_TRUE(faults_->DropUnsynced().ok());
  EXPECT_EQ(*ReadFile(faults_.get(), root_ + "/dir/x"), "x");
  ASSERT_TRUE(faults_->RemoveTree(root_ + "/dir").ok());
  ASSERT_TRUE(faults_->SyncDir(root_).ok());
  ASSERT_TRUE(faults_->DropUnsynced().ok());
  EXPECT_FALSE(*faults_->Exists(root_ + "/dir"));
}

TEST_F(FaultFilesTest, FailsOnceOrFromThenOnAndAFailedSyncIsFinal) {
  auto file = faults_->OpenReadWrite(root_ + "/old", false);
  ASSERT_TRUE(file.ok());
  faults_->FailAt(2, absl::DataLossError("EIO"));
  EXPECT_TRUE((*file)->WriteAt(0, "1").ok());
  EXPECT_TRUE(absl::IsDataLoss((*file)->Sync()));
  EXPECT_FALSE((*file)->Sync().ok());
  EXPECT_FALSE((*file)->WriteAt(0, "2").ok());
  EXPECT_TRUE(faults_->SyncDir(root_).ok()) << "only once";
  faults_->ResetOperations();
  faults_->FailAt(1, absl::ResourceExhaustedError("full"), /*from_then_on=*/true);
  EXPECT_FALSE(faults_->CreateNew(root_ + "/n").ok());
  EXPECT_FALSE(faults_->CreateNew(root_ + "/n").ok());
  EXPECT_EQ(faults_->operations(), 2u);
  faults_->ClearFaults();
  EXPECT_TRUE(faults_->CreateNew(root_ + "/n").ok());
}

TEST_F(FaultFilesTest, PowerLossStopsEverything) {
  faults_->StopAfter(1);
  EXPECT_TRUE(faults_->CreateNew(root_ + "/a").ok());
  EXPECT_FALSE(faults_->CreateNew(root_ + "/b").ok());
  EXPECT_FALSE(faults_->OpenRead(root_ + "/old").ok());
  ASSERT_TRUE(faults_->KeepUnsynced().ok());
  EXPECT_EQ(*faults_->List(root_), (std::vector<std::string>{"a", "old"}));
}

TEST_F(FaultFilesTest, RefusesPathsOutside) {
  EXPECT_FALSE(faults_->OpenReadWrite(root_ + "/../x", true).ok());
  EXPECT_FALSE(faults_->OpenReadWrite(root_ + "x", true).ok());
  EXPECT_FALSE(faults_->CreateNew("/tmp/x").ok());
}

}  // namespace
}  // namespace bailiwick::os
