#include <sys/file.h>

#include "common/os/fault_files.h"
#include "services/agent/replica/replica_tree_fixture.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(ReplicaTreeTest, FirstLayoutIsEqualToTheSource) {
  MakeRichSource();
  store::CatalogVersion v1 = Commit();
  EXPECT_EQ(tree_->current(), 0u);
  absl::Status shown = Show(v1);
  ASSERT_TRUE(shown.ok()) << shown;
  EXPECT_EQ(tree_->current(), 1u);
  EXPECT_THAT(tree_->laid_out(), ElementsAre(1));
  ExpectEqualToSource();
  ExpectSound();
  EXPECT_EQ(Mode(Current("a/tool")), 0555u);  // no write bits, and no setuid without its owner
  EXPECT_EQ(Mode(Current("hollow/inner")), 0555u);
  EXPECT_EQ(Mode(Current("drop")), 01755u) << "nobody but its owner puts anything into what is shown";
  EXPECT_EQ(Mode(root_), 0755u);
  struct stat st;
  ASSERT_EQ(::stat(Current("sparse").c_str(), &st), 0);
  EXPECT_LT(st.st_blocks * 512, 1 << 20);
  EXPECT_EQ(fs::read_symlink(root_ + "/current"), fs::path("trees/0"));
  Reopen();
  EXPECT_EQ(tree_->current(), 1u);
  EXPECT_TRUE(Show(v1).ok());  // idempotent
  EXPECT_EQ(fs::read_symlink(root_ + "/current"), fs::path("trees/0"));
}

TEST_F(ReplicaTreeTest, LaterVersionsCostTheirDifference) {
  MakeRichSource();
  ASSERT_TRUE(Show(Commit()).ok());
  std::vector<store::CatalogVersion> versions;
  for (int i = 2; i <= 6; ++i) {
    WriteText(At("a/x"), "round " + std::to_string(i));
    WriteText(At("new" + std::to_string(i) + "/f"), "added");
    fs::remove_all(At("new" + std::to_string(i - 2)));
    ::chmod(At("a/tool").c_str(), i % 2 ? 0755 : 0700);
    uint64_t big = Inode(Current("big"));
    ASSERT_TRUE(Show(Commit()).ok());
    ExpectEqualToSource();
    ExpectSound();
    if (i > 3) {  // all slots have been used
      EXPECT_LT(laid_bytes_, 1000u);
    }
    EXPECT_EQ(Inode(Current("big")), big);  // linked, or kept where it was
  }
  EXPECT_THAT(tree_->laid_out(), ElementsAre(4, 5, 6));
}

TEST_F(ReplicaTreeTest, AllKindsOfChanges) {
  MakeRichSource();
  ASSERT_TRUE(Show(Commit()).ok());
  for (int round = 0; round < 2; ++round) {  // the second one works on a slot that holds an older version
    fs::remove_all(At("a"));
    WriteText(At("a"), "a file where a directory was");
    fs::remove(At("link"));
    fs::create_directories(At("link/now/directory"));
    fs::remove(At("empty"));
    fs::create_symlink("big", At("empty"));
    fs::rename(At("hollow"), At("renamed"));
    WriteText(At("renamed/inner/f"), "x");
    ASSERT_TRUE(Show(Commit()).ok());
    ExpectEqualToSource();
    ExpectSound();
    WriteText(At("more"), "1");
    ASSERT_TRUE(Show(Commit()).ok());
    WriteText(At("more"), "2");
    ASSERT_TRUE(Show(Commit()).ok());
    ExpectEqualToSource();
    fs::remove_all(source_);
    MakeRichSource();
    ASSERT_TRUE(Show(Commit()).ok());
    ExpectEqualToSource();
    ExpectSound();
  }
}

TEST_F(ReplicaTreeTest, AChangedFileIsANewInode) {
  WriteText(At("x"), "one");
  WriteText(At("y"), "same");
  ASSERT_TRUE(Show(Commit()).ok());
  const std::string first = fs::canonical(root_ + "/current");
  std::ifstream reader(first + "/x", std::ios::binary);
  for (const char* text : {"two", "three", "four", "five"}) {
    WriteText(At("x"), text);
    SetTimes(At("y"), 100 + static_cast<int64_t>(text[1]));  // metadata alone
    ASSERT_TRUE(Show(Commit()).ok());
    ExpectEqualToSource();
    ExpectSound();
  }
  std::string seen((std::istreambuf_iterator<char>(reader)), {});
  EXPECT_EQ(seen, "one");  // who has it open keeps what he opened
}

TEST_F(ReplicaTreeTest, RollbackIsASwap) {
  WriteText(At("x"), "one");
  store::CatalogVersion v1 = Commit();
  ASSERT_TRUE(Show(v1).ok());
  uint64_t inode = Inode(Current("x"));
  WriteText(At("x"), "two");
  store::CatalogVersion v2 = Commit();
  ASSERT_TRUE(Show(v2).ok());
  ASSERT_TRUE(Show(v1).ok());
  EXPECT_EQ(tree_->current(), 1u);
  EXPECT_EQ(ReadText(Current("x")), "one");
  EXPECT_EQ(Inode(Current("x")), inode);
  EXPECT_THAT(tree_->laid_out(), ElementsAre(1, 2));
  ASSERT_TRUE(Show(v2).ok());
  EXPECT_EQ(ReadText(Current("x")), "two");
}

TEST_F(ReplicaTreeTest, TheNextVersionIsMadeOfTheSpare) {
  WriteText(At("d/kept"), "kept");
  WriteText(At("d/changed"), "one");
  const store::CatalogVersion first = Commit();
  ASSERT_TRUE(Show(first).ok());
  ASSERT_TRUE(tree_->PrepareSpare(dataset_.handle(), dataset_.cancelled).ok());
  ASSERT_TRUE(tree_->PrepareSpare(dataset_.handle(), dataset_.cancelled).ok()) << "there is one";
  EXPECT_EQ(Describe(root_ + "/trees/1", 0), Describe(root_ + "/trees/0", 0));
  EXPECT_FALSE(fs::exists(root_ + "/trees/2"));
  EXPECT_THAT(tree_->laid_out(), ElementsAre(1));

  auto spare = *os::OpenTree(root_ + "/trees/1/d");
  const uint64_t directory = spare->Stat("")->inode, kept = spare->Stat("kept")->inode;
  WriteText(At("d/changed"), "two");
  ASSERT_TRUE(Show(Commit()).ok());
  ExpectEqualToSource();
  auto current = *os::OpenTree(root_ + "/current/d");
  EXPECT_EQ(current->Stat("")->inode, directory) << "not laid out anew";
  EXPECT_EQ(current->Stat("kept")->inode, kept);
  EXPECT_EQ(ReadText(root_ + "/trees/0/d/changed"), "one") << "the version before is still whole";
  ASSERT_TRUE(Show(first).ok());
  EXPECT_EQ(ReadText(Current("d/changed")), "one");

  Reopen();
  ASSERT_TRUE(tree_->PrepareSpare(dataset_.handle(), dataset_.cancelled).ok());
  EXPECT_EQ(ReadText(root_ + "/trees/2/d/changed"), "one");
}

TEST_F(ReplicaTreeTest, ALeasedSlotIsNotRecycled) {
  WriteText(At("x"), "1");
  ASSERT_TRUE(Show(Commit()).ok());
  const std::string leased = fs::canonical(root_ + "/current");
  auto lease = os::TryLockDir(leased, false);
  ASSERT_TRUE(lease.ok());
  for (int i = 2; i <= 6; ++i) {
    WriteText(At("x"), std::to_string(i));
    ASSERT_TRUE(Show(Commit()).ok());
    EXPECT_EQ(ReadText(leased + "/x"), "1");
    EXPECT_EQ(ReadText(Current("x")), std::to_string(i));
  }
  auto second = os::TryLockDir(fs::canonical(root_ + "/current"), false);
  WriteText(At("x"), "7");
  ASSERT_TRUE(Show(Commit()).ok());
  WriteText(At("x"), "8");
  store::CatalogVersion v8 = Commit();
  absl::Status busy = Show(v8);
  EXPECT_EQ(busy.code(), absl::StatusCode::kUnavailable) << busy;
  EXPECT_EQ(ReadText(Current("x")), "7");
  lease->reset();
  EXPECT_TRUE(Show(v8).ok());
  EXPECT_EQ(ReadText(Current("x")), "8");
}

TEST_F(ReplicaTreeTest, AnInterruptedLayoutLeavesCurrentWhole) {
  MakeRichSource();
  ASSERT_TRUE(Show(Commit()).ok());
  const std::vector<std::string> before = Describe(root_ + "/current", 0);
  for (int i = 0; i < 30; ++i) WriteText(At("m/" + std::to_string(i)), Noise(1000, i));
  store::CatalogVersion v2 = Commit();
  for (int after = 1; after < 30; after += 7) {
    int calls = 0;
    auto stop = [&](uint64_t) { dataset_.cancelled = ++calls >= after; };
    EXPECT_EQ(tree_->Show(dataset_.handle(), v2, {}, stop, dataset_.cancelled).code(), absl::StatusCode::kCancelled);
    dataset_.cancelled = false;
    EXPECT_EQ(Describe(root_ + "/current", 0), before);
    Reopen();
    EXPECT_EQ(tree_->current(), 1u);
    EXPECT_THAT(tree_->laid_out(), ElementsAre(1));
  }
  ASSERT_TRUE(Show(v2).ok());
  ExpectEqualToSource();
  ExpectSound();
}

TEST_F(ReplicaTreeTest, AFailureOfAnyStateOperationLeavesCurrentWhole) {
  WriteText(At("x"), "1");
  ASSERT_TRUE(Show(Commit()).ok());
  WriteText(At("x"), "2");
  ASSERT_TRUE(Show(Commit()).ok());
  WriteText(At("x"), "3");
  ASSERT_TRUE(Show(Commit()).ok());
  for (uint64_t n = 1;; ++n) {
    const std::string text = "try " + std::to_string(n);
    WriteText(At("x"), text);
    store::CatalogVersion version = Commit();
    const std::string before = ReadText(Current("x"));
    os::FaultFiles faults(os::Files::System(), root_);
    faults.FailAt(n, absl::ResourceExhaustedError("no space"), true);
    auto tree = ReplicaTree::Open(&faults, root_);
    ASSERT_TRUE(tree.ok()) << tree.status();
    absl::Status status = (*tree)->Show(dataset_.handle(), version, {}, nullptr, dataset_.cancelled);
    if (status.ok()) break;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(ReadText(Current("x")), before);
    Reopen();
    EXPECT_TRUE(Show(version).ok());
    ExpectEqualToSource();
    ExpectSound();
    ASSERT_LT(n, 50u);
  }
}

// A dataset that was deleted and declared again is laid out where the one of before lies.
TEST_F(ReplicaTreeTest, TheTreeOfADatasetOfBeforeIsNoGroundToBuildOn) {
  for (int i = 0; i < 3; ++i) {
    WriteText(At("x"), "before" + std::to_string(i));
    WriteText(At("same"), "same");
    ASSERT_TRUE(Show(Commit()).ok());
  }
  WriteText(At("x"), "after");
  fs::remove(At("same"));
  DatasetFixture again(temp_ / "again");
  SourceSpec spec;
  spec.path = source_;
  for (int i = 0; i < 3; ++i) {
    WriteText(At("y"), std::to_string(i));
    auto outcome = again.Commit(spec);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    absl::Status shown = tree_->Show(again.handle(), outcome->version, {}, nullptr, again.cancelled);
    ASSERT_TRUE(shown.ok()) << shown;
    ExpectEqualToSource();
    std::vector<std::string> problems;
    EXPECT_TRUE(tree_->Verify(again.handle(), &problems).ok());
    EXPECT_THAT(problems, IsEmpty());
  }
}

TEST_F(ReplicaTreeTest, TheDiskReserveIsNotLaidOutInto) {
  WriteText(At("small"), "1");
  WriteText(At("large"), std::string(1 << 20, 'x'));
  store::CatalogVersion first = Commit();
  ASSERT_TRUE(Show(first).ok());
  for (const char* changed : {"small", "large"}) {
    WriteText(At(changed), std::string(fs::file_size(At(changed)) + 1, 'y'));
    store::CatalogVersion version = Commit();
    dataset_.Close();
    dataset_.disk_reserve = uint64_t{1} << 62;
    ASSERT_TRUE(dataset_.Open().ok());
    absl::Status refused = Show(version);
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("disk reserve"));
    EXPECT_EQ(tree_->current(), version.record.number - 1);
    dataset_.Close();
    dataset_.disk_reserve = 0;
    ASSERT_TRUE(dataset_.Open().ok());
    EXPECT_TRUE(Show(version).ok());
    ExpectEqualToSource();
  }
}

TEST_F(ReplicaTreeTest, APlantedSymlinkLeadsNowhere) {
  WriteText(At("d/sub/x"), "1");
  ASSERT_TRUE(Show(Commit()).ok());
  const std::string first = fs::canonical(root_ + "/current");
  for (int i = 2; i <= 3; ++i) {
    WriteText(At("d/sub/x"), std::to_string(i));
    ASSERT_TRUE(Show(Commit()).ok());
  }
  const std::string outside = temp_ / "outside";
  WriteText(outside + "/x", "precious");
  WriteText(outside + "/sub/x", "precious");
  fs::remove_all(first + "/d");
  fs::create_symlink(outside, first + "/d");
  WriteText(At("d/sub/x"), "4");
  WriteText(At("d/sub/y"), "new");
  ASSERT_TRUE(Show(Commit()).ok());  // the slot does not fit its state: laid out from nothing
  EXPECT_EQ(fs::canonical(root_ + "/current"), first);
  EXPECT_EQ(ReadText(outside + "/x"), "precious");
  EXPECT_EQ(ReadText(outside + "/sub/x"), "precious");
  EXPECT_FALSE(fs::exists(outside + "/sub/y"));
  ExpectEqualToSource();
  ExpectSound();
}

TEST_F(ReplicaTreeTest, CheckoutIsACopyOfItsOwn) {
  MakeRichSource();
  store::CatalogVersion v1 = Commit();
  const std::string target = temp_ / "out";
  absl::Status status = Checkout(dataset_.handle(), v1, target, false, nullptr, dataset_.cancelled);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Describe(target, 06000), Describe(source_, 06000));
  absl::Status again = Checkout(dataset_.handle(), v1, target, false, nullptr, dataset_.cancelled);
  EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Describe(target, 06000), Describe(source_, 06000));
  dataset_.cancelled = true;
  EXPECT_EQ(Checkout(dataset_.handle(), v1, temp_ / "out2", false, nullptr, dataset_.cancelled).code(),
            absl::StatusCode::kCancelled);
  EXPECT_TRUE(fs::is_empty(temp_ / "out2"));
}

TEST_F(ReplicaTreeTest, ExecHoldsALease) {
  WriteText(At("x"), "1");
  const std::string replicas = temp_ / "replicas";
  EXPECT_EQ(ExecWithLease(replicas, "planner", {"true"}).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Show(Commit()).ok());
  const std::string out = temp_ / "exec-out";
  // The command sees that its slot cannot be locked exclusively: the lease is its own.
  const std::string script =
      "pwd; echo $BAILIWICK_VERSION; [ \"$PWD\" = \"$BAILIWICK_TREE\" ]; echo $?; cat x; "
      "flock -n . true; echo \" $?\"; exit 5";
  auto code = ExecWithLease(replicas, "planner", {"sh", "-c", "{ " + script + "; } > " + out});
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 5);
  EXPECT_EQ(ReadText(out), fs::canonical(root_ + "/current").string() + "\n1\n0\n1 1\n");
  EXPECT_TRUE(os::TryLockDir(fs::canonical(root_ + "/current"), true).ok());  // and ends with it
  EXPECT_EQ(*ExecWithLease(replicas, "planner", {"sh", "-c", "kill -TERM $$"}), 128 + 15);
  EXPECT_EQ(*ExecWithLease(replicas, "planner", {"/no/such/command"}), 127);
  // Somebody who may read the tree locks it: that is said, and nobody waits for ever.
  auto held = os::TryLockDir(fs::canonical(root_ + "/current"), true);
  ASSERT_TRUE(held.ok());
  const absl::Status refused = ExecWithLease(replicas, "planner", {"true"}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("lslocks"));
}

TEST(ReplicaRootTest, FamiliesStandSideBySide) {
  EXPECT_EQ(ReplicaRoot("/r", "planner"), "/r/planner");
  EXPECT_EQ(ReplicaRoot("/r", "telemetry@robot-17"), "/r/telemetry/robot-17");
}

}  // namespace
}  // namespace bailiwick::agent
