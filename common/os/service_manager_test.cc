#include "common/os/service_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "common/os/files.h"

namespace bailiwick::os {
namespace {

using ::testing::HasSubstr;

// The manager's end: a bound datagram socket.
class Manager {
 public:
  explicit Manager(const std::string& name) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    bound_ = ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), length) == 0;
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~Manager() { ::close(fd_); }
  bool bound() const { return bound_; }
  std::string Hears() {
    char buffer[512];
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    return n < 0 ? "nothing" : std::string(buffer, static_cast<size_t>(n));
  }
  bool Silent() const {
    char byte;
    return ::recv(fd_, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

 private:
  const int fd_;
  bool bound_ = false;
};

class ServiceManagerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "bw-manager-" + std::to_string(::getpid());
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
    socket_ = directory_ + "/notify";
  }
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
    EXPECT_TRUE(files_->RemoveTree(directory_).ok());
  }
  static absl::StatusOr<ServiceManager> With(const std::string& socket, const std::string& usec = "",
                                             const std::string& pid = "") {
    ::setenv("NOTIFY_SOCKET", socket.c_str(), 1);
    if (!usec.empty()) ::setenv("WATCHDOG_USEC", usec.c_str(), 1);
    if (!pid.empty()) ::setenv("WATCHDOG_PID", pid.c_str(), 1);
    return ServiceManager::FromEnvironment();
  }
  Files* files_ = Files::System();
  std::string directory_, socket_;
};

TEST_F(ServiceManagerTest, SaysWhatTheProtocolHasWordsFor) {
  Manager manager(socket_);
  ASSERT_TRUE(manager.bound());
  auto told = With(socket_);
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_TRUE(told->listens());
  EXPECT_TRUE(told->Ready("serving site core").ok());
  EXPECT_EQ(manager.Hears(), "READY=1\nSTATUS=serving site core");
  EXPECT_TRUE(told->Alive().ok());
  EXPECT_EQ(manager.Hears(), "WATCHDOG=1");
  EXPECT_TRUE(told->Stopping().ok());
  EXPECT_EQ(manager.Hears(), "STOPPING=1\nSTATUS=stopping");
}

TEST_F(ServiceManagerTest, AStatusCannotBeAnotherMessage) {
  Manager manager(socket_);
  auto told = With(socket_);
  ASSERT_TRUE(told.ok());
  ASSERT_TRUE(told->Ready("first\nMAINPID=1").ok());
  EXPECT_EQ(manager.Hears(), "READY=1\nSTATUS=first");
}

TEST_F(ServiceManagerTest, ANameInTheAbstractSpace) {
  const std::string name = "@bw-manager-test-" + std::to_string(::getpid());
  Manager manager(name);
  ASSERT_TRUE(manager.bound());
  auto told = With(name);
  ASSERT_TRUE(told.ok()) << told.status();
  ASSERT_TRUE(told->Alive().ok());
  EXPECT_EQ(manager.Hears(), "WATCHDOG=1");
}

TEST_F(ServiceManagerTest, WhatItStartsCannotSpeakForIt) {
  Manager manager(socket_);
  auto told = With(socket_, "1000000", std::to_string(::getpid()));
  ASSERT_TRUE(told.ok());
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
    EXPECT_EQ(std::getenv(name), nullptr) << name;
}

TEST_F(ServiceManagerTest, WithoutAManagerNothingHappens) {
  ::unsetenv("NOTIFY_SOCKET");
  ::setenv("WATCHDOG_USEC", "1000", 1);
  auto nobody = ServiceManager::FromEnvironment();
  ASSERT_TRUE(nobody.ok());
  EXPECT_FALSE(nobody->listens());
  EXPECT_EQ(nobody->alive_every(), absl::InfiniteDuration());
  EXPECT_TRUE(nobody->Ready("x").ok());
  EXPECT_TRUE(nobody->Alive().ok());
  EXPECT_TRUE(nobody->Stopping().ok());
}

TEST_F(ServiceManagerTest, NamesThatCannotBeTold) {
  for (const std::string& name :
       {std::string("notify"), std::string("/"), "/" + std::string(200, 'x'), std::string("vsock:2:1")}) {
    auto told = With(name);
    EXPECT_TRUE(absl::IsInvalidArgument(told.status())) << name << told.status();
    EXPECT_THAT(std::string(told.status().message()), HasSubstr("NOTIFY_SOCKET"));
  }
  auto gone = With(socket_);
  EXPECT_TRUE(absl::IsUnavailable(gone.status())) << gone.status();
}

TEST_F(ServiceManagerTest, TheWatchdogIsHalved) {
  Manager manager(socket_);
  EXPECT_EQ(With(socket_, "3000000")->alive_every(), absl::Milliseconds(1500));
  EXPECT_EQ(With(socket_, "3000000", std::to_string(::getpid()))->alive_every(), absl::Milliseconds(1500));
  EXPECT_EQ(With(socket_, "3000000", "1")->alive_every(), absl::InfiniteDuration());  // another process is meant
  for (const char* odd : {"0", "-5", "soon", "99999999999999999999", "999999999999999"}) {
    EXPECT_EQ(With(socket_, odd)->alive_every(), absl::InfiniteDuration()) << odd;
  }
}

TEST_F(ServiceManagerTest, AliveIsSaidWhileItIsTrueUntilTheSignal) {
  Manager manager(socket_);
  auto told = With(socket_, "2000");
  ASSERT_TRUE(told.ok());
  HoldStopSignals();
  int asked = 0, received = 0;
  std::thread waiting([&] {
    received = AwaitStopSignal(*told, [&asked] {
      if (++asked == 10) ::kill(::getpid(), SIGTERM);
      return asked <= 2;
    });
  });
  waiting.join();
  EXPECT_EQ(received, SIGTERM);
  EXPECT_EQ(manager.Hears(), "WATCHDOG=1");
  EXPECT_EQ(manager.Hears(), "WATCHDOG=1");
  EXPECT_TRUE(manager.Silent());  // though it was asked eight times more
}

TEST_F(ServiceManagerTest, WithoutAWatchNobodyIsAsked) {
  HoldStopSignals();
  ServiceManager nobody;
  ::kill(::getpid(), SIGINT);
  EXPECT_EQ(AwaitStopSignal(nobody,
                            [] {
                              ADD_FAILURE();
                              return true;
                            }),
            SIGINT);
}

}  // namespace
}  // namespace bailiwick::os
