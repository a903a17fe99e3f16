#include "services/agent/home/tree_walker.h"

#include <malloc.h>
#include <sys/resource.h>

#include <random>

#include "common/store/manifest.h"
#include "services/agent/home/dataset_fixture.h"

namespace bailiwick::agent {
namespace {

std::vector<std::string> Walk(const std::string& path, TreeWalker::Filter filter = nullptr) {
  std::vector<std::string> out;
  auto root = os::OpenTree(path);
  EXPECT_TRUE(root.ok()) << root.status();
  TreeWalker walker(root->get(), path, std::move(filter));
  WalkItem item;
  for (;;) {
    auto more = walker.Next(&item);
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || !*more) return out;
    EXPECT_EQ(item.dir->Stat(item.name)->inode, item.stat.inode) << item.path;
    out.push_back(item.path);
  }
}

TEST(TreeWalkerTest, VisitsInManifestOrder) {
  TempDir temp;
  for (const char* name : {"a/x", "a/y/z", "a.txt", "a-b/q", "a b", "\xFF\xFE/in", "B", "new\nline"})
    WriteText(temp / name, "1");
  fs::create_directory(temp / "empty");
  fs::create_symlink("a", temp / "link");
  std::vector<std::string> seen = Walk(temp.str());
  EXPECT_EQ(seen.size(), 14u);
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_LT(store::ComparePaths(seen[i - 1], seen[i]), 0) << seen[i];
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "link/x"), 0);  // links are not followed
}

TEST(TreeWalkerTest, FilterLeavesOutWithWhatIsBelow) {
  TempDir temp;
  for (const char* name : {"keep/x", "drop/x", "drop/y/z"}) WriteText(temp / name, "1");
  std::vector<std::string> seen =
      Walk(temp.str(), [](std::string_view path, const os::NodeStat&) { return path != "drop"; });
  EXPECT_EQ(seen, (std::vector<std::string>{"keep", "keep/x"}));
}

TEST(TreeWalkerTest, DeepTreesNeedFewHandles) {
  TempDir temp;
  std::string path = temp.str();
  constexpr int kDepth = 400;
  for (int i = 0; i < kDepth; ++i) path += "/d";
  fs::create_directories(path);
  WriteText(path + "/leaf", "x");
  WriteText(temp / "d/zz", "x");
  rlimit old{}, low{};
  ::getrlimit(RLIMIT_NOFILE, &old);
  low = old;
  low.rlim_cur = 200;
  ::setrlimit(RLIMIT_NOFILE, &low);
  std::vector<std::string> seen = Walk(temp.str());
  ::setrlimit(RLIMIT_NOFILE, &old);
  EXPECT_EQ(seen.size(), static_cast<size_t>(kDepth) + 2);
  EXPECT_EQ(seen.back(), "d/zz");
}

TEST(TreeWalkerTest, VanishedIsAbsent) {
  TempDir temp;
  for (const char* name : {"a", "b/x", "c"}) WriteText(temp / name, "1");
  std::vector<std::string> seen = Walk(temp.str(), [&](std::string_view path, const os::NodeStat&) {
    if (path == "a") fs::remove_all(temp / "c");
    if (path == "b") fs::remove_all(temp / "b");  // after its stat, before it is opened
    return true;
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"a"}));
}

void ExpectSorted(NameList& names, std::vector<std::string> given) {
  ASSERT_TRUE(names.Sort().ok());
  std::sort(given.begin(), given.end());
  std::string name;
  for (const std::string& expected : given) {
    ASSERT_EQ(names.Next(&name).value_or(false), true);
    ASSERT_EQ(name, expected);
  }
  EXPECT_EQ(names.Next(&name).value_or(true), false);
}

size_t InUse() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(NameListTest, SortsBytewiseAndKeepsWhatItWasGiven) {
  NameList names;
  std::vector<std::string> given = {"b", "a\n", std::string(255, 'x'), "\xff", "B", "a", "aa"};
  for (int n = 0; n < 20'000; ++n) given.push_back(absl::StrCat("f", n * 7919 % 20'000));
  for (const std::string& name : given) ASSERT_TRUE(names.Add(name));
  EXPECT_FALSE(names.Add(std::string(256, 'y')));
  ExpectSorted(names, given);
}

TEST(NameListTest, MillionsOfLongNamesTakeAFractionOfTheirBytes) {
  NameList names;
  std::vector<std::string> given;
  for (int n = 0; n < 200'000; ++n) given.push_back(absl::StrCat(n * 7919 % 200'000, std::string(240, 'n')));
  std::mt19937_64 random(7);
  for (int n = 0; n < 50'000; ++n) {  // and some that do not compress
    std::string name(random() % 255 + 1, '\0');
    for (char& c : name) c = static_cast<char>(random() % 255 + 1);
    given.push_back(std::move(name));
  }
  const size_t before = InUse();
  for (const std::string& name : given) ASSERT_TRUE(names.Add(name));
  EXPECT_LT(InUse() - before, NameList::kRunBytes + (16 << 20)) << "of " << 200'000 * 246 + 50'000 * 128 << " bytes";
  ExpectSorted(names, given);
}

}  // namespace
}  // namespace bailiwick::agent
