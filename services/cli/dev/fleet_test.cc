#include "services/cli/dev/fleet.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/os/tcp_listener.h"
#include "services/cli/dev/process.h"

namespace bailiwick::cli {
namespace {

using ::testing::HasSubstr;

class DevTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = absl::StrCat(::testing::TempDir(), "bw-dev-", ::getpid(), "-", info->name());
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }
  std::string Path(const std::string& name) const { return os::JoinPath(root_, name); }
  // Waits for what a daemon writes as its first line.
  std::string FirstLine(const std::string& path) {
    for (int i = 0; i < 1000; ++i) {
      auto text = os::ReadFile(files_, path);
      if (text.ok() && text->find('\n') != std::string::npos) return text->substr(0, text->find('\n'));
      os::Clock::System()->SleepFor(absl::Milliseconds(10));
    }
    return "nothing";
  }

  os::Files* files_ = os::Files::System();
  std::string root_;
};

// ---- processes

TEST_F(DevTest, ADaemonHasItsOwnSessionAndItsLog) {
  // Session id and working directory, then a wait for SIGTERM.
  auto daemon =
      StartDaemon({"/bin/sh", "-c", "echo $(cut -d' ' -f6 /proc/$$/stat) $(pwd); exec sleep 600"}, Path("log"));
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  EXPECT_TRUE(Alive(*daemon));
  const std::string said = FirstLine(Path("log"));
  EXPECT_NE(said.substr(0, said.find(' ')), absl::StrCat(getsid(0))) << "it would die with the shell";
  EXPECT_EQ(said.substr(said.find(' ') + 1), "/");
  EXPECT_TRUE(StopProcess(*daemon, absl::Seconds(10)).ok());
  EXPECT_FALSE(Alive(*daemon));
  EXPECT_TRUE(StopProcess(*daemon, absl::Seconds(10)).ok()) << "stopping twice is no error";
}

TEST_F(DevTest, WhatIgnoresSigtermIsKilled) {
  auto daemon = StartDaemon({"/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"}, Path("log"));
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  ASSERT_EQ(FirstLine(Path("log")), "ready");
  EXPECT_TRUE(StopProcess(*daemon, absl::Milliseconds(50)).ok());
  EXPECT_FALSE(Alive(*daemon));
}

TEST_F(DevTest, AReusedPidIsSomebodyElse) {
  auto daemon = StartDaemon({"/bin/sleep", "600"}, Path("log"));
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  Process other = *daemon;
  other.start_ticks -= 1;  // the pid that fleet.json remembers from before a reboot
  EXPECT_FALSE(Alive(other));
  AskToStop(other);
  EXPECT_TRUE(StopProcess(other, absl::ZeroDuration()).ok());
  EXPECT_TRUE(Alive(*daemon)) << "a stranger was signalled";
  EXPECT_TRUE(StopProcess(*daemon, absl::ZeroDuration()).ok());
  EXPECT_FALSE(Alive({}));
}

TEST_F(DevTest, ACommandThatFailsTellsWhatItSaid) {
  EXPECT_TRUE(RunToEnd({"/bin/true"}).ok());
  absl::Status failed = RunToEnd({"/bin/sh", "-c", "echo out; echo the disk is full >&2; exit 3"});
  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("the disk is full"));
  EXPECT_FALSE(RunToEnd({"/nonexistent/program"}).ok());
}

TEST_F(DevTest, FreePortsAreFreeDifferentAndNotForOutgoingConnections) {
  std::set<int> ports;
  for (int i = 0; i < 20; ++i) {
    auto port = FreePort(ports);
    ASSERT_TRUE(port.ok()) << port.status();
    EXPECT_FALSE(PortIsTaken(port->number()));
    EXPECT_TRUE(ports.insert(port->number()).second);
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  EXPECT_TRUE(PortIsTaken(ntohs(address.sin_port)));
  close(fd);
  EXPECT_FALSE(PortIsTaken(ntohs(address.sin_port)));
}

// Two commands that choose at one time: the port of one is not the other's, and its own daemon gets it nevertheless.
TEST_F(DevTest, AChosenPortIsHeldForItsDaemonAlone) {
  auto held = FreePort({});
  ASSERT_TRUE(held.ok()) << held.status();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(held->number()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int another = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_NE(bind(another, reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << "as FreePort tries it";
  close(another);
  auto daemon = os::TcpListener::Listen(absl::StrCat("127.0.0.1:", held->number()));
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  EXPECT_TRUE(PortIsTaken(held->number()));
}

TEST_F(DevTest, LastLinesAreTheLast) {
  ASSERT_TRUE(os::WriteFileAtomically(files_, Path("log"), "one\ntwo\nthree\n").ok());
  EXPECT_EQ(LastLines(Path("log"), 2), "\n  two\n  three");
  EXPECT_EQ(LastLines(Path("nothing"), 2), "");
}

// ---- the fleet's own state

TEST_F(DevTest, SitesAreReadStrictly) {
  auto site = Fleet::ParseSite("factory=eu/de/fra,tier=edge,power=solar");
  ASSERT_TRUE(site.ok()) << site.status();
  EXPECT_EQ(site->name, "factory");
  EXPECT_EQ(site->region, "eu/de/fra");
  EXPECT_EQ(site->labels, (std::map<std::string, std::string>{{"power", "solar"}, {"tier", "edge"}}));
  EXPECT_TRUE(Fleet::ParseSite("core=eu")->labels.empty());
  for (const char* text :
       {"", "core", "core=", "=eu", "core=eu,tier", "core=eu,=edge", "core=eu,", "coordinator=eu", "core=eu//de",
        "core=/eu", "core=eu/", "co re=eu", "core=eu,t=a\"}b", "../core=eu", "core=eu: x"}) {
    EXPECT_EQ(Fleet::ParseSite(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST_F(DevTest, WithoutAFleetTheRemedyIsNamed) {
  for (auto* open : {&Fleet::Load, &Fleet::Open}) {
    absl::Status status = open(Path("none")).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr("bailiwick dev up --dir " + Path("none")));
  }
  EXPECT_FALSE(*files_->Exists(Path("none"))) << "looking made something";
}

TEST_F(DevTest, ADirectoryWithOtherFilesIsNeverTakenOver) {
  ASSERT_TRUE(os::WriteFileAtomically(files_, Path("thesis.tex"), "years of work").ok());
  absl::Status status = Fleet::OpenOrCreate(root_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("thesis.tex"));
  EXPECT_THAT(*files_->List(root_), ::testing::ElementsAre("thesis.tex"));
}

TEST_F(DevTest, AnEmptyFleetCanBeLookedAtAndPurged) {
  const std::string directory = Path("a/../fleet/");
  {
    auto made = Fleet::OpenOrCreate(directory);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->directory(), Path("fleet"));
    EXPECT_TRUE(Fleet::Load(directory).ok()) << "looking waits for nobody";
  }
  auto fleet = Fleet::Open(directory);
  ASSERT_TRUE(fleet.ok()) << fleet.status();
  EXPECT_TRUE(fleet->sites().empty());
  absl::Status start = fleet->Start("coordinator");
  EXPECT_EQ(start.code(), absl::StatusCode::kFailedPrecondition) << "init never ran";
  EXPECT_THAT(std::string(start.message()), HasSubstr("dev up"));
  absl::Status nosuch = fleet->Start("nosuch");
  EXPECT_EQ(nosuch.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(nosuch.message()), HasSubstr("it has: coordinator"));
  EXPECT_TRUE(fleet->Purge().ok());
  EXPECT_FALSE(*files_->Exists(Path("fleet")));
}

TEST_F(DevTest, ABrokenStateFileIsToldAndNotOverwritten) {
  ASSERT_TRUE(files_->MakeDirs(Path("fleet")).ok());
  ASSERT_TRUE(os::WriteFileAtomically(files_, Path("fleet/fleet.json"), "{\"sites\": [").ok());
  absl::Status status = Fleet::OpenOrCreate(Path("fleet")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("fleet.json"));
  EXPECT_EQ(*os::ReadFile(files_, Path("fleet/fleet.json")), "{\"sites\": [");
}

}  // namespace
}  // namespace bailiwick::cli
