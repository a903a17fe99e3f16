#include "services/agent/home/consume.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "services/agent/home/dataset_fixture.h"
#include "services/agent/home/source_watch.h"

namespace bailiwick::agent {
namespace {

class ConsumeTest : public ::testing::Test {
 protected:
  ConsumeTest() : dataset_(temp_ / "data"), watch_(os::Clock::System()) {
    spec_.path = temp_ / "source";
    spec_.keep_absent = spec_.consume = true;
    fs::create_directories(spec_.path);
  }
  std::string At(const std::string& name) const { return spec_.path + "/" + name; }
  void Write(const std::string& name, const std::string& text) {
    WriteText(At(name), text);
    SetTimes(At(name), 1'600'000'000, 1);
  }
  // Twice where the first commit came too soon after a file's last change to be sure of it.
  store::CatalogVersion Commit() {
    auto outcome = dataset_.Commit(spec_, {}, nullptr, os::Clock::System(), &watch_);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    os::Clock::System()->SleepFor(absl::Milliseconds(30));
    outcome = dataset_.Commit(spec_, {}, nullptr, os::Clock::System(), &watch_);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome->version;
  }
  Consumed Consume(const store::CatalogVersion& version) {
    auto consumed = ConsumeSource(
        dataset_.handle(), spec_, version.record.manifest_root, os::Clock::System(),
        [this] {
          ++recorded_;
          return absl::OkStatus();
        },
        dataset_.cancelled);
    EXPECT_TRUE(consumed.ok()) << consumed.status();
    return consumed.ok() ? *consumed : Consumed();
  }

  TempDir temp_;
  SourceSpec spec_;
  DatasetFixture dataset_;
  SourceWatch watch_;
  int recorded_ = 0;
};

TEST_F(ConsumeTest, ATimeThatLiesAheadKeepsNoFile) {
  Write("of a clock that is wrong", "one");
  SetTimes(At("of a clock that is wrong"), absl::ToUnixSeconds(os::Clock::System()->Now() + absl::Hours(9000)), 5);
  EXPECT_EQ(Consume(Commit()).files, 0u) << "it was touched just now";
  os::Clock::System()->SleepFor(absl::Milliseconds(1100));
  EXPECT_EQ(Consume(Commit()).files, 1u);
}

// As a logger comes at just the wrong moment: it sees that the file is opened, and opens it too.
TEST_F(ConsumeTest, WhoOpensItMeanwhileToAppendLosesNothing) {
  constexpr int kFiles = 400;
  for (int i = 0; i < kFiles; ++i) Write("f" + std::to_string(i), "one");
  const store::CatalogVersion version = Commit();
  const int watch = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ASSERT_GE(watch, 0);
  ASSERT_GE(::inotify_add_watch(watch, spec_.path.c_str(), IN_OPEN), 0);
  std::atomic<bool> over = false;
  std::atomic<int> lost = 0;
  std::thread logger([&] {
    alignas(inotify_event) char buffer[64 << 10];
    while (!over) {
      const ssize_t n = ::read(watch, buffer, sizeof buffer);
      for (ssize_t at = 0; at < n;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        at += static_cast<ssize_t>(sizeof *event + event->len);
        if (event->len == 0 || at < n) continue;  // the newest alone: it is being looked at
        const int file = ::open(At(event->name).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
        if (file < 0) continue;
        struct stat st = {};
        if (::write(file, "two", 3) == 3 && ::fstat(file, &st) == 0 && st.st_nlink == 0) ++lost;
        ::close(file);
      }
    }
  });
  Consume(version);
  over = true;
  logger.join();
  ::close(watch);
  EXPECT_EQ(lost, 0);
}

TEST_F(ConsumeTest, WhatAVersionHoldsLeavesTheSourceAndStaysInTheNext) {
  Write("a/1", "one");
  Write("2", "two");
  Consumed consumed = Consume(Commit());
  EXPECT_EQ(consumed.files, 2u);
  EXPECT_EQ(consumed.bytes, 6u);
  EXPECT_EQ(recorded_, 1);
  EXPECT_FALSE(fs::exists(At("a/1")));
  EXPECT_FALSE(fs::exists(At("2")));
  EXPECT_TRUE(fs::exists(At("a")));
  Write("3", "three");
  const store::CatalogVersion next = Commit();
  auto entries = dataset_.Entries(next);
  EXPECT_EQ(dataset_.Content(entries.at("a/1")), "one");
  EXPECT_EQ(dataset_.Content(entries.at("3")), "three");
  EXPECT_EQ(next.record.files, 3u);
  Consume(next);
  EXPECT_EQ(Consume(next).files, 0u);
  EXPECT_EQ(recorded_, 2) << "nothing to take, nothing to record";
  EXPECT_TRUE(dataset_.Commit(spec_)->unchanged) << "an emptied source is what a consumed one looks like";
}

TEST_F(ConsumeTest, ThatFilesLeftADirectoryIsNoChange) {
  Write("a/b/1", "one");
  Consume(Commit());
  EXPECT_TRUE(dataset_.Commit(spec_)->unchanged);
  EXPECT_TRUE(dataset_.Commit(spec_, {}, nullptr, os::Clock::System(), &watch_)->unchanged);
  ::chmod(At("a").c_str(), 0700);
  EXPECT_FALSE(dataset_.Commit(spec_)->unchanged) << "what somebody did to it is one";
}

TEST_F(ConsumeTest, WhatTheVersionDoesNotHoldStays) {
  Write("held", "held");
  const store::CatalogVersion version = Commit();
  Write("new", "new");
  WriteText(At("held"), "changed since");
  spec_.ignore = {"ignored"};
  Write("ignored", "x");
  EXPECT_EQ(Consume(version).files, 0u);
  EXPECT_EQ(ReadText(At("held")), "changed since");
  EXPECT_TRUE(fs::exists(At("new")));
  EXPECT_EQ(recorded_, 0);
}

TEST_F(ConsumeTest, WhatSomebodyHasOpenForWritingStays) {
  Write("open", "open");
  Write("mapped", std::string(4096, 'm'));
  Write("read", "read");
  const store::CatalogVersion version = Commit();
  const int writer = ::open(At("open").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  const int reader = ::open(At("read").c_str(), O_RDONLY | O_CLOEXEC);
  const int mapped = ::open(At("mapped").c_str(), O_RDWR | O_CLOEXEC);
  void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
  ::close(mapped);
  EXPECT_EQ(Consume(version).left, 2u);
  EXPECT_TRUE(fs::exists(At("open")));
  EXPECT_TRUE(fs::exists(At("mapped")));
  EXPECT_FALSE(fs::exists(At("read")));
  ::close(writer);
  ::close(reader);
  ::munmap(map, 4096);
  EXPECT_EQ(Consume(version).files, 2u);
}

// As on a file system that counts in seconds: what came within the same one can be other bytes under the same times.
TEST_F(ConsumeTest, WhatMayHaveChangedUnderTheSameTimesStays) {
  Write("exact", "exact");
  Write("whole seconds", "whole seconds");
  SetTimes(At("whole seconds"), 1'600'000'000);
  EXPECT_EQ(Consume(Commit()).files, 1u);
  EXPECT_TRUE(fs::exists(At("whole seconds")));
  const AheadClock later;
  auto outcome = dataset_.Commit(spec_, {}, nullptr, &later, &watch_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(Consume(outcome->version).files, 1u);
}

TEST_F(ConsumeTest, WhatIsTooYoungStays) {
  spec_.settle = absl::Hours(1);
  Write("old", "old");
  WriteText(At("young"), "young");
  EXPECT_EQ(Consume(Commit()).files, 1u);
  EXPECT_TRUE(fs::exists(At("young")));
}

TEST_F(ConsumeTest, WhatHasGoneBadInTheStoreIsStoredAnewByTheFileThatBringsItAgain) {
  const std::string content = Noise(300'000);
  Write("first", content);
  EXPECT_EQ(Consume(Commit()).files, 1u);
  for (const fs::path& pack : dataset_.Packs()) {
    std::string bytes = ReadText(pack.string());
    bytes[bytes.size() / 2] ^= 1;
    const int fd = ::open(pack.c_str(), O_WRONLY | O_CLOEXEC);  // in place: the agent has it open
    ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    ::close(fd);
  }
  Write("second", content);
  const store::CatalogVersion version = Commit();
  EXPECT_EQ(Consume(version).files, 1u);
  auto entries = dataset_.Entries(version);
  EXPECT_EQ(dataset_.Content(entries.at("first")), content);
  EXPECT_EQ(dataset_.Content(entries.at("second")), content);
}

TEST_F(ConsumeTest, WhatTheStoreDoesNotGiveBackStays) {
  Write("only", Noise(300'000));
  const store::CatalogVersion version = Commit();
  for (const fs::path& pack : dataset_.Packs()) fs::remove(pack);
  const Consumed consumed = Consume(version);
  EXPECT_EQ(consumed.files, 0u);
  EXPECT_EQ(consumed.left, 1u);
  EXPECT_EQ(consumed.damaged, 1u);
  EXPECT_EQ(ReadText(At("only")), Noise(300'000));
}

TEST_F(ConsumeTest, WhatWasGivenUpMeanwhileGoesIfItIsWhatOthersHold) {
  Write("waited", Noise(300'000));
  Write("written anew", Noise(100'000));
  const store::CatalogVersion first = Commit();
  dataset_.handle().dropped->Set({{first.record.number, {"core"}}});
  for (const fs::path& pack : dataset_.Packs()) fs::remove(pack);
  {  // under the same times, as the scan cache knows it: what nobody else holds
    std::string other = Noise(100'000);
    other[50'000] ^= 1;
    WriteText(At("written anew"), other);
    SetTimes(At("written anew"), 1'600'000'000, 1);
  }
  const Consumed consumed = Consume(first);
  EXPECT_EQ(consumed.files, 1u);
  EXPECT_EQ(consumed.left, 1u);
  EXPECT_EQ(consumed.damaged, 0u);
  EXPECT_FALSE(fs::exists(At("waited")));
  EXPECT_TRUE(fs::exists(At("written anew")));
  EXPECT_EQ(recorded_, 1);
  EXPECT_EQ(Consume(first).files, 0u);
  EXPECT_EQ(recorded_, 1) << "nothing went, so nothing is on record";
}

TEST_F(ConsumeTest, WhatIsNewSinceTheVersionThatWasGivenUpHasToBeInTheStore) {
  Write("old", Noise(200'000));
  const store::CatalogVersion first = Commit();
  dataset_.handle().dropped->Set({{first.record.number, {"core"}}});
  Write("new", Noise(100'000, 2));
  const store::CatalogVersion second = Commit();
  for (const fs::path& pack : dataset_.Packs()) fs::remove(pack);
  const Consumed consumed = Consume(second);
  EXPECT_EQ(consumed.files, 1u) << "the old one others hold";
  EXPECT_EQ(consumed.damaged, 1u);
  EXPECT_TRUE(fs::exists(At("new"))) << "nobody has it but the source";
}

TEST_F(ConsumeTest, AnErrorBeforeTheFirstTakesNothing) {
  Write("a", "a");
  const store::CatalogVersion version = Commit();
  auto consumed = ConsumeSource(
      dataset_.handle(), spec_, version.record.manifest_root, os::Clock::System(),
      [] { return absl::ResourceExhaustedError("the log is full"); }, dataset_.cancelled);
  EXPECT_TRUE(absl::IsResourceExhausted(consumed.status()));
  EXPECT_TRUE(fs::exists(At("a")));
}

}  // namespace
}  // namespace bailiwick::agent
