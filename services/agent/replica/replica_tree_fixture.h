// A source, the dataset that it is committed to and a tree that versions are laid out in, for tests.
#pragma once

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/os/tree.h"
#include "services/agent/home/dataset_fixture.h"
#include "services/agent/home/tree_walker.h"
#include "services/agent/replica/replica_tree.h"

namespace bailiwick::agent {

// Everything about a tree that a replica has to keep, a line an entry; `drop_bits` are left out of files' modes.
inline std::vector<std::string> Describe(const std::string& path, uint32_t drop_bits) {
  std::vector<std::string> out;
  auto root = os::OpenTree(path);
  EXPECT_TRUE(root.ok()) << root.status();
  if (!root.ok()) return out;
  TreeWalker walker(root->get(), path, nullptr);
  WalkItem item;
  for (;;) {
    auto more = walker.Next(&item);
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || !*more) return out;
    std::string line = absl::StrCat(item.path, " ", static_cast<int>(item.stat.type), " ", item.stat.mtime_ns);
    if (item.stat.type == os::NodeType::kSymlink) {
      absl::StrAppend(&line, " -> ", *item.dir->ReadLink(item.name));
    } else {
      uint32_t drop = item.stat.type == os::NodeType::kFile ? drop_bits : drop_bits & 06022;
      absl::StrAppend(&line, " ", item.stat.mode & ~drop);
    }
    if (item.stat.type == os::NodeType::kFile) {
      absl::StrAppend(&line, " ", item.stat.size);
      if (item.stat.size < (64 << 20)) {
        absl::StrAppend(&line, " ", std::hash<std::string>()(ReadText(path + "/" + item.path)));
      }
    }
    out.push_back(line);
  }
}

class ReplicaTreeTest : public ::testing::Test {
 protected:
  ReplicaTreeTest() {
    fs::create_directories(source_);
    Reopen();
  }
  void Reopen() {
    tree_.reset();
    auto tree = ReplicaTree::Open(os::Files::System(), root_);
    ASSERT_TRUE(tree.ok()) << tree.status();
    tree_ = *std::move(tree);
  }
  std::string At(std::string_view name) const { return source_ + "/" + std::string(name); }
  std::string Current(std::string_view name = "") const { return root_ + "/current/" + std::string(name); }
  store::CatalogVersion Commit() {
    SourceSpec spec;
    spec.path = source_;
    auto outcome = dataset_.Commit(spec);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? outcome->version : store::CatalogVersion();
  }
  absl::Status Show(const store::CatalogVersion& version, const LayoutOptions& options = {}) {
    return tree_->Show(
        dataset_.handle(), version, options, [this](uint64_t done) { laid_bytes_ = done; }, dataset_.cancelled);
  }
  void ExpectEqualToSource(uint32_t drop_bits = 06222) {
    EXPECT_EQ(Describe(root_ + "/current", drop_bits), Describe(source_, drop_bits));
    std::string diff = "diff -r --no-dereference '" + source_ + "' '" + root_ + "/current/' > /dev/null";
    EXPECT_EQ(std::system(diff.c_str()), 0);
  }
  void ExpectSound() {
    std::vector<std::string> problems;
    absl::Status status = tree_->Verify(dataset_.handle(), &problems);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_THAT(problems, ::testing::IsEmpty());
  }
  static uint64_t Inode(const std::string& path) {
    struct stat st;
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return st.st_ino;
  }
  static mode_t Mode(const std::string& path) {
    struct stat st;
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return st.st_mode & 07777;
  }
  void MakeRichSource() {
    WriteText(At("a/x"), "one");
    WriteText(At("a/tool"), "#!/bin/sh\n");
    ::chmod(At("a/tool").c_str(), 04755);
    WriteText(At("a/deep/er/file"), Noise(300000));
    WriteText(At("empty"), "");
    WriteText(At("big"), Noise(13 << 20));  // in several parts
    WriteText(At("\xFF name\n"), "odd");
    fs::create_directories(At("hollow/inner"));
    ::chmod(At("hollow/inner").c_str(), 0555);
    fs::create_directories(At("drop"));
    ::chmod(At("drop").c_str(), 03777);
    fs::create_symlink("nowhere", At("link"));
    {
      std::ofstream out(At("sparse"), std::ios::binary);
      out << "head";
      out.seekp(8 << 20);
      out << "middle";
    }
    fs::resize_file(At("sparse"), 40 << 20);
    SetTimes(At("link"), 77, 5);
    SetTimes(At("a/x"), 123, 456);
    SetTimes(At("hollow"), 1'000'000'000, 1);
    SetTimes(At("a"), 1'000'000'001, 2);
  }

  TempDir temp_;
  const std::string source_ = temp_ / "source";
  const std::string root_ = temp_ / "replicas/planner";
  DatasetFixture dataset_{temp_ / "agent"};
  std::unique_ptr<ReplicaTree> tree_;
  uint64_t laid_bytes_ = 0;
};

}  // namespace bailiwick::agent
