#include "common/base/host_port.h"

#include <gtest/gtest.h>

#include <string>

namespace bailiwick {
namespace {

TEST(HostPort, TakesNamesAndAddresses) {
  const struct {
    const char* text;
    const char* host;
    int port;
  } good[] = {{"core.example:7443", "core.example", 7443},
              {"localhost:0", "localhost", 0},
              {"10.0.0.1:65535", "10.0.0.1", 65535},
              {"[::1]:7443", "::1", 7443},
              {"[2001:db8::7]:1", "2001:db8::7", 1},
              {"[fe80::1%eth0]:7443", "fe80::1%eth0", 7443},
              {"[::]:0", "::", 0},
              {"[::ffff:10.0.0.1]:5", "::ffff:10.0.0.1", 5},
              {"a_b-c.d:1", "a_b-c.d", 1}};
  for (const auto& one : good) {
    auto parsed = ParseHostPort(one.text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->host, one.host);
    EXPECT_EQ(parsed->port, one.port);
    EXPECT_EQ(JoinHostPort(parsed->host, parsed->port), one.text);
  }
}

// Some of these gRPC would take for another kind of address: a socket in the file system, a list, a name service.
TEST(HostPort, RefusesAnythingElse) {
  for (const char* text : {"",
                           ":",
                           ":1",
                           "core",
                           "core:",
                           "core:x",
                           "core:-1",
                           "core:+1",
                           "core:65536",
                           "core: 1",
                           "core:1 ",
                           " core:1",
                           "::1:7443",
                           "::1",
                           "[::1]",
                           "[::1]7443",
                           "[::1:7443",
                           "::1]:7443",
                           "[core]:1",
                           "[10.0.0.1]:1",
                           "[]:1",
                           "[::1%]:1",
                           "[::1%../x]:1",
                           "[::g]:1",
                           "[[::1]]:1",
                           "unix:/run/x.sock",
                           "unix:///run/x",
                           "unix-abstract:x",
                           "dns:///core:1",
                           "ipv4:10.0.0.1:1",
                           "http://core:1",
                           "user@core:1",
                           "core/x:1",
                           "core\n:1",
                           "core:000001",
                           "c\xc3\xb6re:1",
                           "a,b:1"}) {
    EXPECT_EQ(ParseHostPort(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParseHostPort(std::string(254, 'a') + ":1").ok());
  EXPECT_TRUE(ParseHostPort(std::string(253, 'a') + ":1").ok());
  EXPECT_FALSE(ParseHostPort(std::string("core\0:1", 7)).ok());
}

TEST(HostPort, AHostAloneMayComeWithOrWithoutBrackets) {
  EXPECT_EQ(*ParseHost("[::1]"), "::1");
  EXPECT_EQ(*ParseHost("::1"), "::1");
  EXPECT_EQ(*ParseHost("core.example"), "core.example");
  for (const char* text : {"", "core:7443", "[core]", "core/", "a b", "[::1]:1"})
    EXPECT_FALSE(ParseHost(text).ok()) << text;
  EXPECT_FALSE(ParseHost(std::string_view("::1\0/@", 6)).ok()) << "inet_pton stops at the zero";
}

TEST(HostPort, KnowsWhatIsOnlyHereAndWhatIsNowhere) {
  for (const char* host : {"localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "0:0:0:0:0:0:0:1"})
    EXPECT_TRUE(IsLoopback(host)) << host;
  for (const char* host : {"127.example", "10.0.0.1", "::2", "localhost.example", "128.0.0.1"})
    EXPECT_FALSE(IsLoopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::0"}) EXPECT_TRUE(IsAnyAddress(host)) << host;
  for (const char* host : {"0.0.0.1", "::1", "any"}) EXPECT_FALSE(IsAnyAddress(host)) << host;
}

}  // namespace
}  // namespace bailiwick
