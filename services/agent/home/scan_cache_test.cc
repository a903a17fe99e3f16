#include "services/agent/home/scan_cache.h"

#include "common/crypto/digest.h"
#include "services/agent/home/dataset_fixture.h"
#include "services/agent/home/scan_cache_changes.h"

namespace bailiwick::agent {
namespace {

class ScanCacheTest : public ::testing::Test {
 protected:
  static std::string Path(int i) {
    return "dir/sub" + std::to_string(1000 + i / 100) + "/file" + std::to_string(100000 + i);
  }
  static os::NodeStat Stat(int i) {
    os::NodeStat stat;
    stat.type = os::NodeType::kFile;
    stat.size = static_cast<uint64_t>(i);
    stat.mtime_ns = -5 + i;
    stat.ctime_ns = 1'700'000'000'000'000'000 + i;
    stat.inode = static_cast<uint64_t>(i) + 10;
    stat.device = 3;
    return stat;
  }
  void Fill(int n, const Digest& root) {
    ScanCache cache(os::Files::System(), path_, root_a_);
    for (int i = 0; i < n; ++i) cache.Keep(MakeScanRecord(Path(i), Stat(i)));
    cache.Finish(root);
  }
  int CountUnchanged(int n, const Digest& root) {
    ScanCache cache(os::Files::System(), path_, root);
    int count = 0;
    for (int i = 0; i < n; ++i) count += cache.Unchanged(Path(i), Stat(i));
    return count;
  }

  TempDir temp_;
  std::string path_ = temp_ / "scan-cache";
  Digest root_a_ = crypto::Sha256("a");
  Digest root_b_ = crypto::Sha256("b");
};

constexpr int kMany = 5000;  // several blocks

TEST_F(ScanCacheTest, RemembersAndIsBoundToItsManifest) {
  Fill(kMany, root_a_);
  EXPECT_EQ(CountUnchanged(kMany, root_a_), kMany);
  EXPECT_EQ(CountUnchanged(kMany, root_b_), 0);
  EXPECT_EQ(CountUnchanged(kMany, Digest()), 0);
}

TEST_F(ScanCacheTest, EveryNumberCounts) {
  Fill(10, root_a_);
  for (int field = 0; field < 5; ++field) {
    ScanCache cache(os::Files::System(), path_, root_a_);
    os::NodeStat stat = Stat(4);
    if (field == 0) ++stat.size;
    if (field == 1) ++stat.mtime_ns;
    if (field == 2) ++stat.ctime_ns;
    if (field == 3) ++stat.inode;
    if (field == 4) ++stat.device;
    EXPECT_FALSE(cache.Unchanged(Path(4), stat)) << field;
    EXPECT_TRUE(cache.Unchanged(Path(5), Stat(5)));
  }
}

TEST_F(ScanCacheTest, RewrittenOnlyWhenSomethingChanged) {
  Fill(kMany, root_a_);
  auto inode = [&] { return os::OpenTree(temp_.str()).value()->Stat("scan-cache")->inode; };
  fs::create_hard_link(path_, temp_ / "pin");  // so that the inode is not used again
  uint64_t first = inode();
  Fill(kMany, root_a_);
  EXPECT_EQ(inode(), first);
  Fill(kMany - 1, root_a_);  // one file fewer
  EXPECT_NE(inode(), first);
  EXPECT_EQ(CountUnchanged(kMany, root_a_), kMany - 1);
  Fill(kMany, root_a_);  // one more
  EXPECT_EQ(CountUnchanged(kMany, root_a_), kMany);
  Fill(kMany, root_b_);  // the same files under a new manifest
  EXPECT_EQ(CountUnchanged(kMany, root_b_), kMany);
  EXPECT_FALSE(fs::exists(path_ + ".new"));
}

// A file can be written once more, unseen, until the clock that stamps it has ticked: some ms, a second or two.
TEST_F(ScanCacheTest, WhatTheTimesCannotTellApartHasNoRecord) {
  const absl::Time begun = absl::FromUnixSeconds(1'700'000'000) + absl::Milliseconds(700);
  auto trusted = [&](absl::Duration mtime_ago, absl::Duration ctime_ago, bool coarse = false) {
    os::NodeStat stat;
    stat.mtime_ns = absl::ToUnixNanos(begun - mtime_ago);
    stat.ctime_ns = absl::ToUnixNanos(begun - ctime_ago);
    return TrustedScanRecord("f", stat, begun, coarse).has_value();
  };
  const absl::Duration whole = absl::Milliseconds(700), hour = absl::Hours(1) + absl::Milliseconds(3);
  EXPECT_TRUE(trusted(absl::Milliseconds(21), absl::Milliseconds(21)));
  EXPECT_FALSE(trusted(absl::Milliseconds(21), absl::Milliseconds(20)));
  EXPECT_FALSE(trusted(absl::Milliseconds(20), absl::Milliseconds(21)));
  EXPECT_FALSE(trusted(whole, whole)) << "ext3, ext4 with inodes of 128 bytes";
  EXPECT_FALSE(trusted(whole + absl::Seconds(1), whole + absl::Seconds(1))) << "vfat counts in two seconds";
  EXPECT_TRUE(trusted(whole + absl::Seconds(2), whole + absl::Seconds(2)));
  EXPECT_FALSE(trusted(whole, hour)) << "a ctime that says when the file was made";
  EXPECT_FALSE(trusted(hour, whole)) << "an mtime that was set";
  EXPECT_FALSE(trusted(whole - absl::Seconds(1), whole - absl::Seconds(1))) << "a clock that was set back";
  EXPECT_TRUE(trusted(-hour, hour)) << "an mtime that lies ahead: a write now would change it";
  EXPECT_FALSE(trusted(-hour, absl::Milliseconds(20))) << "it was set just now";
  EXPECT_FALSE(trusted(-hour, hour, true)) << "no ctime to go by";
  EXPECT_FALSE(trusted(absl::Milliseconds(2019), absl::Milliseconds(2019), true));
  EXPECT_TRUE(trusted(absl::Milliseconds(2021), absl::Milliseconds(2021), true));
}

TEST_F(ScanCacheTest, WholeSecondsOfAnOlderBuildAreNotTrusted) {
  ScanCache cache(os::Files::System(), path_, root_a_);
  os::NodeStat whole = Stat(1);
  whole.ctime_ns = 1'700'000'000'000'000'000;
  cache.Keep(MakeScanRecord(Path(1), whole));
  cache.Keep(MakeScanRecord(Path(2), Stat(2)));
  cache.Finish(root_a_);
  std::string bytes = ReadText(path_);
  bytes[7] = 1;  // the format
  bytes.replace(41, 8, crypto::Sha256(bytes.substr(0, 41)).view().substr(0, 8));
  WriteText(path_, bytes);
  ScanCache older(os::Files::System(), path_, root_a_);
  EXPECT_FALSE(older.Unchanged(Path(1), whole));
  EXPECT_TRUE(older.Unchanged(Path(2), Stat(2)));
}

TEST_F(ScanCacheTest, DamageCostsOnlyReading) {
  Fill(kMany, root_a_);
  const std::string whole = ReadText(path_);
  for (size_t at : {size_t{0}, size_t{20}, size_t{60}, whole.size() / 2, whole.size() - 1}) {
    std::string bad = whole;
    bad[at] ^= 0x40;
    WriteText(path_, bad);
    ScanCache cache(os::Files::System(), path_, root_a_);
    for (int i = 0; i < kMany; ++i) {
      os::NodeStat changed = Stat(i);
      ++changed.size;
      EXPECT_FALSE(cache.Unchanged(Path(i), changed));
    }
    Fill(kMany, root_a_);  // mends it
    EXPECT_EQ(CountUnchanged(kMany, root_a_), kMany) << at;
  }
  for (size_t length : {size_t{0}, size_t{10}, size_t{49}, size_t{70}, whole.size() - 13}) {
    WriteText(path_, whole.substr(0, length));
    EXPECT_LT(CountUnchanged(kMany, root_a_), kMany + 1);
    Fill(kMany, root_a_);
    EXPECT_EQ(CountUnchanged(kMany, root_a_), kMany) << length;
  }
}

// Commits of changes alone, each bound to the one before.
class ScanCacheChangesTest : public ScanCacheTest {
 protected:
  static Digest Root(int i) { return crypto::Sha256("root" + std::to_string(i)); }
  static os::NodeStat Newer(int i) {
    os::NodeStat stat = Stat(i);
    stat.size += 1'000'000;
    return stat;
  }
  // [from, to) are as Newer says from now on; the others as before.
  void Save(int from, int to, const Digest& before, const Digest& after) {
    ScanCacheChanges changes;
    for (int i = from; i < to; ++i) changes.Set(Path(i), MakeScanRecord(Path(i), Newer(i)));
    changes.Save(os::Files::System(), path_, before, after);
  }
  int CountNewer(int n, const Digest& root) {
    ScanCache cache(os::Files::System(), path_, root);
    int count = 0;
    for (int i = 0; i < n; ++i) count += cache.Unchanged(Path(i), Newer(i));
    return count;
  }
  std::string ChangesPath() const { return path_ + ".changes"; }
};

TEST_F(ScanCacheChangesTest, TenMoreFilesCostTenFiles) {
  Fill(kMany, Root(0));
  Save(0, kMany - 100, Root(0), Root(1));
  const std::string before = ReadText(ChangesPath());
  fs::create_hard_link(ChangesPath(), temp_ / "pin");
  Save(kMany - 100, kMany - 90, Root(1), Root(2));
  EXPECT_TRUE(fs::equivalent(ChangesPath(), temp_ / "pin")) << "not written anew";
  const std::string after = ReadText(ChangesPath());
  EXPECT_TRUE(after.starts_with(before));
  EXPECT_LT(after.size() - before.size(), 2000u);
  EXPECT_EQ(CountNewer(kMany, Root(2)), kMany - 90);
  EXPECT_EQ(CountUnchanged(kMany, Root(2)), 90);
  EXPECT_EQ(CountNewer(kMany, Root(1)), 0) << "bound to the newest alone";
}

TEST_F(ScanCacheChangesTest, TheSameFilesAgainAndAgainTakeBoundedSpace) {
  Fill(kMany, Root(0));
  for (int i = 0; i < 60; ++i) Save(0, 1000, Root(i), Root(i + 1));
  EXPECT_LT(fs::file_size(ChangesPath()), 2u << 20);
  EXPECT_EQ(CountNewer(kMany, Root(60)), 1000);
  EXPECT_EQ(CountUnchanged(kMany, Root(60)), kMany - 1000);
}

TEST_F(ScanCacheChangesTest, ManyGoIntoTheCache) {
  const int n = 70'000;
  Fill(n, Root(0));
  Save(0, 69'000, Root(0), Root(1));
  EXPECT_FALSE(fs::exists(ChangesPath()));
  EXPECT_EQ(CountNewer(n, Root(1)), 69'000);
  EXPECT_EQ(CountUnchanged(n, Root(1)), 1000);
}

TEST_F(ScanCacheChangesTest, WhatGoesAndComesInOneFile) {
  Fill(10, Root(0));
  ScanCacheChanges gone;
  gone.DropBelow("dir");
  gone.Drop("dir");
  gone.Save(os::Files::System(), path_, Root(0), Root(1));
  Save(3, 5, Root(1), Root(2));
  EXPECT_EQ(CountUnchanged(10, Root(2)), 0);
  EXPECT_EQ(CountNewer(10, Root(2)), 2);
}

TEST_F(ScanCacheChangesTest, ATornEndIsOfNoUseAndNoLie) {
  Fill(100, Root(0));
  Save(0, 10, Root(0), Root(1));
  const size_t first = ReadText(ChangesPath()).size();
  Save(5, 20, Root(1), Root(2));
  const std::string whole = ReadText(ChangesPath());
  for (size_t length = first; length < whole.size(); length += 7) {
    WriteText(ChangesPath(), whole.substr(0, length));
    EXPECT_EQ(CountNewer(100, Root(2)) + CountUnchanged(100, Root(2)), 0) << length;
    EXPECT_EQ(CountNewer(100, Root(1)), 10) << length;
    Save(30, 40, Root(2), Root(3));  // cannot build on what is lost
    EXPECT_EQ(CountNewer(100, Root(3)) + CountUnchanged(100, Root(3)), 0) << length;
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string bad = whole;
    bad[at] ^= 0x10;
    WriteText(ChangesPath(), bad);
    EXPECT_EQ(CountNewer(100, Root(2)) + CountUnchanged(100, Root(2)), 0) << at;
  }
  std::string zeros = whole;  // a page that never came to the disk
  std::fill(zeros.begin() + static_cast<ptrdiff_t>(first) + 40, zeros.end(), '\0');
  WriteText(ChangesPath(), zeros);
  EXPECT_EQ(CountNewer(100, Root(2)), 0);
  // A scan makes all good.
  Fill(100, Root(2));
  EXPECT_EQ(CountUnchanged(100, Root(2)), 100);
  Save(0, 1, Root(2), Root(3));
  EXPECT_EQ(CountNewer(100, Root(3)), 1);
}

TEST_F(ScanCacheChangesTest, OfAnotherCacheTheyAreNothing) {
  Fill(10, Root(0));
  Save(0, 5, Root(0), Root(1));
  const std::string left = ReadText(ChangesPath());
  Fill(10, Root(9));
  WriteText(ChangesPath(), left);  // a crash left it
  EXPECT_EQ(CountUnchanged(10, Root(9)), 10);
  Save(7, 8, Root(9), Root(1));
  EXPECT_EQ(CountNewer(10, Root(1)), 1);
  EXPECT_EQ(CountUnchanged(10, Root(1)), 9);
}

TEST_F(ScanCacheChangesTest, ThoseOfAnOlderBuildGoOn) {
  Fill(10, Root(0));
  auto number = [](uint64_t value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
    return out;
  };
  std::string old("BWSCHG\0\1", 8);
  for (const Digest& root : {Root(0), Root(1)}) old.append(1, '\1').append(root.view());
  os::NodeStat whole = Newer(3);  // of which it took whole seconds for exact times
  whole.ctime_ns = 1'700'000'000'000'000'000;
  for (int i : {2, 3}) {
    const os::NodeStat stat = i == 3 ? whole : Newer(i);
    old += '\1' + number(Path(i).size(), 2) + Path(i) + number(stat.size, 8);
    for (int64_t time : {stat.mtime_ns, stat.ctime_ns}) old += number(static_cast<uint64_t>(time), 8);
    old += number(stat.inode, 8) + number(stat.device, 8);
  }
  WriteText(ChangesPath(), old.append(crypto::Sha256(old).view()));
  EXPECT_EQ(CountNewer(10, Root(1)), 1);
  EXPECT_EQ(CountUnchanged(10, Root(1)), 8);
  EXPECT_FALSE(ScanCache(os::Files::System(), path_, Root(1)).Unchanged(Path(3), whole));
  Save(5, 6, Root(1), Root(2));
  EXPECT_EQ(CountNewer(10, Root(2)), 2);
  EXPECT_EQ(CountUnchanged(10, Root(2)), 7);
}

}  // namespace
}  // namespace bailiwick::agent
