#include "common/rpc/proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ProxyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kVariables) unsetenv(name);
    std::string pattern = (std::filesystem::temp_directory_path() / "bw-proxy-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  void TearDown() override {
    for (const char* name : kVariables) unsetenv(name);
    std::filesystem::remove_all(root_);
  }
  absl::StatusOr<Proxy> Parse(const std::string& proxy, const std::string& credentials = "",
                              const std::string& exempt = "") {
    return Proxy::Parse(os::Files::System(), {.proxy = proxy, .credentials = credentials, .exempt = exempt});
  }
  std::string File(const std::string& text) {
    const std::string path = root_ + "/credentials";
    EXPECT_TRUE(os::WriteFileAtomically(os::Files::System(), path, text).ok());
    return path;
  }

  static constexpr const char* kVariables[] = {"grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy",
                                               "no_proxy",   "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "GRPC_PROXY"};
  std::string root_;
};

TEST_F(ProxyTest, IsWrittenAsAnAddressOrAUrl) {
  for (const char* text : {"proxy.example:3128", "http://proxy.example:3128", "HTTP://proxy.example:3128/"}) {
    auto proxy = Parse(text);
    ASSERT_TRUE(proxy.ok()) << text << ": " << proxy.status();
    EXPECT_EQ(proxy->address(), "proxy.example:3128");
    EXPECT_EQ(proxy->authorization(), "");
  }
  EXPECT_EQ(Parse("[2001:db8::1]:3128")->address(), "[2001:db8::1]:3128");
  for (const char* text : {"proxy.example", "proxy.example:", "proxy.example:0", "http://", "https://proxy.example:3128",
                           "socks5://proxy.example:1080", "http://proxy.example:3128/path", "a b:1"}) {
    EXPECT_EQ(Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST_F(ProxyTest, ThePasswordComesFromAFileAndIsInNoSentence) {
  auto proxy = Parse("proxy.example:3128", File("robot:s3cr%40t:@x\n"));
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  EXPECT_EQ(proxy->authorization(), "Proxy-Authorization:Basic cm9ib3Q6czNjciU0MHQ6QHg=") << "as it is, nothing unescaped";
  absl::Status inside = Parse("http://robot:s3cret@proxy.example:3128").status();
  EXPECT_EQ(inside.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(inside.message()), HasSubstr("file"));
  EXPECT_THAT(std::string(inside.message()), Not(HasSubstr("s3cret")));
  for (const char* text : {"", "s3cret", ":s3cret", "a:s3cret\r\nX-Evil: 1", "a:b\x01s3cret"}) {
    absl::Status bad = Parse("proxy.example:3128", File(text)).status();
    EXPECT_EQ(bad.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(bad.message()), Not(HasSubstr("s3cret")));
  }
  EXPECT_EQ(Parse("proxy.example:3128", root_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ProxyTest, LeavesOutWhomItIsToldToAndThisMachine) {
  auto proxy = Parse("proxy.example:3128", "", " plant.example, .line.example,*.Cell.example, 10.1.0.0/16, 192.168.7.9,2001:db8::/33,, 10.0.0.4/30");
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  for (const char* host : {"plant.example", "a.plant.example", "PLANT.example", "line.example", "x.line.example",
                           "cell.example", "y.cell.example", "10.1.255.7", "192.168.7.9", "2001:db8:7fff::1", "10.0.0.7",
                           "localhost", "127.0.0.1", "127.1.2.3", "::1"}) {
    EXPECT_FALSE(proxy->Covers(host)) << host;
  }
  for (const char* host : {"example", "implant.example", "plant.example.org", "10.2.0.1", "192.168.7.90", "10.0.0.8",
                           "2001:db8:8000::1", "10.1.example", "a10.1.0.1"}) {
    EXPECT_TRUE(proxy->Covers(host)) << host;
  }
  EXPECT_FALSE(Parse("proxy.example:3128", "", "*")->Covers("anybody.example"));
  EXPECT_EQ(proxy->FirstHop("core.example:7443"), "proxy.example:3128");
  EXPECT_EQ(proxy->FirstHop("10.1.0.1:7443"), "10.1.0.1:7443");
  for (const char* text : {"10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "a b", "http://x", "::1/129", "a:1"}) {
    EXPECT_EQ(Parse("proxy.example:3128", "", text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST_F(ProxyTest, TheEnvironmentSpeaksWhereNoSettingDoes) {
  EXPECT_TRUE(Parse("")->none());
  EXPECT_FALSE(Parse("")->Covers("core.example"));
  setenv("https_proxy", "http://robot:p%40ss:word@proxy.example:3128/", 1);
  setenv("no_proxy", "plant.example", 1);
  auto proxy = Parse("");
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  EXPECT_EQ(proxy->address(), "proxy.example:3128");
  EXPECT_EQ(proxy->authorization(), "Proxy-Authorization:Basic cm9ib3Q6cEBzczp3b3Jk");
  EXPECT_FALSE(proxy->Covers("a.plant.example"));
  EXPECT_TRUE(proxy->Covers("core.example"));
  EXPECT_TRUE(Parse("none")->none());
  EXPECT_EQ(Parse("other.example:1")->address(), "other.example:1");
  EXPECT_TRUE(Parse("other.example:1")->Covers("plant.example")) << "no_proxy belongs to the proxy of the environment";
  EXPECT_FALSE(Parse("", "", "core.example")->Covers("core.example"));
  setenv("grpc_proxy", "first.example:1", 1);
  EXPECT_EQ(Parse("")->address(), "first.example:1");
  unsetenv("grpc_proxy");
  unsetenv("https_proxy");
  setenv("HTTPS_PROXY", "http://capitals.example:1", 1);
  EXPECT_EQ(Parse("")->address(), "capitals.example:1");
}

TEST_F(ProxyTest, AnEnvironmentThatIsMalformedIsSaidWithoutItsPassword) {
  for (const char* text : {"https://robot:s3cret@proxy.example:3128", "http://robot:s3cret@proxy.example",
                           "http://robot:s3cret@", "s3cret@http://proxy:1", "socks5://robot:s3cret@proxy.example:1",
                           "http://s3cret@proxy.example:1"}) {
    setenv("https_proxy", text, 1);
    absl::Status said = Parse("").status();
    EXPECT_EQ(said.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(said.message()), HasSubstr("environment"));
    EXPECT_THAT(std::string(said.message()), Not(HasSubstr("s3cret")));
  }
}

}  // namespace
}  // namespace bailiwick::rpc
