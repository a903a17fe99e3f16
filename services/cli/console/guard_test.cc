#include "services/cli/console/guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace bailiwick::cli {
namespace {

constexpr int kPort = 4711;

class GuardTest : public testing::Test {
 protected:
  http::Request Of(const std::string& path, http::Headers headers = {}, const std::string& method = "GET") {
    http::Request request;
    request.method = method;
    const size_t question = path.find('?');
    request.path = path.substr(0, question);
    if (question != std::string::npos) request.query = path.substr(question + 1);
    request.headers = std::move(headers);
    if (request.Header("host").empty()) request.headers.push_back({"host", "127.0.0.1:4711"});
    return request;
  }
  // What a browser carries that opened a link.
  std::string Enter() {
    const std::string link = guard_.NewLink();
    const Guard::Verdict verdict = guard_.Check(Of(link.substr(link.find(guard_.base()))));
    EXPECT_EQ(verdict.pass, Guard::Pass::kEnter) << verdict.refusal.body;
    return verdict.cookie.substr(0, verdict.cookie.find(';'));
  }
  int Status(const http::Request& request) {
    const Guard::Verdict verdict = guard_.Check(request);
    return verdict.pass == Guard::Pass::kRefused ? verdict.refusal.status : 200;
  }
  std::string Below(const std::string& path) { return guard_.base() + path; }
  Guard guard_{kPort, os::Random::System()};
};

TEST_F(GuardTest, LinkOpensOnceAndItsCookieServes) {
  const std::string link = guard_.NewLink();
  EXPECT_THAT(link, testing::StartsWith(absl::StrCat("http://127.0.0.1:4711", guard_.base(), "?token=")));
  const std::string target = link.substr(link.find(guard_.base()));
  const Guard::Verdict first = guard_.Check(Of(target));
  ASSERT_EQ(first.pass, Guard::Pass::kEnter);
  EXPECT_THAT(first.cookie, testing::HasSubstr("HttpOnly"));
  EXPECT_THAT(first.cookie, testing::HasSubstr("SameSite=Strict"));
  EXPECT_THAT(first.cookie, testing::HasSubstr(absl::StrCat("Path=", guard_.base())));
  EXPECT_EQ(Status(Of(target)), 403);
  const std::string cookie = first.cookie.substr(0, first.cookie.find(';'));
  const Guard::Verdict page = guard_.Check(Of(Below("api/status"), {{"cookie", "other=1; " + cookie}}));
  EXPECT_EQ(page.pass, Guard::Pass::kServe);
  EXPECT_EQ(page.path, "/api/status");
}

TEST_F(GuardTest, NothingIsServedWithoutTheCookie) {
  const std::string cookie = Enter();
  EXPECT_EQ(Status(Of(Below(""))), 401);
  EXPECT_EQ(Status(Of(Below("app.css"))), 401);
  EXPECT_EQ(Status(Of(Below("api/status"), {{"cookie", cookie + "0"}})), 401);
  EXPECT_EQ(Status(Of(Below("api/status"), {{"cookie", "x" + cookie}})), 401);
  EXPECT_EQ(Status(Of(Below("?token="))), 403);
  EXPECT_EQ(Status(Of(Below(absl::StrCat("?token=", std::string(64, '0'))))), 403);
  EXPECT_EQ(Status(Of("/", {{"cookie", cookie}})), 404);
  EXPECT_EQ(Status(Of("/api/status", {{"cookie", cookie}})), 404);
}

TEST_F(GuardTest, ANameThatPointsHereIsNotThisHost) {
  const std::string cookie = Enter();
  for (const char* host :
       {"evil.example:4711", "127.0.0.1", "127.0.0.1:4712", "127.0.0.1.evil.example:4711", "[::1]:4711"}) {
    EXPECT_EQ(Status(Of(Below(""), {{"host", host}, {"cookie", cookie}})), 421) << host;
  }
  EXPECT_EQ(Status(Of(Below(""), {{"host", "localhost:4711"}, {"cookie", cookie}})), 200);
}

TEST_F(GuardTest, PagesOfOthersAreRefusedThoughTheBrowserSendsTheCookie) {
  const std::string cookie = Enter();
  const http::Headers own = {{"cookie", cookie}, {"x-bailiwick", "console"}};
  auto with = [&](const std::string& name, const std::string& value) {
    http::Headers headers = own;
    headers.push_back({name, value});
    return headers;
  };
  EXPECT_EQ(Status(Of(Below("api/rollback"), own, "POST")), 200);
  EXPECT_EQ(Status(Of(Below("api/rollback"), with("origin", "http://127.0.0.1:4711"), "POST")), 200);
  for (const char* origin :
       {"http://evil.example", "null", "http://127.0.0.1:4712", "https://127.0.0.1:4711", "http://localhost:4711"}) {
    EXPECT_EQ(Status(Of(Below("api/rollback"), with("origin", origin), "POST")), 403) << origin;
    EXPECT_EQ(Status(Of(Below("api/status"), with("origin", origin))), 403) << origin;
  }
  EXPECT_EQ(Status(Of(Below("api/status"), with("sec-fetch-site", "same-site"))), 403);
  EXPECT_EQ(Status(Of(Below("api/status"), with("sec-fetch-site", "cross-site"))), 403);
  EXPECT_EQ(Status(Of(Below("api/status"), with("sec-fetch-site", "same-origin"))), 200);
  EXPECT_EQ(Status(Of(Below("api/rollback"), {{"cookie", cookie}}, "POST")), 403);
}

TEST_F(GuardTest, OldLinksMakeRoomForNewOnes) {
  const std::string first = guard_.NewLink();
  for (size_t i = 0; i < Guard::kMaxLinks; ++i) guard_.NewLink();
  EXPECT_EQ(Status(Of(first.substr(first.find(guard_.base())))), 403);
}

}  // namespace
}  // namespace bailiwick::cli
