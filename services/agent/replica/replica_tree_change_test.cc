// Trees that somebody changed, and what is taken out of them.
#include <sys/stat.h>

#include <atomic>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "services/agent/replica/replica_tree_fixture.h"

namespace bailiwick::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Whether a tree that its own user may not enter or read everywhere is looked through all the same, and left as it was.
// Runs in a process that is not root.
bool LooksIntoWhatIsLocked(const std::string& directory) {
  SourceSpec spec;
  spec.path = directory + "/source";
  for (const char* name : {"/box/a/b/evil", "/box/good", "/dark", "/seen"}) WriteText(spec.path + name, "as it was");
  DatasetFixture dataset(directory + "/agent");
  auto committed = dataset.Commit(spec);
  auto tree = ReplicaTree::Open(os::Files::System(), directory + "/replicas/planner");
  std::atomic<bool> cancelled{false};
  if (!committed.ok() || !tree.ok()) return false;
  if (!(*tree)->Show(dataset.handle(), committed->version, {}, [](uint64_t) {}, cancelled).ok()) return false;
  const std::string current = directory + "/replicas/planner/current";
  const std::string evil = current + "/box/a/b/evil";
  struct stat before;
  ::stat(evil.c_str(), &before);
  ::chmod(evil.c_str(), 0644);
  WriteText(evil, "as it IS!");
  const timespec times[2] = {before.st_mtim, before.st_mtim};
  ::utimensat(AT_FDCWD, evil.c_str(), times, 0);
  ::chmod(evil.c_str(), before.st_mode & 07777);
  const std::vector<std::pair<std::string, mode_t>> locked = {
      {"/box/a/b", 0}, {"/box/a", 0444}, {"/box", 0311}, {"/dark", 0}};
  for (const auto& [path, mode] : locked) ::chmod((current + path).c_str(), mode);
  std::vector<std::string> problems;
  const absl::Status verified = (*tree)->Verify(dataset.handle(), &problems);
  bool ok = verified.ok() && problems.size() == 5 && absl::StrContains(absl::StrJoin(problems, "\n"), "box/a/b/evil has other content");
  for (auto it = locked.rbegin(); it != locked.rend(); ++it) {
    const auto& [path, mode] = *it;
    struct stat st;
    ok = ok && ::lstat((current + path).c_str(), &st) == 0 && (st.st_mode & 07777) == mode;
    ok = ok && absl::StrContains(absl::StrJoin(problems, "\n"), absl::StrCat(path.substr(1), " has mode "));
    ::chmod((current + path).c_str(), 0755);  // so that what is below can be looked at, and removed
  }
  if (!ok) std::cerr << verified << "\n" << absl::StrJoin(problems, "\n") << "\n";
  return ok;
}

TEST_F(ReplicaTreeTest, VerifyFindsAndShowMends) {
  MakeRichSource();
  store::CatalogVersion v1 = Commit();
  ASSERT_TRUE(Show(v1).ok());
  WriteText(At("a/x"), "two");
  store::CatalogVersion v2 = Commit();
  ASSERT_TRUE(Show(v2).ok());
  struct stat st;
  ASSERT_EQ(::stat(Current("big").c_str(), &st), 0);
  ::chmod(Current("big").c_str(), 0644);
  {
    std::fstream file(Current("big"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(3 << 20);
    file.put('\0').put('\1');
  }
  timespec times[2] = {st.st_mtim, st.st_mtim};
  ::utimensat(AT_FDCWD, Current("big").c_str(), times, 0);
  ::chmod(Current("big").c_str(), st.st_mode & 07777);
  fs::remove(Current("empty"));
  WriteText(Current("stranger"), "x");
  ::chmod(Current("a/x").c_str(), 0777);
  std::vector<std::string> problems;
  ASSERT_TRUE(tree_->Verify(dataset_.handle(), &problems).ok());
  EXPECT_THAT(problems, Contains("big has other content"));
  EXPECT_THAT(problems, Contains("empty is missing"));
  EXPECT_THAT(problems, Contains("stranger does not belong to the version"));
  EXPECT_THAT(problems, Contains(HasSubstr("a/x has mode 0777")));
  EXPECT_EQ(problems.size(), 4u);
  Reopen();
  ASSERT_TRUE(Show(v2).ok());
  ExpectEqualToSource();
  ExpectSound();
  ASSERT_TRUE(Show(v1).ok());  // its slot shared the spoiled file
  EXPECT_TRUE(ReadText(Current("big")) == Noise(13 << 20));
  ExpectSound();
}

TEST_F(ReplicaTreeTest, ALinkThatSomebodyTurnedIsFoundAndSetRight) {
  WriteText(At("x"), "one");
  store::CatalogVersion v1 = Commit();
  ASSERT_TRUE(Show(v1).ok());
  WriteText(At("x"), "two");
  store::CatalogVersion v2 = Commit();
  for (const char* target : {"", "/etc", "trees/0"}) {
    SCOPED_TRACE(target);
    ASSERT_TRUE(Show(v2).ok());
    fs::remove(root_ + "/current");
    if (*target != 0) fs::create_symlink(target, root_ + "/current");
    std::vector<std::string> problems;
    ASSERT_TRUE(tree_->Verify(dataset_.handle(), &problems).ok());
    EXPECT_THAT(problems, ElementsAre(HasSubstr("current does not lead to version 2")));
    EXPECT_NE(tree_->current(), 2u);
    ASSERT_TRUE(Show(v2).ok());
    EXPECT_EQ(ReadText(Current("x")), "two");
    ExpectSound();
  }
}

TEST_F(ReplicaTreeTest, WhatLiesBesideIsLookedAtBeforeItIsShown) {
  WriteText(At("x"), "one");
  WriteText(At("y"), Noise(100'000));
  WriteText(At("z"), Noise(100'000));
  store::CatalogVersion v1 = Commit();
  ASSERT_TRUE(Show(v1).ok());
  const std::string beside = fs::canonical(Current());
  WriteText(At("x"), "two");
  ASSERT_TRUE(Show(Commit()).ok());
  ExpectSound();
  struct stat st;
  ASSERT_EQ(::stat((beside + "/y").c_str(), &st), 0);
  fs::remove(beside + "/y");
  WriteText(beside + "/y", std::string(100'000, 'y'));
  timespec times[2] = {st.st_mtim, st.st_mtim};
  ::utimensat(AT_FDCWD, (beside + "/y").c_str(), times, 0);
  ::chmod((beside + "/y").c_str(), st.st_mode & 07777);
  fs::remove(beside + "/z");
  std::vector<std::string> problems;
  ASSERT_TRUE(tree_->Verify(dataset_.handle(), &problems).ok());
  EXPECT_THAT(problems,
              ElementsAre("beside what is shown, in the tree of version 1: y has other content, and 1 more; it is laid "
                          "out anew before it is shown"));
  EXPECT_FALSE(tree_->suspect()) << "what is shown is right";
  ExpectSound();
  ASSERT_TRUE(Show(v1).ok());
  EXPECT_TRUE(ReadText(Current("y")) == Noise(100'000));
  ExpectSound();
}

TEST_F(ReplicaTreeTest, WritableCopies) {
  WriteText(At("x"), "one");
  WriteText(At("y"), "same");
  ASSERT_TRUE(Show(Commit(), {.writable = true}).ok());
  EXPECT_EQ(Mode(Current("x")) & 0200, 0200u);
  const std::string first = fs::canonical(root_ + "/current");
  WriteText(first + "/y", "edited by a user");
  for (const char* text : {"two", "three", "four"}) {
    WriteText(At("x"), text);
    ASSERT_TRUE(Show(Commit(), {.writable = true}).ok());
    EXPECT_EQ(ReadText(Current("y")), "same");
    ExpectSound();
  }
  EXPECT_EQ(fs::canonical(root_ + "/current"), first);
  ExpectEqualToSource(06000);
}

TEST_F(ReplicaTreeTest, WhatWasDeletedByHandComesBack) {
  WriteText(At("x"), "one");
  store::CatalogVersion v1 = Commit();
  ASSERT_TRUE(Show(v1).ok());
  fs::remove(root_ + "/current");
  ASSERT_TRUE(Show(v1).ok());
  EXPECT_EQ(ReadText(Current("x")), "one");
  fs::remove_all(root_ + "/trees/0");
  ASSERT_TRUE(Show(v1).ok());
  EXPECT_EQ(ReadText(Current("x")), "one");
  fs::remove_all(root_);
  ASSERT_TRUE(Show(v1).ok());
  EXPECT_EQ(ReadText(Current("x")), "one");
}

TEST_F(ReplicaTreeTest, WithdrawnItIsNotShownUntilItIsAgain) {
  WriteText(At("x"), "one");
  store::CatalogVersion v1 = Commit();
  ASSERT_TRUE(Show(v1).ok());
  ASSERT_TRUE(tree_->Withdraw().ok());
  EXPECT_EQ(tree_->current(), 0u);
  EXPECT_FALSE(fs::is_symlink(root_ + "/current"));
  ASSERT_TRUE(tree_->Withdraw().ok()) << "again";
  ASSERT_TRUE(Show(v1).ok());
  EXPECT_EQ(ReadText(Current("x")), "one");
}

TEST_F(ReplicaTreeTest, ForgettingAVersionTakesItsFilesOnly) {
  WriteText(At("x"), "one");
  store::CatalogVersion v1 = Commit();
  WriteText(At("x"), "two");
  store::CatalogVersion v2 = Commit();
  ASSERT_TRUE(Show(v1).ok());
  ASSERT_TRUE(Show(v2).ok());
  ASSERT_TRUE(tree_->Forget({1}).ok());
  EXPECT_THAT(tree_->laid_out(), ElementsAre(2));
  EXPECT_EQ(ReadText(Current("x")), "two");
  EXPECT_FALSE(fs::exists(root_ + "/trees/0/x"));
  ASSERT_TRUE(tree_->Forget({2}).ok());
  EXPECT_EQ(tree_->current(), 0u);
  EXPECT_FALSE(fs::is_symlink(root_ + "/current"));
  EXPECT_FALSE(fs::exists(root_ + "/trees/1/x"));
  ASSERT_TRUE(Show(v2).ok());
  EXPECT_EQ(ReadText(Current("x")), "two");
}

TEST_F(ReplicaTreeTest, ForgettingTakesWhatAnInterruptedLayoutLeft) {
  WriteText(At("x"), "one");
  ASSERT_TRUE(Show(Commit()).ok());
  for (int i = 0; i < 9; ++i) WriteText(At("m/" + std::to_string(i)), Noise(1000, i));
  store::CatalogVersion v2 = Commit();
  auto stop = [&](uint64_t) { dataset_.cancelled = true; };
  EXPECT_TRUE(absl::IsCancelled(tree_->Show(dataset_.handle(), v2, {}, stop, dataset_.cancelled)));
  ASSERT_FALSE(fs::is_empty(root_ + "/trees/1"));
  Reopen();
  ASSERT_TRUE(tree_->Forget({2}).ok());
  EXPECT_TRUE(fs::is_empty(root_ + "/trees/1"));
  EXPECT_EQ(ReadText(Current("x")), "one");
}

TEST_F(ReplicaTreeTest, RemoveTakesEverything) {
  MakeRichSource();
  ASSERT_TRUE(Show(Commit()).ok());
  ASSERT_TRUE(tree_->Remove().ok());
  EXPECT_FALSE(fs::exists(root_));
}

TEST_F(ReplicaTreeTest, RedactedFilesGoFromEverySlotAndStayAway) {
  MakeRichSource();
  const store::CatalogVersion first = Commit();
  ASSERT_TRUE(Show(first).ok());
  WriteText(At("later"), "later");
  const store::CatalogVersion second = Commit();
  ASSERT_TRUE(Show(second).ok());
  const std::string victim = "a/deep/er/file";
  auto entry = store::FindEntry(dataset_.handle().nodes.get(), first.record.manifest_root, victim);
  ASSERT_TRUE(entry.ok() && entry->has_value());
  store::Redaction order;
  order.contents = {store::ContentId(**entry)};
  dataset_.handle().redactions->Add(std::make_shared<const store::Redaction>(order), true);
  std::vector<std::string> problems;
  ASSERT_TRUE(tree_->Verify(dataset_.handle(), &problems).ok());
  EXPECT_THAT(problems, ElementsAre(HasSubstr("lies here still")));
  Reopen();  // what a look at it made suspect was noted; the slots are as they are
  ASSERT_TRUE(tree_->Redact(dataset_.handle()).ok());
  ASSERT_TRUE(tree_->Redact(dataset_.handle()).ok()) << "again";
  auto left = [&] {
    int count = 0;
    for (int n = 0; n < ReplicaTree::kSlots; ++n) count += fs::exists(absl::StrCat(root_, "/trees/", n, "/", victim));
    return count;
  };
  EXPECT_EQ(left(), 0);
  EXPECT_EQ(tree_->current(), second.record.number) << "what is shown stays shown";
  EXPECT_EQ(ReadText(Current("later")), "later");
  ExpectSound();
  ASSERT_TRUE(Show(first).ok());
  ExpectSound();
  WriteText(At("a/x"), "two");
  fs::remove(At(victim));
  ASSERT_TRUE(Show(Commit()).ok());
  ExpectSound();
  EXPECT_EQ(left(), 0);
  ExpectEqualToSource();
}

TEST_F(ReplicaTreeTest, WhatIsNoLinkAnyMoreIsFound) {
  WriteText(At("x"), "1");
  ASSERT_TRUE(Show(Commit()).ok());
  fs::copy(root_ + "/trees/0", temp_ / "copy", fs::copy_options::recursive);
  fs::remove(root_ + "/current");
  fs::rename(temp_ / "copy", root_ + "/current");
  std::vector<std::string> problems;
  ASSERT_TRUE(tree_->Verify(dataset_.handle(), &problems).ok());
  EXPECT_THAT(problems, ElementsAre(HasSubstr("does not lead to version 1 any more")));
}

TEST(ReplicaTreeDeathTest, VerifyLooksIntoWhatIsLocked) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";  // a process of its own, not a fork of this one
  EXPECT_EXIT(EndAsNobody(LooksIntoWhatIsLocked), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace bailiwick::agent
