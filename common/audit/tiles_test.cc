#include "common/audit/tiles.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/audit/audit_fixture.h"
#include "common/audit/merkle.h"

namespace bailiwick::audit {
namespace {

class TilesTest : public AuditFixture {
 protected:
  static std::string Entry(uint64_t i) { return "entry " + std::to_string(i); }
  // Entries up to `size`, and their files.
  void GrowTo(uint64_t size, os::Files* files = os::Files::System()) {
    while (tree_.size() < size) tree_.Add(Entry(tree_.size()));
    ASSERT_TRUE(WriteTiles(files, path_, tree_.Unwritten()).ok());
    tree_.Written(size);
  }
  std::string Hashes(uint64_t from, uint64_t to) {
    std::string out;
    for (; from < to; ++from) out += LeafHash(Entry(from)).view();
    return out;
  }
  std::string Bundle(uint64_t from, uint64_t to) {
    std::string out;
    for (; from < to; ++from) out += EncodeEntry(Entry(from));
    return out;
  }
  void ExpectRead(uint64_t size, os::Files* files = os::Files::System()) {
    const uint64_t n = (size - 1) / kTileWidth;
    auto hashes = ReadTile(files, path_, 0, n, size);
    ASSERT_TRUE(hashes.ok()) << hashes.status();
    EXPECT_EQ(*hashes, Hashes(n * kTileWidth, size));
    auto bundle = ReadTile(files, path_, kEntries, n, size);
    ASSERT_TRUE(bundle.ok()) << bundle.status();
    EXPECT_EQ(*bundle, Bundle(n * kTileWidth, size));
  }
  TileTree tree_;
};

TEST_F(TilesTest, ASizeWhoseFilesAreGoneIsReadFromWiderOnes) {
  GrowTo(260);
  GrowTo(300);
  GrowTo(320);
  for (uint64_t size : {257, 260, 261, 299, 300, 310, 320}) ExpectRead(size);
  EXPECT_TRUE(absl::IsNotFound(ReadTile(files_, path_, 0, 1, 321).status())) << "narrower ones do not do";
  // The narrowest that does: here 001.p/44, whatever is in the wider one.
  Set(TilePath(0, 1, 64), "x");
  Set(TilePath(kEntries, 1, 64), "x");
  ExpectRead(290);
  GrowTo(600);
  for (int level : {0, kEntries}) ASSERT_TRUE(files_->RemoveTree(path_ + "/" + TilePath(level, 1, 256) + ".p").ok());
  for (uint64_t size : {257, 300, 511, 600}) ExpectRead(size);
  const auto missing = ReadTile(files_, path_, 0, 2, 601);
  EXPECT_EQ(missing.status().message(), path_ + "/tile/0/002 is missing");
}

TEST_F(TilesTest, AWiderFileIsCheckedAsItsOwn) {
  GrowTo(40);
  for (const int level : {0, kEntries}) {
    const std::string file = TilePath(level, 0, 40), whole = File(file);
    for (const std::string& wrong : {whole.substr(0, whole.size() - 1), whole + "x", whole + whole, std::string(),
                                     whole.substr(0, ReadTile(files_, path_, level, 0, 20)->size())}) {
      Set(file, wrong);
      EXPECT_TRUE(absl::IsDataLoss(ReadTile(files_, path_, level, 0, 20).status())) << file << " " << wrong.size();
    }
    Set(file, whole);
    // What is not the name of a width is none.
    for (const char* name : {"021", "+22", " 23", "24.new", "25x", "0", "256", "-3"}) {
      Set(file.substr(0, file.rfind('/') + 1) + name, "x");
    }
  }
  ExpectRead(20);
}

// Between listing and reading the writer beside us gets on.
struct Interrupted : os::FaultFiles {
  using FaultFiles::FaultFiles;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    auto names = FaultFiles::List(path);
    if (auto now = std::exchange(meanwhile, nullptr)) now();
    return names;
  }
  std::function<void()> meanwhile;
};

TEST_F(TilesTest, AReaderBesideAWriterListsAgain) {
  Interrupted files(files_, root_);
  GrowTo(10, &files);
  GrowTo(20, &files);
  RemovePartials(&files, path_, 10, 20, 0);
  EXPECT_FALSE(*files_->Exists(path_ + "/" + TilePath(0, 0, 10)));
  files.meanwhile = [&] {
    GrowTo(30, &files);
    RemovePartials(&files, path_, 20, 30, 0);
  };
  ExpectRead(10, &files);
  EXPECT_EQ(files.meanwhile, nullptr);
  files.meanwhile = [&] {  // it fills meanwhile
    GrowTo(300, &files);
    RemovePartials(&files, path_, 30, 300, 0);
  };
  ExpectRead(10, &files);
  EXPECT_FALSE(*files_->Exists(path_ + "/" + TilePath(0, 0, 256) + ".p"));
}

TEST_F(TilesTest, OnlyWhatIsNamedStaysAtTheEdgeOfEveryLevel) {
  for (uint64_t size = 1; size <= 1000; size += 3) {
    const uint64_t before = tree_.size();
    GrowTo(size);
    RemovePartials(files_, path_, before, size, 100);
    ExpectRead(size);
  }
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/003.p/232", "tile/1/000.p/3", "tile/entries/003.p/232"}));
  GrowTo(1001);
  RemovePartials(files_, path_, 1000, 1001, 1000);
  EXPECT_EQ(Partials().size(), 5u);
  // A size that others ask for again.
  ASSERT_TRUE(RestorePartials(files_, path_, 990).ok());
  EXPECT_EQ(File(TilePath(0, 3, 222)), Hashes(768, 990));
  EXPECT_EQ(File(TilePath(kEntries, 3, 222)), Bundle(768, 990));
  ASSERT_TRUE(RestorePartials(files_, path_, 700).ok());
  EXPECT_FALSE(*files_->Exists(path_ + "/" + TilePath(0, 2, 188))) << "the full file is there";
  EXPECT_EQ(File(TilePath(1, 0, 2)).size(), 2 * Digest::kSize);
  EXPECT_TRUE(absl::IsNotFound(RestorePartials(files_, path_, 1002)));
}

}  // namespace
}  // namespace bailiwick::audit
