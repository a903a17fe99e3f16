#include "common/os/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/os/clock.h"
#include "common/os/fault_files.h"
#include "common/os/random.h"

namespace bailiwick::os {
namespace {

class FilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = ::testing::TempDir() + "bw-files-" + std::to_string(::getpid()) + "-" + info->name();
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }

  Files* files_ = Files::System();
  std::string root_;
};

TEST_F(FilesTest, WritesReadsAndRefusesAsDocumented) {
  const std::string path = root_ + "/a";
  EXPECT_TRUE(absl::IsNotFound(files_->OpenRead(path).status()));
  EXPECT_TRUE(absl::IsNotFound(files_->OpenReadWrite(path, false).status()));
  {
    auto file = files_->CreateNew(path);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE((*file)->WriteAt(3, "def").ok());
    EXPECT_TRUE((*file)->WriteAt(0, "abc").ok());
    EXPECT_TRUE((*file)->Sync().ok());
    EXPECT_EQ(*(*file)->Size(), 6u);
    char buffer[16];
    EXPECT_EQ(*(*file)->ReadAt(2, buffer, sizeof buffer), 4u);
    EXPECT_EQ(std::string(buffer, 4), "cdef");
    EXPECT_TRUE((*file)->Truncate(2).ok());
  }
  EXPECT_EQ(*ReadFile(files_, path), "ab");
  EXPECT_TRUE(absl::IsAlreadyExists(files_->CreateNew(path).status()));
  EXPECT_TRUE(absl::IsOutOfRange(ReadFile(files_, path, 1).status()));
  EXPECT_EQ(*ReadFile(files_, path, 2), "ab");
  EXPECT_FALSE(ReadFile(files_, root_).ok());
  struct stat st;
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_TRUE(files_->Rename(path, root_ + "/b").ok());
  EXPECT_FALSE(*files_->Exists(path));
  EXPECT_TRUE(*files_->Exists(root_ + "/b"));
  EXPECT_EQ(*files_->List(root_), std::vector<std::string>{"b"});
  EXPECT_TRUE(files_->Remove(root_ + "/b").ok());
  EXPECT_TRUE(absl::IsNotFound(files_->Remove(root_ + "/b")));
  EXPECT_GT(*files_->FreeBytes(root_), 0u);
}

TEST_F(FilesTest, MakeDirsMakesParentsAndRefusesFiles) {
  EXPECT_TRUE(files_->MakeDirs(root_ + "/x/y//z/").ok());
  EXPECT_TRUE(files_->MakeDirs(root_ + "/x/y/z").ok());
  struct stat st;
  ASSERT_EQ(::stat((root_ + "/x/y/z").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  ASSERT_TRUE(WriteFileAtomically(files_, root_ + "/file", "x").ok());
  EXPECT_FALSE(files_->MakeDirs(root_ + "/file").ok());
  EXPECT_FALSE(files_->MakeDirs(root_ + "/file/below").ok());
}

TEST_F(FilesTest, RemoveTreeIsDeepAndDoesNotFollowLinks) {
  ASSERT_TRUE(files_->MakeDirs(root_ + "/outside").ok());
  ASSERT_TRUE(WriteFileAtomically(files_, root_ + "/outside/kept", "kept").ok());
  ASSERT_TRUE(files_->MakeDirs(root_ + "/tree/a/b").ok());
  ASSERT_EQ(::symlink((root_ + "/outside").c_str(), (root_ + "/tree/a/link").c_str()), 0);
  ASSERT_EQ(::chmod((root_ + "/tree/a").c_str(), 0500), 0);
  EXPECT_TRUE(files_->RemoveTree(root_ + "/tree").ok());
  EXPECT_FALSE(*files_->Exists(root_ + "/tree"));
  EXPECT_EQ(*ReadFile(files_, root_ + "/outside/kept"), "kept");
  EXPECT_TRUE(files_->RemoveTree(root_ + "/tree").ok()) << "missing is fine";
  ASSERT_EQ(::symlink((root_ + "/outside").c_str(), (root_ + "/top").c_str()), 0);
  EXPECT_TRUE(files_->RemoveTree(root_ + "/top").ok());
  EXPECT_TRUE(*files_->Exists(root_ + "/outside/kept"));
  EXPECT_FALSE(files_->RemoveTree("/").ok());
  EXPECT_FALSE(files_->RemoveTree(root_ + "/outside/..").ok());
}

TEST_F(FilesTest, RemoveTreeTakesDirectoriesWithMoreNamesThanItListsAtOnce) {
  constexpr int kNames = 70'000;
  for (const char* name : {"/many/a", "/many/many"}) ASSERT_TRUE(files_->MakeDirs(root_ + name).ok());
  for (int i = 0; i < kNames; ++i) {
    const std::string path = absl::StrCat(root_, "/many/many/", i);
    ASSERT_EQ(::mknod(path.c_str(), S_IFREG | 0600, 0), 0);
  }
  EXPECT_TRUE(files_->RemoveTree(root_ + "/many").ok());
  EXPECT_FALSE(*files_->Exists(root_ + "/many"));
}

TEST_F(FilesTest, LockIsHeldUntilDestroyedAndNamesTheHolder) {
  auto first = files_->Lock(root_ + "/lock");
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = files_->Lock(root_ + "/lock");
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_NE(second.status().ToString().find("pid " + std::to_string(::getpid())), std::string::npos) << second.status();
  first->reset();
  EXPECT_TRUE(files_->Lock(root_ + "/lock").ok());
}

// Old or new, never half: whatever operation fails, and wherever the power goes.
TEST_F(FilesTest, WriteFileAtomicallyUnderEveryFault) {
  const std::string path = root_ + "/d/file", old_text(5000, 'o'), new_text(9000, 'n');
  ASSERT_TRUE(files_->MakeDirs(root_ + "/d").ok());
  ASSERT_TRUE(WriteFileAtomically(files_, path, old_text).ok());
  uint64_t total = 0;
  {
    FaultFiles faults(files_, root_);
    ASSERT_TRUE(WriteFileAtomically(&faults, path, old_text).ok());
    total = faults.operations();
  }
  ASSERT_GE(total, 5u);
  for (uint64_t n = 1; n <= total; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    FaultFiles faults(files_, root_);
    faults.FailAt(n, absl::ResourceExhaustedError("disk full"));
    absl::Status status = WriteFileAtomically(&faults, path, new_text);
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    std::string after = *ReadFile(&faults, path);
    EXPECT_TRUE(after == old_text || after == new_text);
    EXPECT_EQ(faults.List(root_ + "/d")->size(), 1u) << "no temporary file is left";
    ASSERT_TRUE(WriteFileAtomically(&faults, path, old_text).ok());
  }
  for (uint64_t n = 0; n <= total; ++n) {
    for (bool keep : {false, true}) {
      SCOPED_TRACE("power loss after " + std::to_string(n) + (keep ? ", all kept" : ""));
      FaultFiles faults(files_, root_);
      faults.StopAfter(n);
      bool acknowledged = WriteFileAtomically(&faults, path, new_text).ok();
      EXPECT_EQ(acknowledged, n == total);
      ASSERT_TRUE((keep ? faults.KeepUnsynced() : faults.DropUnsynced()).ok());
      std::string after = *ReadFile(&faults, path);
      EXPECT_TRUE(after == new_text || (!acknowledged && after == old_text));
      ASSERT_TRUE(WriteFileAtomically(&faults, path, old_text).ok());
    }
  }
}

TEST(Paths, Join) {
  EXPECT_EQ(JoinPath("/a", "b"), "/a/b");
  EXPECT_EQ(JoinPath("/a/", "/b"), "/a/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(JoinPath("a", ""), "a");
}

TEST(Entropy, FillsAll) {
  EXPECT_NE(Random::System()->Bytes(32), Random::System()->Bytes(32));
  EXPECT_EQ(Random::System()->Bytes(0), "");
}

TEST(Clocks, BootTimeDoesNotGoBackAndTheFakeMovesOnlyWhenTold) {
  absl::Duration before = Clock::System()->BootTime();
  EXPECT_GE(Clock::System()->BootTime(), before);
  EXPECT_GT(Clock::System()->Now(), absl::FromUnixSeconds(1'700'000'000));
  FakeClock fake;
  absl::Time start = fake.Now();
  fake.SleepFor(absl::Seconds(5));
  EXPECT_EQ(fake.Now() - start, absl::Seconds(5));
}

}  // namespace
}  // namespace bailiwick::os
