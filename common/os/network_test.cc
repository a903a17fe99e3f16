#include "common/os/network.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace bailiwick::os {
namespace {

TEST(NetworkTest, NamesHaveAddressesOrNot) {
  EXPECT_THAT(*Resolve("127.0.0.1"), ::testing::ElementsAre("127.0.0.1"));
  EXPECT_THAT(*Resolve("::1"), ::testing::ElementsAre("::1"));
  EXPECT_THAT(*Resolve("localhost"), ::testing::Contains(::testing::AnyOf("127.0.0.1", "::1")));
  EXPECT_FALSE(Resolve("no-such-name.invalid").ok());
}

TEST(NetworkTest, APortIsOpenWhileSomebodyListens) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof here;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&here), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&here), &size), 0);
  const uint16_t port = ntohs(here.sin_port);
  EXPECT_TRUE(TryConnect("127.0.0.1", port, absl::Seconds(10)).ok());
  ::close(listener);
  absl::Status closed = TryConnect("127.0.0.1", port, absl::Seconds(10));
  EXPECT_TRUE(absl::IsUnavailable(closed)) << closed;
  EXPECT_THAT(std::string(closed.message()), ::testing::HasSubstr("refused"));
}

}  // namespace
}  // namespace bailiwick::os
