#include "common/os/local_socket.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "common/os/files.h"

namespace bailiwick::os {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

class LocalSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Longer than a socket's address may be.
    root_ = ::testing::TempDir() + "bw-socket-" + std::to_string(::getpid());
    directory_ = root_ + "/" + std::string(100, 'd');
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }
  Files* files_ = Files::System();
  std::string root_, directory_;
};

TEST_F(LocalSocketTest, ALineThereAndALineBackFromAKnownUser) {
  auto listener = LocalListener::Open(directory_, "agent.sock");
  ASSERT_TRUE(listener.ok()) << listener.status();
  struct stat info {};
  ASSERT_EQ(::stat((directory_ + "/agent.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  std::thread client([&] {
    auto connection = ConnectLocal(directory_, "agent.sock");
    ASSERT_TRUE(connection.ok()) << connection.status();
    EXPECT_TRUE((*connection)->Write("status\nmore\n", kLong).ok());
    EXPECT_EQ(*(*connection)->ReadLine(100, kLong), "well");
  });
  auto accepted = (*listener)->Accept(kLong);
  ASSERT_TRUE(accepted.ok() && *accepted != nullptr);
  EXPECT_EQ(*(*accepted)->PeerUser(), CurrentUser());
  EXPECT_EQ(*(*accepted)->ReadLine(100, kLong), "status");
  EXPECT_EQ(*(*accepted)->ReadLine(100, kLong), "more");
  EXPECT_TRUE((*accepted)->Write("well\n", kLong).ok());
  client.join();
  EXPECT_TRUE(absl::IsUnavailable((*accepted)->ReadLine(100, kLong).status()));
}

TEST_F(LocalSocketTest, ALineWithoutEndIsRefused) {
  auto listener = LocalListener::Open(directory_, "agent.sock");
  ASSERT_TRUE(listener.ok());
  std::thread client([&] {
    auto connection = ConnectLocal(directory_, "agent.sock");
    ASSERT_TRUE(connection.ok());
    (*connection)->Write(std::string(100'000, 'x'), kLong).IgnoreError();
  });
  auto accepted = (*listener)->Accept(kLong);
  ASSERT_TRUE(accepted.ok() && *accepted != nullptr);
  EXPECT_TRUE(absl::IsOutOfRange((*accepted)->ReadLine(100, kLong).status()));
  accepted->reset();
  client.join();
}

TEST_F(LocalSocketTest, NobodyThereAndOneThatALastProcessLeft) {
  EXPECT_TRUE(absl::IsNotFound(ConnectLocal(directory_, "agent.sock").status()));
  { ASSERT_TRUE(LocalListener::Open(directory_, "agent.sock").ok()); }
  EXPECT_TRUE(absl::IsNotFound(ConnectLocal(directory_, "agent.sock").status())) << "it takes its name with it";
  auto first = LocalListener::Open(directory_, "agent.sock");
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(::link((directory_ + "/agent.sock").c_str(), (directory_ + "/stale").c_str()), 0);
  first->reset();
  EXPECT_TRUE(absl::IsUnavailable(ConnectLocal(directory_, "stale").status()));
  EXPECT_TRUE(LocalListener::Open(directory_, "stale").ok());
}

}  // namespace
}  // namespace bailiwick::os
