#include "common/os/dir_watch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "common/os/files.h"

namespace bailiwick::os {
namespace {

class DirWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    base_ = ::testing::TempDir() + "bw-watch-" + std::to_string(::getpid()) + "-" + info->name();
    ASSERT_TRUE(Files::System()->RemoveTree(base_).ok());
    ASSERT_TRUE(Files::System()->MakeDirs(base_ + "/a").ok());
    watch_ = *DirWatch::Create();
    root_ = *OpenTree(base_);
    ASSERT_TRUE(watch_->Add(*root_).ok());
  }
  void TearDown() override { EXPECT_TRUE(Files::System()->RemoveTree(base_).ok()); }

  void Write(const std::string& name, const std::string& text) { std::ofstream(base_ + "/" + name) << text; }
  std::vector<DirEvent> Events() {
    std::vector<DirEvent> events;
    EXPECT_TRUE(watch_->Read(&events).ok());
    return events;
  }
  bool Told(const std::vector<DirEvent>& events, DirEvent::Kind kind, const std::string& name) {
    return std::any_of(events.begin(), events.end(), [&](const DirEvent& e) { return e.kind == kind && e.name == name; });
  }

  std::string base_;
  std::unique_ptr<DirWatch> watch_;
  std::unique_ptr<TreeDir> root_;
};

TEST_F(DirWatchTest, TellsWhatAppearsChangesAndGoes) {
  EXPECT_TRUE(Events().empty());
  Write("f", "x");
  auto events = Events();
  EXPECT_TRUE(Told(events, DirEvent::Kind::kAppeared, "f"));
  EXPECT_TRUE(Told(events, DirEvent::Kind::kChanged, "f"));
  ASSERT_TRUE(root_->SetMode("f", 0600).ok());
  EXPECT_TRUE(Told(Events(), DirEvent::Kind::kChanged, "f"));
  ASSERT_TRUE(root_->Rename("f", "g").ok());
  events = Events();
  EXPECT_TRUE(Told(events, DirEvent::Kind::kGone, "f"));
  EXPECT_TRUE(Told(events, DirEvent::Kind::kAppeared, "g"));
  ASSERT_TRUE(root_->MakeDir("d").ok());
  events = Events();
  ASSERT_TRUE(Told(events, DirEvent::Kind::kAppeared, "d"));
  EXPECT_TRUE(events.front().directory);
}

TEST_F(DirWatchTest, AMappingsWritesAreToldWhenItEnds) {
  Write("f", std::string(4096, 'x'));
  const int fd = ::open((base_ + "/f").c_str(), O_RDWR | O_CLOEXEC);
  char* map = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  ::close(fd);
  Events();
  map[5] = 'y';
  ::munmap(map, 4096);
  EXPECT_TRUE(Told(Events(), DirEvent::Kind::kChanged, "f"));
}

TEST_F(DirWatchTest, ADirectoryThatIsGoneOrMovedSaysSo) {
  auto a = *root_->OpenDir("a");
  auto watch = watch_->Add(*a);
  ASSERT_TRUE(watch.ok());
  EXPECT_EQ(*watch_->Add(*a), *watch) << "the same directory, the same number";
  ASSERT_TRUE(root_->Rename("a", "b").ok());
  EXPECT_TRUE(Told(Events(), DirEvent::Kind::kMoved, ""));
  ASSERT_TRUE(root_->RemoveDir("b").ok());
  a.reset();
  EXPECT_TRUE(Told(Events(), DirEvent::Kind::kEnded, ""));
}

TEST_F(DirWatchTest, WaitsUntilThereIsSomethingToRead) {
  const int fds[] = {watch_->fd()};
  WaitReadable(fds, absl::ZeroDuration());
  Write("f", "x");
  WaitReadable(fds, absl::InfiniteDuration());
  EXPECT_FALSE(Events().empty());
}

TEST_F(DirWatchTest, MountsAreListed) {
  auto all = MountsBelow(**OpenTree("/"));
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_NE(all->find(" /proc\n"), std::string::npos) << *all;
  EXPECT_NE(MountsBelow(**OpenTree("/proc"))->find(" /proc\n"), std::string::npos);
  EXPECT_EQ(*MountsBelow(*root_), "");
}

TEST_F(DirWatchTest, LocalFileSystemsTellAll) {
  EXPECT_TRUE(SeesAllChanges(*root_));
  EXPECT_FALSE(SeesAllChanges(**OpenTree("/proc")));
}

}  // namespace
}  // namespace bailiwick::os
