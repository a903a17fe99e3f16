// What makes no version: sources that are not what they were, or cannot be read.
#include <gmock/gmock.h>

#include <cstdlib>
#include <iostream>

#include "services/agent/home/committer_fixture.h"
#include "services/agent/home/source_memory.h"
#include "services/agent/home/source_watch.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(CommitterTest, BadSourcesMakeNoVersion) {
  WriteText(At("x"), "1");
  CommitOutcome first = MustCommit();
  SourceSpec spec = Spec();
  spec.path = temp_ / "missing";
  EXPECT_EQ(dataset_.Commit(spec).status().code(), absl::StatusCode::kNotFound);
  spec.path = At("x");
  EXPECT_EQ(dataset_.Commit(spec).status().code(), absl::StatusCode::kFailedPrecondition);
  fs::remove(At("x"));
  auto empty = dataset_.Commit(Spec());
  EXPECT_EQ(empty.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(empty.status().message()), HasSubstr("--allow-empty"));
  EXPECT_EQ((*dataset_.handle().catalog->Newest(dataset_.handle().id))->identity, first.version.identity);

  CommitOptions meant;
  meant.allow_empty = true;
  EXPECT_EQ(MustCommit(Spec(), meant).version.record.entries, 0u);
  EXPECT_TRUE(MustCommit().unchanged);  // once meant, it need not be said again
}

TEST_F(CommitterTest, DirectoriesAloneWhereFilesWereMakeNoVersion) {
  SourceWatch watch(&clock_);
  auto commit = [&](bool allow_empty = false) {
    CommitOptions options;
    options.allow_empty = allow_empty;
    return dataset_.Commit(Spec(), options, nullptr, &clock_, &watch);
  };
  fs::create_directories(At("lost+found"));
  ASSERT_TRUE(commit().ok());  // nothing was there that it could have lost
  WriteText(At("day1/a"), "1");
  fs::create_symlink("a", At("day1/link"));
  ASSERT_TRUE(commit().ok());
  fs::remove(At("day1/a"));
  ASSERT_TRUE(commit().ok());
  auto last = commit();
  ASSERT_TRUE(last.ok());
  fs::remove(At("day1/link"));
  CommitOptions reread;
  reread.reread = true;  // compares nothing with the version before
  EXPECT_EQ(dataset_.Commit(Spec(), reread, nullptr, &clock_, &watch).status().code(),
            absl::StatusCode::kFailedPrecondition);
  for (int i = 0; i < 2; ++i) {
    auto refused = commit();
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("--allow-empty"));
    fs::remove(At("day1"));
  }
  EXPECT_EQ((*dataset_.handle().catalog->Newest(dataset_.handle().id))->identity, last->version.identity);
  auto meant = commit(true);
  ASSERT_TRUE(meant.ok()) << meant.status();
  EXPECT_THAT(Paths(*meant), ElementsAre("lost+found"));
  fs::remove(At("lost+found"));
  fs::create_directories(At("other"));
  EXPECT_TRUE(commit().ok());  // once meant, it need not be said again
}

TEST_F(CommitterTest, WhereNothingIsDeletedDirectoriesAloneAreWell) {
  WriteText(At("day1/a"), "1");
  SourceSpec spec = Spec();
  spec.keep_absent = true;
  MustCommit(spec);
  fs::remove(At("day1/a"));
  fs::create_directories(At("day2"));
  EXPECT_THAT(Paths(MustCommit(spec)), ElementsAre("day1", "day1/a", "day2"));
}

// The mount itself takes root; what is remembered of it does not.
TEST_F(CommitterTest, AFileSystemThatWasMountedInTheSourceIsMissed) {
  WriteText(At("a/disk/x"), "1");
  WriteText(At("a/empty/x"), "1");
  WriteText(At("keep"), "1");
  SourceWatch watch(&clock_);
  auto commit = [&](const CommitOptions& options = {}) {
    return dataset_.Commit(Spec(), options, nullptr, &clock_, &watch);
  };
  ASSERT_TRUE(commit().ok());
  const SourceMemory there = LoadSourceMemory(dataset_.handle().files, dataset_.handle().directory);
  auto remember = [&] {
    ASSERT_TRUE(KeepSourceMemory(dataset_.handle().files, dataset_.handle().directory,
                                 {.path = source_, .mounts = {"a/disk", "a/not-in-the-version"}})
                    .ok());
  };
  remember();
  ASSERT_TRUE(commit().ok());  // it is a directory with files now: they are what is committed
  EXPECT_EQ(LoadSourceMemory(dataset_.handle().files, dataset_.handle().directory), there);
  remember();
  auto refused = [&] {
    auto outcome = commit();
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition) << outcome.status();
    EXPECT_THAT(std::string(outcome.status().message()), HasSubstr(At("a/disk")));
    EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("--allow-empty"));
  };
  fs::rename(At("a/disk/x"), At("a/disk/placeholder"));
  refused();
  fs::remove(At("a/disk/placeholder"));
  refused();
  fs::remove(At("a/disk"));
  refused();
  fs::remove_all(At("a"));
  refused();
  CommitOptions meant;
  meant.allow_empty = true;
  auto outcome = commit(meant);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(Paths(*outcome), ElementsAre("keep"));
  WriteText(At("keep"), "2");
  EXPECT_TRUE(commit().ok());
}

TEST_F(CommitterTest, TheFileSystemThatTheSourceLayOnIsMissed) {
  WriteText(At("x"), "1");
  WriteText(At("y"), "1");
  ASSERT_TRUE(dataset_.Commit(Spec()).ok());
  const SourceMemory there = LoadSourceMemory(dataset_.handle().files, dataset_.handle().directory);
  auto remember = [&] {
    ASSERT_TRUE(KeepSourceMemory(dataset_.handle().files, dataset_.handle().directory,
                                 {.path = source_, .mounts = {temp_.str()}})
                    .ok());
  };
  remember();
  ASSERT_TRUE(dataset_.Commit(Spec()).ok()) << "all of it is there";
  EXPECT_EQ(LoadSourceMemory(dataset_.handle().files, dataset_.handle().directory), there);
  remember();
  fs::remove(At("x"));
  auto refused = dataset_.Commit(Spec());
  ASSERT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(temp_.str()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("--allow-empty"));
  CommitOptions meant;
  meant.allow_empty = true;
  ASSERT_TRUE(dataset_.Commit(Spec(), meant).ok());
  fs::remove(At("y"));
  WriteText(At("z"), "1");
  EXPECT_TRUE(dataset_.Commit(Spec()).ok()) << "once meant, it need not be said again";
}

TEST_F(CommitterTest, ALinkThatTookTheSourcesPlaceIsNotFollowed) {
  WriteText(At("x"), "1");
  WriteText(temp_ / "elsewhere/secret", "1");
  SourceWatch watch(&clock_);
  auto commit = [&](const std::string& path) {
    SourceSpec spec;
    spec.path = path;
    return dataset_.Commit(spec, {}, nullptr, &clock_, &watch);
  };
  ASSERT_TRUE(commit(source_).ok());
  fs::rename(source_, temp_ / "moved");
  for (const char* target : {"elsewhere", "moved"}) {
    fs::remove(source_);
    fs::create_directory_symlink(target, source_);
    for (const std::string& path : {source_, source_}) {
      auto refused = commit(path);
      EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << target;
      EXPECT_THAT(std::string(refused.status().message()),
                  HasSubstr(source_ + " was a directory and is a symbolic link"));
    }
  }
  EXPECT_TRUE(commit(temp_ / "moved").ok());
  // One that was a link when the Dataset named it is followed, wherever it leads.
  ASSERT_TRUE(commit(source_).ok());
  fs::remove(source_);
  fs::create_directory_symlink("elsewhere", source_);
  auto followed = commit(source_);
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_THAT(Paths(*followed), ElementsAre("secret"));
}

TEST_F(CommitterTest, ASourceThatVanishesMeanwhileMakesNoVersion) {
  WriteText(At("a"), Noise(9 << 20));
  WriteText(At("z"), "z");
  bool moved = false;
  auto unmount = [&](const CommitProgress&) {
    if (moved) return;
    moved = true;
    fs::rename(source_, source_ + ".gone");
    fs::create_directories(source_);
  };
  auto outcome = dataset_.Commit(Spec(), {}, unmount, &clock_);
  ASSERT_TRUE(moved);
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("vanished"));
  EXPECT_FALSE(dataset_.handle().catalog->Newest(dataset_.handle().id)->has_value());
}

// Commits trees that it may not read; true if each was refused by name. Runs in a process that is not root.
bool RefusesUnreadable(const std::string& directory) {
  SourceSpec spec;
  spec.path = directory + "/source";
  WriteText(spec.path + "/dir/secret", "x");
  WriteText(spec.path + "/other", "y");
  DatasetFixture dataset(directory + "/agent");
  bool ok = dataset.Commit(spec).ok();
  for (const char* name : {"/dir/secret", "/dir"}) {
    WriteText(spec.path + "/other", name);  // so that there is something to commit
    ::chmod((spec.path + name).c_str(), 0);
    auto refused = dataset.Commit(spec);
    ok = ok && IsKeptOut(refused.status()) &&
         std::string(refused.status().message()).find(spec.path + name) != std::string::npos;
    if (!ok) std::cerr << refused.status() << "\n";
    ::chmod((spec.path + name).c_str(), 0700);
  }
  return ok && dataset.handle().catalog->List(dataset.handle().id)->size() == 1;
}

TEST(CommitPermissionDeathTest, WhatCannotBeReadFailsNamingIt) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";  // a process of its own, not a fork of this one
  EXPECT_EXIT(EndAsNobody(RefusesUnreadable), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace bailiwick::agent
