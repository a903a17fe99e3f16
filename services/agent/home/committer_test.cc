#include <gmock/gmock.h>

#include <algorithm>

#include "common/os/fault_files.h"
#include "services/agent/home/committer_fixture.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CommitterTest, TakesEverythingAsItIs) {
  WriteText(At("a/plain.txt"), "hello");
  WriteText(At("a/tool"), "#!/bin/sh\n");
  ASSERT_EQ(::chmod(At("a/tool").c_str(), 04755), 0);
  WriteText(At("big"), Noise(10 << 20));
  WriteText(At("empty-file"), "");
  WriteText(At("name\nwith newline"), "n");
  WriteText(At("\xFF\xFE.bin"), "raw");
  fs::create_directory(At("empty-dir"));
  ASSERT_EQ(::chmod(At("empty-dir").c_str(), 0750), 0);
  fs::create_symlink("../outside/\xFE", At("link"));
  ASSERT_EQ(::mkfifo(At("pipe").c_str(), 0600), 0);
  SetTimes(At("a/plain.txt"), 1234567890, 123456789);
  SetTimes(At("link"), -5, 7);
  SetTimes(At("empty-dir"), 99, 1);

  CommitOutcome outcome = MustCommit();
  EXPECT_FALSE(outcome.unchanged);
  EXPECT_EQ(outcome.version.record.number, 1u);
  EXPECT_TRUE(outcome.version.record.parent.empty());
  EXPECT_EQ(outcome.version.record.files, 6u);
  EXPECT_EQ(outcome.version.record.skipped, 1u);
  EXPECT_THAT(outcome.skipped, ElementsAre("pipe"));
  EXPECT_TRUE(
      crypto::VerifyEnvelope(outcome.version.envelope, crypto::kVersionType, {dataset_.key().public_key()}).ok());

  auto entries = dataset_.Entries(outcome.version);
  EXPECT_EQ(entries.size(), 9u);
  EXPECT_EQ(entries["a"].type, store::EntryType::kDirectory);
  EXPECT_EQ(entries["a/plain.txt"].mtime_ns, 1234567890123456789);
  EXPECT_EQ(dataset_.Content(entries["a/plain.txt"]), "hello");
  EXPECT_EQ(entries["a/tool"].mode, 04755u);
  EXPECT_EQ(dataset_.Content(entries["big"]), Noise(10 << 20));
  EXPECT_EQ(entries["empty-file"].size, 0u);
  EXPECT_EQ(entries["empty-dir"].mode, 0750u);
  EXPECT_EQ(entries["empty-dir"].mtime_ns, 99'000'000'001);
  EXPECT_EQ(entries["link"].target, "../outside/\xFE");
  EXPECT_EQ(entries["link"].mtime_ns, -5'000'000'000 + 7);
  EXPECT_EQ(dataset_.Content(entries["\xFF\xFE.bin"]), "raw");
  EXPECT_TRUE(entries.count("name\nwith newline"));
  EXPECT_FALSE(entries["big"].owner.has_value());
}

TEST_F(CommitterTest, OwnerOnlyWhereAsked) {
  WriteText(At("x"), "1");
  SourceSpec spec = Spec();
  spec.owner = true;
  auto entries = dataset_.Entries(MustCommit(spec).version);
  EXPECT_EQ(entries["x"].owner, std::make_pair(static_cast<uint32_t>(::getuid()), static_cast<uint32_t>(::getgid())));
}

TEST_F(CommitterTest, APathThatNoVersionCanHoldIsNamedWithTheRemedy) {
  WriteText(At("ok"), "1");
  int directory = ::open(source_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int depth = 0; depth < 20; ++depth) {
    const std::string name(250, static_cast<char>('a' + depth));
    ASSERT_EQ(::mkdirat(directory, name.c_str(), 0700), 0);
    const int below = ::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ::close(directory);
    directory = below;
  }
  ::close(directory);
  auto refused = dataset_.Commit(Spec());
  const std::string message(refused.status().message());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("/" + std::string(250, 'b') + "/"));
  EXPECT_THAT(message, HasSubstr("/" + std::string(250, 'q') + " has a path of 4266 bytes, more than the 4096"));
  EXPECT_THAT(message, HasSubstr("ignore pattern"));
  EXPECT_LT(message.size(), 2000u);
  SourceSpec spec = Spec();
  spec.ignore = {std::string(250, 'c')};
  EXPECT_THAT(Paths(MustCommit(spec)).size(), 3u);
}

TEST_F(CommitterTest, HolesStayHoles) {
  {
    std::ofstream out(At("sparse"), std::ios::binary);
    out << Noise(5000);
    out.seekp(64 << 20);
    out << "end";
  }
  fs::resize_file(At("sparse"), 1ull << 36);  // 64 GiB
  WriteText(At("all-hole"), "");
  fs::resize_file(At("all-hole"), 1 << 20);
  CommitOutcome outcome = MustCommit();
  EXPECT_LT(progress_.read_bytes, 1u << 20);
  auto entries = dataset_.Entries(outcome.version);
  const store::Entry& entry = entries["sparse"];
  EXPECT_EQ(entry.size, 1ull << 36);
  ASSERT_EQ(entry.holes.size(), 2u);
  uint64_t chunks = 0, holes = 0;
  for (const store::Reference& piece : entry.chunks) chunks += piece.length;
  for (const store::Hole& hole : entry.holes) holes += hole.length;
  EXPECT_EQ(chunks + holes, entry.size);
  EXPECT_EQ(dataset_.Content(entries["all-hole"]), std::string(1 << 20, '\0'));
}

TEST_F(CommitterTest, OfTooManyHolesTheLargestStay) {
  constexpr int kData = 17'001;  // of a page, holes between them
  std::string wanted;
  {
    std::ofstream out(At("image"), std::ios::binary);
    for (int i = 0; i < kData; ++i) {
      wanted.append(4096, static_cast<char>('a' + i % 20));
      out.seekp(static_cast<std::streamoff>(wanted.size()) - 4096) << wanted.substr(wanted.size() - 4096);
      wanted.append(i % 100 == 0 ? 3 * 4096 : 4096, '\0');
    }
  }
  fs::resize_file(At("image"), wanted.size());
  CommitOutcome outcome = MustCommit();
  store::Entry entry = dataset_.Entries(outcome.version)["image"];
  EXPECT_EQ(entry.size, wanted.size());
  EXPECT_EQ(entry.holes.size(), 16'384u);
  int large = 0;
  std::string data;
  uint64_t at = 0;
  for (const store::Hole& hole : entry.holes) {
    large += hole.length == 3 * 4096;
    data.append(wanted, at, hole.offset - at);
    at = hole.offset + hole.length;
  }
  data.append(wanted, at);
  EXPECT_EQ(large, 171);
  entry.holes.clear();
  entry.size = data.size();
  EXPECT_TRUE(dataset_.Content(entry) == data);
  EXPECT_TRUE(MustCommit().unchanged);
}

TEST_F(CommitterTest, SecondCommitReadsAndMakesNothing) {
  WriteText(At("d/a"), Noise(300000));
  WriteText(At("d/b"), "b");
  CommitOutcome first = MustCommit();
  CommitOutcome second = MustCommit();
  EXPECT_TRUE(second.unchanged);
  EXPECT_EQ(second.version.identity, first.version.identity);
  EXPECT_EQ(progress_.read_bytes, 0u);
  EXPECT_EQ(progress_.files, 2u);
  EXPECT_EQ(dataset_.handle().catalog->List(dataset_.handle().id)->size(), 1u);
}

TEST_F(CommitterTest, ALargeFileCountsAsItIsRead) {
  const uint64_t size = 24 << 20;
  WriteText(At("big"), Noise(size));
  std::vector<uint64_t> told;
  auto outcome = dataset_.Commit(
      Spec(), {}, [&](const CommitProgress& p) { told.push_back(p.scanned_bytes); }, &clock_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back(), size);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_TRUE(std::any_of(told.begin(), told.end(), [&](uint64_t bytes) { return bytes > 0 && bytes < size; }));
}

TEST_F(CommitterTest, LosingTheScanCacheCostsOnlyReading) {
  WriteText(At("a"), Noise(300000));
  MustCommit();
  fs::remove(dataset_.handle().directory + "/scan-cache");
  EXPECT_TRUE(MustCommit().unchanged);
  EXPECT_EQ(progress_.read_bytes, 300000u);
  EXPECT_TRUE(MustCommit().unchanged);
  EXPECT_EQ(progress_.read_bytes, 0u);
}

TEST_F(CommitterTest, AChangedByteCostsAChunk) {
  std::string data = Noise(8 << 20);
  WriteText(At("big"), data);
  WriteText(At("other"), Noise(1 << 20, 2));
  CommitOutcome first = MustCommit();
  EXPECT_GT(first.new_bytes, 8u << 20);
  data[3 << 20] ^= 1;
  WriteText(At("big"), data);
  CommitOutcome second = MustCommit();
  EXPECT_EQ(second.version.record.number, 2u);
  EXPECT_EQ(second.version.record.parent, first.version.identity);
  EXPECT_LT(second.new_bytes, 256u << 10);
  EXPECT_EQ(progress_.read_bytes, 8u << 20);  // not the other file
  EXPECT_EQ(dataset_.Content(dataset_.Entries(second.version)["big"]), data);
}

TEST_F(CommitterTest, ARenameCostsNoContent) {
  WriteText(At("old/name"), Noise(4 << 20));
  MustCommit();
  fs::rename(At("old"), At("new"));
  CommitOutcome second = MustCommit();
  EXPECT_LT(second.new_bytes, 64u << 10);
  EXPECT_THAT(Paths(second), ElementsAre("new", "new/name"));
}

TEST_F(CommitterTest, FilesWithLongChunkListsStayUnchanged) {
  WriteText(At("big"), Noise(24 << 20));  // some 700 chunks: a chunk-list tree
  WriteText(At("x"), "1");
  CommitOutcome first = MustCommit();
  EXPECT_GT(dataset_.Entries(first.version)["big"].list_height, 0);
  WriteText(At("x"), "2");
  CommitOutcome second = MustCommit();
  EXPECT_EQ(progress_.read_bytes, 1u);
  EXPECT_EQ(dataset_.Content(dataset_.Entries(second.version)["big"]), Noise(24 << 20));
}

TEST_F(CommitterTest, ManySmallFiles) {
  for (int i = 0; i < 3000; ++i)
    WriteText(At("d" + std::to_string(i % 7) + "/f" + std::to_string(i)), Noise(100 + i % 50, i));
  CommitOutcome first = MustCommit();
  EXPECT_EQ(first.version.record.files, 3000u);
  auto entries = dataset_.Entries(first.version);
  for (int i = 0; i < 3000; i += 97) {
    EXPECT_EQ(dataset_.Content(entries["d" + std::to_string(i % 7) + "/f" + std::to_string(i)]),
              Noise(100 + i % 50, i));
  }
}

TEST_F(CommitterTest, ARewriteWithTheSameSizeAndTimeIsSeen) {
  WriteText(At("x"), "first");
  struct stat before, after;
  ASSERT_EQ(::stat(At("x").c_str(), &before), 0);
  MustCommit();
  do {  // until the kernel's clock has ticked
    RewriteUnnoticed(At("x"), "later");
    ASSERT_EQ(::stat(At("x").c_str(), &after), 0);
  } while (before.st_ctim.tv_nsec == after.st_ctim.tv_nsec && before.st_ctim.tv_sec == after.st_ctim.tv_sec);
  EXPECT_EQ(dataset_.Content(dataset_.Entries(MustCommit().version)["x"]), "later");
}

TEST_F(CommitterTest, ARewriteWithinTheClocksTickIsSeen) {
  for (int i = 0; i < 20; ++i) {
    WriteText(At("x"), "first");
    auto first = dataset_.Commit(Spec());  // by the true clock, right after the write
    ASSERT_TRUE(first.ok()) << first.status();
    RewriteUnnoticed(At("x"), "later");
    auto second = dataset_.Commit(Spec());
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(dataset_.Content(dataset_.Entries(second->version)["x"]), "later");
  }
}

TEST_F(CommitterTest, AFileWithTimesOfWholeSecondsIsReadAgainForSomeSeconds) {
  WriteText(At("exact"), "exact");
  WriteText(At("whole"), "whole second");
  SetTimes(At("exact"), 1'600'000'000, 1);
  SetTimes(At("whole"), 1'600'000'000);
  os::Clock::System()->SleepFor(absl::Milliseconds(30));
  auto read = [&](const os::Clock* clock) {
    uint64_t bytes = 0;
    EXPECT_TRUE(dataset_
                    .Commit(
                        Spec(), {}, [&](const CommitProgress& p) { bytes = p.read_bytes; }, clock)
                    .ok());
    return bytes;
  };
  const os::Clock* now = os::Clock::System();
  EXPECT_EQ(read(now), 17u);
  EXPECT_EQ(read(now), 12u) << "it may hold other bytes under the same times";
  EXPECT_EQ(read(&clock_), 12u);
  EXPECT_EQ(read(now), 0u) << "read when its second was over";
}

TEST_F(CommitterTest, TypeChanges) {
  WriteText(At("a/x"), "1");
  WriteText(At("b"), "2");
  MustCommit();
  fs::remove_all(At("a"));
  fs::remove(At("b"));
  WriteText(At("a"), "file now");
  WriteText(At("b/y"), "directory now");
  CommitOutcome second = MustCommit();
  EXPECT_THAT(Paths(second), ElementsAre("a", "b", "b/y"));
}

class GrowingFileTest : public CommitterTest {
 protected:
  absl::StatusOr<CommitOutcome> CommitWhileGrowing(bool allow) {
    WriteText(At("log"), Noise(12 << 20));
    WriteText(At("steady"), "s");
    CommitOptions options;
    options.allow_changing = allow;
    // Called while the file is being read: it is larger than what is handed over at once.
    auto grow = [this](const CommitProgress&) {
      std::ofstream(At("log"), std::ios::app | std::ios::binary) << "more";
      SetTimes(At("log"), ++second_);
    };
    return dataset_.Commit(Spec(), options, grow, &clock_);
  }
  int64_t second_ = 1000;
};

TEST_F(GrowingFileTest, FailsNamingIt) {
  auto outcome = CommitWhileGrowing(false);
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("log kept changing"));
  EXPECT_FALSE(dataset_.handle().catalog->Newest(dataset_.handle().id)->has_value());
}

TEST_F(GrowingFileTest, TakesItWhenAllowed) {
  auto outcome = CommitWhileGrowing(true);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(outcome->unsettled, ElementsAre("log"));
  auto entries = dataset_.Entries(outcome->version);
  std::string content = dataset_.Content(entries["log"]);
  EXPECT_EQ(content.substr(0, 12 << 20), Noise(12 << 20));
}

TEST_F(CommitterTest, SettleTimeKeepsTheLastSettledContent) {
  WriteText(At("old"), "settled");
  SetTimes(At("old"), 1'000'000'000);
  SourceSpec spec = Spec();
  spec.settle = absl::Hours(1);
  WriteText(At("young"), "not yet");
  CommitOutcome first = MustCommit(spec);
  EXPECT_THAT(Paths(first), ElementsAre("old"));
  EXPECT_THAT(first.unsettled, ElementsAre("young"));
  WriteText(At("old"), "being written");
  SetTimes(At("young"), 1'000'000'000);
  CommitOutcome second = MustCommit(spec);
  EXPECT_THAT(second.unsettled, ElementsAre("old"));
  auto entries = dataset_.Entries(second.version);
  EXPECT_EQ(dataset_.Content(entries["old"]), "settled");
  EXPECT_EQ(dataset_.Content(entries["young"]), "not yet");
}

TEST_F(CommitterTest, AbsentKeep) {
  WriteText(At("day1/a"), "1");
  WriteText(At("day1/b"), "2");
  WriteText(At("x"), "file");
  SourceSpec spec = Spec();
  spec.keep_absent = true;
  MustCommit(spec);
  fs::remove_all(At("day1"));
  WriteText(At("day2/c"), "3");
  fs::remove(At("x"));
  WriteText(At("x/in"), "directory now");
  CommitOutcome second = MustCommit(spec);
  EXPECT_THAT(Paths(second), ElementsAre("day1", "day1/a", "day1/b", "day2", "day2/c", "x", "x/in"));
  fs::remove_all(At("day2"));
  WriteText(At("day2"), "a file where a directory was");
  CommitOutcome third = MustCommit(spec);
  EXPECT_THAT(Paths(third), ElementsAre("day1", "day1/a", "day1/b", "day2", "x", "x/in"));
}

TEST_F(CommitterTest, Patterns) {
  for (const char* name : {"src/a.cc", "src/a.o", "src/deep/b.cc", "docs/x.md", "build/a.cc", "models/m1/w.bin",
                           "models/m1/w.tmp", "top.cc"}) {
    WriteText(At(name), name);
  }
  fs::create_directory(At("hollow"));
  SourceSpec spec = Spec();
  spec.ignore = {"*.o", "/build/"};
  EXPECT_THAT(Paths(MustCommit(spec)),
              ElementsAre("docs", "docs/x.md", "hollow", "models", "models/m1", "models/m1/w.bin", "models/m1/w.tmp",
                          "src", "src/a.cc", "src/deep", "src/deep/b.cc", "top.cc"));
  spec.include = {"*.cc", "models/", "!*.tmp"};
  EXPECT_THAT(Paths(MustCommit(spec)), ElementsAre("models", "models/m1", "models/m1/w.bin", "src", "src/a.cc",
                                                   "src/deep", "src/deep/b.cc", "top.cc"));
  spec.ignore = {"[oops"};
  auto bad = dataset_.Commit(spec);
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  spec.ignore = {"*"};
  auto nothing = dataset_.Commit(spec);
  EXPECT_EQ(nothing.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(nothing.status().message()), HasSubstr("patterns"));
}

TEST_F(CommitterTest, Cancelled) {
  WriteText(At("a"), Noise(9 << 20));
  auto cancel = [&](const CommitProgress&) { dataset_.cancelled = true; };
  EXPECT_EQ(dataset_.Commit(Spec(), {}, cancel, &clock_).status().code(), absl::StatusCode::kCancelled);
  dataset_.cancelled = false;
  EXPECT_EQ(MustCommit().version.record.number, 1u);
}

// Power goes at every operation of a second commit: what is there afterwards is the first version or both, whole.
class CommitCrashTest : public ::testing::TestWithParam<bool> {};

TEST_P(CommitCrashTest, OldOrNewNeverHalf) {
  TempDir temp;
  const std::string source = temp / "source", agent = temp / "agent";
  SourceSpec spec;
  spec.path = source;
  bool finished = false;
  for (uint64_t stop = 0; !finished; ++stop) {
    ASSERT_LT(stop, 500u);
    fs::remove_all(agent);
    fs::create_directories(agent);
    WriteText(source + "/a", "first");
    os::FaultFiles faults(os::Files::System(), agent);
    DatasetFixture dataset(agent, &faults);
    ASSERT_TRUE(dataset.Commit(spec).ok());
    WriteText(source + "/a", "second");
    WriteText(source + "/b", Noise(200000));
    faults.ResetOperations();
    faults.StopAfter(stop);
    finished = dataset.Commit(spec).ok();
    dataset.Close();
    ASSERT_TRUE((GetParam() ? faults.DropUnsynced() : faults.KeepUnsynced()).ok());
    ASSERT_TRUE(dataset.Open().ok()) << "stopped after " << stop;
    auto versions = dataset.handle().catalog->List(dataset.handle().id);
    ASSERT_TRUE(versions.ok()) << versions.status();
    ASSERT_GE(versions->size(), finished ? 2u : 1u) << "stopped after " << stop;
    for (const store::CatalogVersion& version : *versions) {
      auto entries = dataset.Entries(version);
      EXPECT_EQ(dataset.Content(entries["a"]), version.record.number == 1 ? "first" : "second");
      if (version.record.number == 2) {
        EXPECT_EQ(dataset.Content(entries["b"]), Noise(200000));
      }
    }
    auto again = dataset.Commit(spec);
    ASSERT_TRUE(again.ok()) << again.status() << " stopped after " << stop;
    EXPECT_EQ(again->version.record.number, 2u);
    EXPECT_EQ(dataset.Content(dataset.Entries(again->version)["a"]), "second");
    dataset.Close();
    fs::remove(source + "/b");
  }
}

INSTANTIATE_TEST_SUITE_P(Disk, CommitCrashTest, ::testing::Bool());

TEST(CommitDiskFullTest, SaysSoAndGoesOnAfterwards) {
  TempDir temp;
  const std::string source = temp / "source", agent = temp / "agent";
  fs::create_directories(agent);
  WriteText(source + "/a", Noise(6 << 20));
  SourceSpec spec;
  spec.path = source;
  os::FaultFiles faults(os::Files::System(), agent);
  DatasetFixture dataset(agent, &faults);
  faults.ResetOperations();
  faults.FailAt(3, absl::ResourceExhaustedError("no space left on device"), true);
  auto full = dataset.Commit(spec);
  EXPECT_EQ(full.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.status().message()), HasSubstr("no space"));
  faults.ClearFaults();
  EXPECT_TRUE(dataset.Commit(spec).ok());
}

}  // namespace
}  // namespace bailiwick::agent
