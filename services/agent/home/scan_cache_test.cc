#include "services/agent/home/scan_cache.h"

#include "common/crypto/digest.h"
#include "services/agent/home/dataset_fixture.h"

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
  EXPECT_FALSE(trusted(absl::Milliseconds(2019), absl::Milliseconds(2019), true));
  EXPECT_TRUE(trusted(absl::Milliseconds(2021), absl::Milliseconds(2021), true));
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

}  // namespace
}  // namespace bailiwick::agent
