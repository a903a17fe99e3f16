#include "common/os/tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "common/base/status.h"
#include "common/os/files.h"

namespace bailiwick::os {
namespace {

class TreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    base_ = ::testing::TempDir() + "bw-tree-" + std::to_string(::getpid()) + "-" + info->name();
    ASSERT_TRUE(Files::System()->RemoveTree(base_).ok());
    ASSERT_TRUE(Files::System()->MakeDirs(base_ + "/root").ok());
    ASSERT_TRUE(Files::System()->MakeDirs(base_ + "/outside").ok());
    ASSERT_TRUE(WriteFileAtomically(Files::System(), base_ + "/outside/secret", "secret").ok());
    auto tree = OpenTree(base_ + "/root");
    ASSERT_TRUE(tree.ok()) << tree.status();
    tree_ = std::move(*tree);
  }
  void TearDown() override { EXPECT_TRUE(Files::System()->RemoveTree(base_).ok()); }

  void Put(const std::string& path, const std::string& text) {
    auto file = tree_->CreateFile(path);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->WriteAt(0, text).ok());
  }
  std::string Get(const std::string& path) {
    auto file = tree_->OpenRead(path);
    if (!file.ok()) return file.status().ToString();
    std::string text(1000, '\0');
    text.resize(*(*file)->ReadAt(0, text.data(), text.size()));
    return text;
  }
  std::string Outside(const std::string& name) { return base_ + "/outside/" + name; }

  std::string base_;
  std::unique_ptr<TreeDir> tree_;
};

TEST_F(TreeTest, RefusesNamesThatAreNotPlain) {
  Put("file", "x");
  for (const std::string& bad :
       {std::string("../outside/secret"), std::string("a/../../outside"), std::string(".."), std::string("."),
        std::string("a/./b"), std::string("/etc/passwd"), std::string("a//b"), std::string("a/"),
        std::string("a\0b", 3), base_ + "/outside/secret"}) {
    SCOPED_TRACE(bad);
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->OpenRead(bad).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->CreateFile(bad).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->Stat(bad).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->OpenDir(bad).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->MakeDir(bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->MakeSymlink(bad, "t")));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->RemoveTree(bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->RemoveFile(bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->Rename("file", bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->Rename(bad, "file")));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->SetMode(bad, 0700)));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->SetMtime(bad, 0)));
    EXPECT_TRUE(absl::IsInvalidArgument(tree_->Link(*tree_, "file", bad)));
  }
  EXPECT_EQ(*ReadFile(Files::System(), Outside("secret")), "secret");
}

TEST_F(TreeTest, NoSymlinkLeadsOut) {
  ASSERT_TRUE(tree_->MakeSymlink("dir", base_ + "/outside").ok());
  ASSERT_TRUE(tree_->MakeSymlink("up", "../outside").ok());
  ASSERT_TRUE(tree_->MakeSymlink("file", Outside("secret")).ok());
  ASSERT_TRUE(tree_->MakeDir("inside").ok());
  ASSERT_TRUE(tree_->MakeSymlink("self", "inside").ok());
  for (const char* dir : {"dir", "up", "self"}) {
    SCOPED_TRACE(dir);
    const std::string below = std::string(dir) + "/secret";
    EXPECT_TRUE(IsKeptOut(tree_->OpenRead(below).status()));
    EXPECT_TRUE(IsKeptOut(tree_->CreateFile(std::string(dir) + "/new").status()));
    EXPECT_TRUE(IsKeptOut(tree_->Stat(below).status()));
    EXPECT_TRUE(IsKeptOut(tree_->OpenDir(dir).status()));
    EXPECT_TRUE(IsKeptOut(tree_->RemoveFile(below)));
    EXPECT_TRUE(IsKeptOut(tree_->RemoveTree(below)));
    EXPECT_TRUE(IsKeptOut(tree_->SetMode(below, 0)));
    EXPECT_TRUE(IsKeptOut(tree_->Rename(below, "stolen")));
    EXPECT_TRUE(IsKeptOut(tree_->RenameNew(below, "stolen")));
    EXPECT_TRUE(IsKeptOut(tree_->Link(*tree_, below, "stolen")));
    EXPECT_TRUE(IsKeptOut(tree_->MakeDir(std::string(dir) + "/new")));
  }
  EXPECT_TRUE(IsKeptOut(tree_->OpenRead("file").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(tree_->CreateFile("file").status()));
  EXPECT_FALSE(tree_->SetMode("file", 0777).ok());
  EXPECT_TRUE(tree_->SetMtime("file", 5'000'000'007).ok());
  EXPECT_EQ(tree_->Stat("file")->mtime_ns, 5'000'000'007);
  EXPECT_EQ(tree_->Stat("file")->type, NodeType::kSymlink);
  EXPECT_EQ(*tree_->ReadLink("file"), Outside("secret"));
  struct stat st;
  ASSERT_EQ(::stat(Outside("secret").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_GT(st.st_mtime, 1000);
  // Removing the links removes links.
  EXPECT_TRUE(tree_->RemoveTree("dir").ok());
  EXPECT_TRUE(tree_->RemoveTree("file").ok());
  EXPECT_EQ(*ReadFile(Files::System(), Outside("secret")), "secret");
  EXPECT_EQ(Files::System()->List(base_ + "/outside")->size(), 1u);
}

// Another process swaps a directory for a symlink to the outside while we read and write through it.
TEST_F(TreeTest, SwappedSymlinkNeverLeadsOut) {
  ASSERT_TRUE(tree_->MakeDir("d").ok());
  Put("d/secret", "public");
  const std::string dir = base_ + "/root/d", parked = base_ + "/root/parked", link = base_ + "/root/link";
  ASSERT_EQ(::symlink((base_ + "/outside").c_str(), link.c_str()), 0);
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop) {
      ::rename(dir.c_str(), parked.c_str());
      ::rename(link.c_str(), dir.c_str());
      ::rename(dir.c_str(), link.c_str());
      ::rename(parked.c_str(), dir.c_str());
    }
  });
  for (int i = 0; i < 3000; ++i) {
    auto file = tree_->OpenRead("d/secret");
    if (file.ok()) {
      char text[8] = {};
      EXPECT_EQ(*(*file)->ReadAt(0, text, 6), 6u);
      EXPECT_STREQ(text, "public");
    }
    tree_->CreateFile("d/new").status().IgnoreError();
    tree_->SetMode("d/secret", 0640).IgnoreError();
  }
  stop = true;
  swapper.join();
  EXPECT_EQ(*Files::System()->List(base_ + "/outside"), std::vector<std::string>{"secret"});
  struct stat st;
  ASSERT_EQ(::stat(Outside("secret").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(TreeTest, EverythingAboutAFile) {
  ASSERT_TRUE(tree_->MakeDir("a").ok());
  ASSERT_TRUE(tree_->MakeDir("a/b").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(tree_->MakeDir("a/b")));
  Put("a/b/f", "hello");
  EXPECT_EQ(Get("a/b/f"), "hello");
  EXPECT_TRUE(absl::IsAlreadyExists(tree_->CreateFile("a/b/f").status()));
  ASSERT_TRUE(tree_->SetMode("a/b/f", 04751).ok());
  ASSERT_TRUE(tree_->SetMtime("a/b/f", -1).ok());
  auto st = tree_->Stat("a/b/f");
  ASSERT_TRUE(st.ok());
  EXPECT_EQ(st->type, NodeType::kFile);
  EXPECT_EQ(st->mode, 04751u);
  EXPECT_EQ(st->mtime_ns, -1);
  EXPECT_EQ(st->size, 5u);
  EXPECT_TRUE(tree_->SetMode("a/b/f", 0).ok());
  EXPECT_EQ(tree_->Stat("a/b/f")->mode, 0u);
  EXPECT_TRUE(tree_->Link(*tree_, "a/b/f", "hard").ok());
  EXPECT_EQ(tree_->Stat("hard")->links, 2u);
  EXPECT_EQ(tree_->Stat("hard")->inode, st->inode);
  EXPECT_TRUE(tree_->SetOwner("hard", ::getuid(), ::getgid()).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(tree_->RenameNew("hard", "a/b/f")));
  EXPECT_TRUE(tree_->RenameNew("hard", "harder").ok());
  EXPECT_TRUE(absl::IsNotFound(tree_->Stat("hard").status()));
  EXPECT_TRUE(tree_->Rename("harder", "a/moved").ok());
  EXPECT_TRUE(absl::IsNotFound(tree_->Stat("harder").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(tree_->RemoveDir("a/b")));
  EXPECT_TRUE(absl::IsFailedPrecondition(tree_->RemoveFile("a/b")));
  EXPECT_TRUE(tree_->RemoveFile("a/b/f").ok());
  EXPECT_TRUE(tree_->RemoveDir("a/b").ok());
  EXPECT_TRUE(tree_->SyncDir("a").ok());
  EXPECT_TRUE(tree_->SyncDir("").ok());
  EXPECT_TRUE(SyncFileSystem(*tree_).ok());
  auto sub = tree_->OpenDir("a");
  ASSERT_TRUE(sub.ok());
  EXPECT_EQ(*(*sub)->List(), std::vector<std::string>{"moved"});
  EXPECT_EQ((*sub)->Stat("")->type, NodeType::kDirectory);
  EXPECT_TRUE((*sub)->SetMode("", 0750).ok());
  EXPECT_EQ(tree_->Stat("a")->mode, 0750u);
  EXPECT_TRUE(absl::IsFailedPrecondition(tree_->OpenDir("a/moved").status()));
  EXPECT_TRUE(absl::IsNotFound(tree_->OpenDir("zzz").status()));
}

TEST_F(TreeTest, PartsAreWrittenOneAfterTheOther) {
  auto file = tree_->CreateFile("parts");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->WriteParts(2, {}).ok());
  std::string all(2, '\0');
  std::vector<std::string> texts;
  for (size_t i = 0; i < 3000; ++i) texts.push_back(std::string(i % 5, static_cast<char>('a' + i % 26)));  // some empty
  std::vector<std::string_view> parts(texts.begin(), texts.end());
  for (const std::string& text : texts) all += text;
  ASSERT_TRUE((*file)->WriteParts(2, parts).ok());
  std::string back(all.size() + 10, '?');
  back.resize(*(*file)->ReadAt(0, back.data(), back.size()));
  EXPECT_EQ(back, all);
}

TEST_F(TreeTest, OnlyRegularFilesAreReadAndNothingBlocks) {
  ASSERT_EQ(::mkfifo((base_ + "/root/fifo").c_str(), 0600), 0);
  int sock = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = base_ + "/root/sock";
  ASSERT_LT(path.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  ASSERT_EQ(::bind(sock, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(sock);
  ASSERT_TRUE(tree_->MakeDir("dir").ok());
  for (const char* name : {"fifo", "sock", "dir"}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(tree_->OpenRead(name).status())) << tree_->OpenRead(name).status();
  }
  EXPECT_EQ(tree_->Stat("fifo")->type, NodeType::kOther);
  EXPECT_EQ(tree_->Stat("sock")->type, NodeType::kOther);
}

TEST_F(TreeTest, NamesOfAnyBytes) {
  std::string odd;
  for (int c = 1; c < 256; ++c) {
    if (c != '/') odd += static_cast<char>(c);
  }
  Put(odd, "odd");
  EXPECT_EQ(Get(odd), "odd");
  EXPECT_EQ(*tree_->List(), std::vector<std::string>{odd});
  EXPECT_TRUE(absl::IsInvalidArgument(tree_->CreateFile(std::string(256, 'x')).status()));
}

TEST_F(TreeTest, DeepTreesAreMadeAndRemoved) {
  constexpr int kDepth = 1500;  // more than the descriptors a process may have, longer than PATH_MAX
  std::unique_ptr<TreeDir> at;
  TreeDir* dir = tree_.get();
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_TRUE(dir->MakeDir("down").ok());
    auto next = dir->OpenDir("down");
    ASSERT_TRUE(next.ok());
    at = std::move(*next);
    dir = at.get();
  }
  ASSERT_TRUE(dir->CreateFile("bottom").ok());
  at.reset();
  EXPECT_TRUE(tree_->RemoveTree("down").ok());
  EXPECT_TRUE(tree_->List()->empty());
}

TEST_F(TreeTest, RemoveTreeHandlesModesAndLinks) {
  ASSERT_TRUE(tree_->MakeDir("t").ok());
  ASSERT_TRUE(tree_->MakeDir("t/ro").ok());
  Put("t/ro/f", "x");
  ASSERT_TRUE(tree_->MakeSymlink("t/ro/link", base_ + "/outside").ok());
  ASSERT_TRUE(tree_->SetMode("t/ro", 0).ok());
  ASSERT_TRUE(tree_->SetMode("t", 0500).ok());
  EXPECT_TRUE(tree_->RemoveTree("t").ok());
  EXPECT_TRUE(tree_->RemoveTree("t").ok());
  EXPECT_TRUE(tree_->RemoveTree("no/such").ok());
  EXPECT_EQ(*ReadFile(Files::System(), Outside("secret")), "secret");
}

TEST_F(TreeTest, HolesAreFound) {
  auto file = tree_->CreateFile("sparse");
  ASSERT_TRUE(file.ok());
  constexpr uint64_t kSize = 8 << 20;
  ASSERT_TRUE((*file)->Truncate(kSize).ok());
  ASSERT_TRUE((*file)->WriteAt(4 << 20, std::string(4096, 'd')).ok());
  auto extents = [&](TreeFile& of, uint64_t begin, uint64_t end) {
    std::vector<Extent> found;
    EXPECT_TRUE(DataExtents(of, begin, end, [&](const Extent& e) { found.push_back(e); }).ok());
    return found;
  };
  bool covered = false;
  for (const Extent& e : extents(**file, 0, kSize)) {
    covered |= e.offset <= (4u << 20) && e.offset + e.length >= (4u << 20) + 4096;
  }
  EXPECT_TRUE(covered) << "what was written is never called a hole";
  const std::vector<Extent> part = extents(**file, (4 << 20) + 1024, (4 << 20) + 2048);
  ASSERT_EQ(part.size(), 1u);
  EXPECT_EQ(part[0].offset, (4u << 20) + 1024);
  EXPECT_EQ(part[0].length, 1024u);
  auto empty = tree_->CreateFile("empty");
  EXPECT_TRUE(extents(**empty, 0, 0).empty());
}

TEST_F(TreeTest, ReflinkClonesOrSaysThatItCannot) {
  Put("from", "content");
  absl::Status status = tree_->Reflink(*tree_, "from", "to");
  if (status.ok()) {
    EXPECT_EQ(Get("to"), "content");
  } else {
    EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
    EXPECT_TRUE(absl::IsNotFound(tree_->Stat("to").status())) << "nothing is left behind";
  }
}

TEST_F(TreeTest, RootsAndLocks) {
  EXPECT_TRUE(absl::IsNotFound(OpenTree(base_ + "/missing").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenTree(Outside("secret")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenTree("relative").status()));
  auto shared = TryLockDir(base_ + "/root", false);
  ASSERT_TRUE(shared.ok());
  EXPECT_TRUE(TryLockDir(base_ + "/root", false).ok());
  EXPECT_TRUE(absl::IsUnavailable(TryLockDir(base_ + "/root", true).status()));
  shared->reset();
  EXPECT_TRUE(TryLockDir(base_ + "/root", true).ok());
}

}  // namespace
}  // namespace bailiwick::os
