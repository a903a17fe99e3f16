// Commits of what a watch saw, beside commits that scan: the versions must be the same, whatever happened to the
// source.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <random>

#include "services/agent/home/dataset_fixture.h"
#include "services/agent/home/source_watch.h"

namespace bailiwick::agent {
namespace {

class ChangesTest : public ::testing::Test {
 protected:
  ChangesTest() : watching_(temp_ / "watching"), scanning_(temp_ / "scanning"), watch_(os::Clock::System()) {
    spec_.path = temp_ / "source";
    fs::create_directories(spec_.path);
  }
  std::string Path(const std::string& name) const { return spec_.path + "/" + name; }
  absl::StatusOr<CommitOutcome> Watching(const CommitOptions& options = {}) {
    return watching_.Commit(spec_, options, nullptr, os::Clock::System(), &watch_);
  }
  // Both ways, and that they agree. Whether the one with the watch scanned.
  bool Agree() {
    auto by_changes = Watching();
    auto by_scan = scanning_.Commit(spec_);
    EXPECT_TRUE(by_changes.ok()) << by_changes.status();
    EXPECT_TRUE(by_scan.ok()) << by_scan.status();
    if (!by_changes.ok() || !by_scan.ok()) return true;
    const store::VersionRecord& a = by_changes->version.record;
    const store::VersionRecord& b = by_scan->version.record;
    EXPECT_EQ(a.manifest_root, b.manifest_root);
    EXPECT_EQ(a.entries, b.entries);
    EXPECT_EQ(a.files, b.files);
    EXPECT_EQ(a.logical_bytes, b.logical_bytes);
    EXPECT_EQ(by_changes->unchanged, by_scan->unchanged);
    if (a.manifest_root != b.manifest_root) Explain(watching_, by_changes->version, scanning_, by_scan->version);
    return by_changes->scanned;
  }
  // So that what was written before is old enough for its times to tell whether it is written again.
  static void Rest() { os::Clock::System()->SleepFor(absl::Milliseconds(50)); }
  static void Explain(DatasetFixture& watching, const store::CatalogVersion& a, DatasetFixture& scanning,
                      const store::CatalogVersion& b) {
    auto mine = watching.Entries(a), wanted = scanning.Entries(b);
    for (const auto& [path, entry] : wanted) {
      auto it = mine.find(path);
      if (it == mine.end()) {
        ADD_FAILURE() << "missing: " << path;
      } else if (it->second.mode != entry.mode || it->second.mtime_ns != entry.mtime_ns ||
                 it->second.size != entry.size || it->second.type != entry.type) {
        ADD_FAILURE() << "other: " << path << " " << it->second.mtime_ns - entry.mtime_ns;
      }
    }
    for (const auto& [path, entry] : mine) {
      if (wanted.count(path) == 0) ADD_FAILURE() << "too much: " << path;
    }
  }

  TempDir temp_;
  SourceSpec spec_;
  DatasetFixture watching_;
  DatasetFixture scanning_;
  SourceWatch watch_;
};

TEST_F(ChangesTest, EveryKindOfChangeIsSeenWithoutAScan) {
  for (const char* name : {"a/1", "a/2", "a/deep/er/3", "b/4", "top"}) WriteText(Path(name), name);
  EXPECT_TRUE(Agree()) << "the first commit scans";
  EXPECT_FALSE(Agree()) << "nothing changed";
  auto step = [&](const char* what, const std::function<void()>& change) {
    SCOPED_TRACE(what);
    change();
    EXPECT_FALSE(Agree());
    EXPECT_FALSE(Agree());
  };
  step("content", [&] { WriteText(Path("a/1"), "other"); });
  step("grown", [&] { std::ofstream(Path("a/2"), std::ios::app) << "more"; });
  step("a new file", [&] { WriteText(Path("b/new"), "n"); });
  step("in a new directory", [&] { WriteText(Path("c/d/e/new"), "n"); });
  step("and more in there", [&] { WriteText(Path("c/d/e/newer"), "n"); });
  step("mode", [&] { fs::permissions(Path("top"), fs::perms::owner_all); });
  step("mode of a directory", [&] { fs::permissions(Path("a/deep"), fs::perms::owner_all); });
  step("time", [&] { SetTimes(Path("b/4"), 1'000'000'000); });
  step("a file removed", [&] { fs::remove(Path("a/2")); });
  step("a file renamed", [&] { fs::rename(Path("top"), Path("bottom")); });
  step("a directory renamed", [&] { fs::rename(Path("a"), Path("z")); });
  step("and changed in its new place", [&] { WriteText(Path("z/deep/er/3"), "changed"); });
  step("a tree removed", [&] { fs::remove_all(Path("c")); });
  step("a symlink", [&] { fs::create_symlink("nowhere", Path("link")); });
  step("a directory for a file", [&] { fs::remove(Path("b/4")), WriteText(Path("b/4/inside"), "x"); });
  step("a file for a directory", [&] { fs::remove_all(Path("b/4")), WriteText(Path("b/4"), "x"); });
  step("a tree moved in", [&] {
    WriteText(temp_ / "outside/x/y", "y");
    fs::rename(temp_ / "outside", Path("inside"));
  });
  step("swapped", [&] {
    fs::rename(Path("inside"), Path("tmp"));
    fs::rename(Path("b"), Path("inside"));
    fs::rename(Path("tmp"), Path("b"));
  });
}

TEST_F(ChangesTest, RandomChangesGiveTheVersionThatAScanGives) {
  for (int variant = 0; variant < 8; ++variant) {
    SCOPED_TRACE(variant);
    std::mt19937 rng(static_cast<unsigned>(variant) + 3);
    TempDir temp;
    spec_.path = temp / "source";
    fs::create_directories(spec_.path + "/d0");
    WriteText(Path("f0"), "keeps it from being empty");
    spec_.keep_absent = variant % 2 == 1;
    spec_.include = variant >= 4 ? std::vector<std::string>{"f0", "f2", "d1/", "!d1/f2"} : std::vector<std::string>{};
    if (variant >= 6) spec_.include = {"/f0", "d*/f*", "!d*/d0/"};
    spec_.ignore = variant % 4 >= 2 ? std::vector<std::string>{"f1", "d2/", "!d2/d1/"} : std::vector<std::string>{};
    DatasetFixture a(temp / "a"), b(temp / "b");
    std::optional<SourceWatch> watch(os::Clock::System());
    int scans = 0;
    auto name = [&] {
      std::string path;
      for (int depth = static_cast<int>(rng() % 3); depth > 0; --depth) path += "d" + std::to_string(rng() % 3) + "/";
      return Path(path + (rng() % 3 == 0 ? "d" : "f") + std::to_string(rng() % 4));
    };
    for (int round = 0; round < 80; ++round) {
      for (int k = static_cast<int>(rng() % 6); k > 0; --k) {
        const std::string x = name(), y = name();
        std::error_code ignored;
        switch (rng() % 9) {
          case 0:
          case 1:
          case 2:
            if (fs::is_directory(fs::path(x).parent_path(), ignored) && !fs::is_directory(x, ignored)) {
              std::ofstream(x) << rng();
            }
            break;
          case 3:
            fs::create_directories(x, ignored);
            break;
          case 4:
            if (x != Path("f0")) fs::remove_all(x, ignored);
            break;
          case 5:
          case 6:
            if (x != Path("f0") && y != Path("f0")) fs::rename(x, y, ignored);
            break;
          case 7:
            if (variant % 4 == 1 && fs::is_regular_file(x, ignored)) fs::create_hard_link(x, y, ignored);
            break;
          default:
            if (fs::exists(fs::symlink_status(x, ignored)) && !fs::is_symlink(x, ignored)) {
              fs::permissions(x, static_cast<fs::perms>(0700 | (rng() % 64)), ignored);
            }
        }
      }
      auto by_changes = a.Commit(spec_, {}, nullptr, os::Clock::System(), &*watch);
      auto by_scan = b.Commit(spec_);
      ASSERT_TRUE(by_changes.ok()) << by_changes.status();
      ASSERT_TRUE(by_scan.ok()) << by_scan.status();
      scans += by_changes->scanned;
      if (by_changes->version.record.manifest_root != by_scan->version.record.manifest_root) {
        Explain(a, by_changes->version, b, by_scan->version);
      }
      ASSERT_EQ(by_changes->version.record.manifest_root, by_scan->version.record.manifest_root) << round;
      ASSERT_EQ(by_changes->version.record.files, by_scan->version.record.files) << round;
      if (rng() % 10 == 0) {  // what the changes left of the scan cache serves the next scan
        watch.emplace(os::Clock::System());
        --scans;
      }
    }
    if (variant % 4 != 1) {
      EXPECT_EQ(scans, 1) << "the first";
    }
  }
}

// The walk has listed the names above it before, and comes to the place where it was after it went.
TEST_F(ChangesTest, WhatIsRenamedWhileItIsWalkedIsNotLost) {
  for (const char* name : {"b/x", "z/1", "z/2"}) WriteText(Path(name), name);
  ASSERT_TRUE(Watching().ok());
  WriteText(Path("b/large"), Noise(24 << 20));
  bool renamed = false;
  CommitOptions scan;
  scan.scan = true;
  auto outcome = watching_.Commit(
      spec_, scan,
      [&](const CommitProgress& progress) {
        if (renamed || progress.read_bytes < (4 << 20)) return;
        renamed = true;
        fs::rename(Path("z"), Path("a"));
      },
      os::Clock::System(), &watch_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(renamed);
  const auto entries = watching_.Entries(outcome->version);
  EXPECT_EQ(entries.count("a/1"), 1u);
  EXPECT_EQ(entries.count("z/1"), 0u);
  ASSERT_TRUE(scanning_.Commit(spec_).ok());
  Agree();
}

TEST_F(ChangesTest, IncludePatternsNeedNoScan) {
  spec_.include = {"*.log", "!old.log", "keep/"};
  for (const char* name : {"a/b/1.log", "a/b/1.tmp", "c/2.tmp", "keep/x/y", "top.log"}) WriteText(Path(name), name);
  Agree();
  auto step = [&](const char* what, const std::function<void()>& change) {
    SCOPED_TRACE(what);
    change();
    EXPECT_FALSE(Agree());
    EXPECT_FALSE(Agree());
  };
  step("left out", [&] { WriteText(Path("a/b/3.tmp"), "x"); });
  step("let through", [&] { fs::rename(Path("a/b/3.tmp"), Path("a/b/3.log")); });
  step("negated", [&] { WriteText(Path("a/b/old.log"), "x"); });
  step("the first in a directory", [&] { WriteText(Path("c/2.log"), "x"); });
  step("in a new one, further down", [&] { WriteText(Path("c/d/e/4.log"), "x"); });
  step("the last goes, and its directories", [&] { fs::remove(Path("c/d/e/4.log")); });
  step("its name turns", [&] { fs::rename(Path("c/2.log"), Path("c/2.gone")); });
  step("a tree goes", [&] { fs::remove_all(Path("a/b")); });
  step("an included directory is empty", [&] { fs::remove_all(Path("keep/x")); });
  step("a file for a directory", [&] { fs::remove_all(Path("c")), WriteText(Path("c"), "x"); });
  step("a directory by the name of a file", [&] { fs::create_directories(Path("z.log/in")); });
  step("renamed as a whole", [&] {
    WriteText(Path("p/q/5.log"), "5");
    fs::rename(Path("p"), Path("r"));
  });
}

TEST_F(ChangesTest, AFileThatIsReachedThroughAnotherNameIsSeen) {
  WriteText(Path("d/f"), "one");
  WriteText(Path("other"), "x");
  fs::create_hard_link(Path("d/f"), temp_ / "elsewhere");
  SetTimes(Path("d/f"), 1'000'000'000);
  Agree();
  EXPECT_FALSE(Agree());
  WriteText(temp_ / "elsewhere", "two");  // no directory of the source is told
  EXPECT_FALSE(Agree());
  EXPECT_EQ(ReadText(Path("d/f")), "two");
  fs::remove(temp_ / "elsewhere");
  EXPECT_FALSE(Agree());
}

// What inotify says then names a file that is not there any more.
TEST_F(ChangesTest, AWriteByANameThatIsGoneIsSeen) {
  WriteText(Path("d/other"), "1");
  std::ofstream linked(Path("d/.tmp"), std::ios::app);
  linked << "one" << std::flush;
  fs::create_hard_link(Path("d/.tmp"), Path("d/final"));
  fs::remove(Path("d/.tmp"));
  const int nameless = ::open(Path("d").c_str(), O_TMPFILE | O_RDWR, 0644);
  ASSERT_GE(nameless, 0);
  const std::string by_descriptor = "/proc/self/fd/" + std::to_string(nameless);
  ASSERT_EQ(::linkat(AT_FDCWD, by_descriptor.c_str(), AT_FDCWD, Path("d/named").c_str(), AT_SYMLINK_FOLLOW), 0);
  Agree();
  Rest();
  for (int i = 0; i < 2; ++i) {
    linked << "two" << std::flush;
    Agree();
    ASSERT_EQ(::write(nameless, "more", 4), 4);
    Agree();
  }
  linked.close();
  ::close(nameless);
  Agree();
  WriteText(Path("d/other"), "2");
  EXPECT_FALSE(Agree()) << "nobody writes without a name any more";
}

TEST_F(ChangesTest, AFileThatHadAnotherNameOutsideIsSeen) {
  WriteText(temp_ / "beside", "one");
  fs::create_directories(Path("d"));
  fs::create_hard_link(temp_ / "beside", Path("d/f"));
  std::ofstream writer(temp_ / "beside", std::ios::app);
  Agree();
  fs::remove(temp_ / "beside");
  Agree();
  Rest();
  writer << "two" << std::flush;
  EXPECT_FALSE(Agree());
  EXPECT_FALSE(Agree());
}

// A program that replaces a file writes under another name before: no reason to scan.
TEST_F(ChangesTest, ReplacingAFileNeedsNoScan) {
  WriteText(Path("d/f"), "1");
  Agree();
  Rest();
  for (int i = 0; i < 3; ++i) {
    WriteText(Path("d/.new"), std::to_string(i));
    if (i == 1) {
      EXPECT_FALSE(Agree()) << "half way";
    }
    fs::rename(Path("d/.new"), Path("d/f"));
    WriteText(Path("d/scratch"), "x");
    fs::remove(Path("d/scratch"));
    EXPECT_FALSE(Agree());
  }
}

TEST_F(ChangesTest, WhenItLastChangedIsSaidOfWhatBelongsToTheDataset) {
  spec_.ignore = {"*.log", "/scratch/"};
  WriteText(Path("f"), "1");
  WriteText(Path("app.log"), "1");
  WriteText(Path("scratch/x"), "1");
  ASSERT_TRUE(Watching().ok());
  Rest();
  const std::optional<absl::Time> before = watch_.LastChange();
  ASSERT_TRUE(before);
  WriteText(Path("app.log"), "22");
  WriteText(Path("scratch/x"), "22");
  EXPECT_EQ(watch_.LastChange(), before);
  WriteText(Path("f"), "22");
  EXPECT_GT(watch_.LastChange(), before);
}

TEST_F(ChangesTest, AFileOfSeveralNamesStaysWhereItsDirectoryWentAndCameBack) {
  WriteText(Path("d/f"), "one");
  WriteText(Path("d/deep/g"), "one");
  WriteText(Path("other"), "x");
  fs::create_hard_link(Path("d/f"), temp_ / "elsewhere");
  fs::create_hard_link(Path("d/deep/g"), Path("d/deep/h"));
  Rest();
  Agree();
  EXPECT_FALSE(Agree());
  fs::rename(Path("d"), Path("e"));
  fs::rename(Path("e"), Path("d"));
  EXPECT_FALSE(Agree());
  fs::rename(Path("d"), temp_ / "out");
  fs::rename(temp_ / "out", Path("d"));
  WriteText(Path("other"), "y");
  EXPECT_FALSE(Agree());
  WriteText(temp_ / "elsewhere", "two");
  EXPECT_FALSE(Agree());
  EXPECT_EQ(watching_.Content(watching_.Entries(Watching()->version).at("d/f")), "two");
}

TEST_F(ChangesTest, WhatIsNotCertainIsScanned) {
  WriteText(Path("a"), "a");
  WriteText(Path("d/b"), "b");
  Agree();
  spec_.ignore = {"a"};
  EXPECT_TRUE(Agree()) << "other patterns";
  EXPECT_FALSE(Agree());
  EXPECT_TRUE(Watching({.scan = true})->scanned) << "asked for";
  EXPECT_FALSE(Agree());
  fs::rename(spec_.path, temp_ / "moved");
  fs::create_directories(spec_.path);
  WriteText(Path("new"), "new");
  EXPECT_TRUE(Agree()) << "another directory lies there";
  EXPECT_FALSE(Agree());
  const int queue = std::stoi(ReadText("/proc/sys/fs/inotify/max_queued_events"));
  for (int i = 0; i < queue; ++i) WriteText(Path("many"), std::to_string(i));  // two events or more each
  EXPECT_TRUE(Agree()) << "more than the kernel keeps";
  EXPECT_FALSE(Agree());
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_TRUE(Agree()) << "a version counts what it cannot hold";
  spec_.include = {"new"};
  EXPECT_TRUE(Agree()) << "other patterns";
  EXPECT_FALSE(Agree());
}

TEST_F(ChangesTest, AnEmptiedSourceIsNoDeletion) {
  WriteText(Path("a"), "a");
  WriteText(Path("d/b"), "b");
  Agree();
  fs::remove_all(Path("a"));
  fs::remove_all(Path("d"));
  auto emptied = Watching();
  EXPECT_EQ(emptied.status().code(), absl::StatusCode::kFailedPrecondition) << emptied.status();
  fs::remove_all(spec_.path);
  EXPECT_TRUE(absl::IsNotFound(Watching().status()));
}

TEST_F(ChangesTest, WhatFailsIsLookedAtAgain) {
  WriteText(Path("a"), "a");
  Agree();
  WriteText(Path("a"), "b");
  watching_.cancelled = true;
  EXPECT_TRUE(absl::IsCancelled(Watching().status()));
  watching_.cancelled = false;
  EXPECT_FALSE(Agree());
  EXPECT_EQ(watching_.Content(watching_.Entries(Watching()->version).at("a")), "b");
}

TEST_F(ChangesTest, AFileOfSeveralNamesThatWasReadByACommitThatFailedIsReadAgain) {
  WriteText(Path("a"), "a");
  WriteText(Path("z"), std::string(12 << 20, 'z'));
  fs::create_hard_link(Path("a"), Path("a too"));
  Rest();
  Agree();
  EXPECT_FALSE(Agree());
  WriteText(Path("a"), "b");
  Rest();
  SetTimes(Path("z"), 1000);
  int64_t second = 1000;  // called while the file is being read: it is larger than what is handed over at once
  auto change = [&](const CommitProgress&) { SetTimes(Path("z"), ++second); };
  auto failed = watching_.Commit(spec_, {}, change, os::Clock::System(), &watch_);
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kFailedPrecondition) << "z kept changing";
  EXPECT_FALSE(Agree());
  EXPECT_EQ(watching_.Content(watching_.Entries(Watching()->version).at("a")), "b");
}

TEST_F(ChangesTest, AFileThatIsNotSettledIsLeftForLater) {
  spec_.settle = absl::Hours(1);
  WriteText(Path("old"), "1");
  SetTimes(Path("old"), 1'000'000'000);
  Agree();
  WriteText(Path("fresh"), "x");
  WriteText(Path("old"), "2");
  auto outcome = Watching();
  ASSERT_TRUE(outcome.ok());
  EXPECT_FALSE(outcome->scanned);
  EXPECT_EQ(outcome->unsettled_count, 2u);
  SetTimes(Path("fresh"), 1'000'000'000);
  SetTimes(Path("old"), 1'000'000'000);
  EXPECT_FALSE(Agree());
  EXPECT_EQ(Watching()->unsettled_count, 0u);
}

}  // namespace
}  // namespace bailiwick::agent
