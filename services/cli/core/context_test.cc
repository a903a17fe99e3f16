#include "services/cli/core/context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kRoot(64, 'a');
const std::string kGood = "coordinator: \"[::1]:7440\"\ntrustDomain: acme.example\ncredentials: admin\npolicyKeys: [a.pem, /k/b.pem]\n"
                          "policyRootSha256: " + kRoot + "\n";

std::string Said(const std::string& text) {
  auto context = ParseContext(text, "context.yaml", "/contexts/ada");
  EXPECT_FALSE(context.ok()) << text;
  EXPECT_EQ(context.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(context.status().message());
}

TEST(Context, ComesBackAsItWasWritten) {
  auto context = ParseContext(kGood, "context.yaml", "/contexts/ada");
  ASSERT_TRUE(context.ok()) << context.status();
  EXPECT_EQ(context->coordinator, "[::1]:7440");
  EXPECT_EQ(context->credentials, "/contexts/ada/admin");
  EXPECT_THAT(context->policy_keys, ElementsAre("/contexts/ada/a.pem", "/k/b.pem"));
  EXPECT_EQ(context->policy_root_sha256, std::string(32, '\xaa'));
  context->way_out = {.proxy = "proxy:3128", .credentials = "/contexts/ada/se\"c\\ret", .exempt = "10.0.0.0/8, plant"};
  const std::string text = ContextText(*context);
  EXPECT_THAT(text, HasSubstr("credentials: \"admin\"\n"));
  auto again = ParseContext(text, "context.yaml", "/contexts/ada");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ContextText(*again), text);
  EXPECT_EQ(again->way_out.credentials, "/contexts/ada/se\"c\\ret");
  auto moved = ParseContext(text, "context.yaml", "/contexts/bob");
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(moved->credentials, "/contexts/bob/admin");
}

TEST(Context, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(Said(kGood + "trustdomain: x\n"), "context.yaml:6:1: unknown field trustdomain; did you mean trustDomain?");
  EXPECT_EQ(Said(kGood + "credentials: x\n"), "context.yaml:6:1: the field credentials is there twice");
  EXPECT_THAT(Said("credentials: admin\n"), HasSubstr("must name coordinator"));
  EXPECT_THAT(Said(kGood + "proxy: [a]\n"), HasSubstr("context.yaml:6:8: proxy is one line"));
  EXPECT_THAT(Said(kGood + "proxy: \"a\\nb\"\n"), HasSubstr("proxy is one line"));
  EXPECT_THAT(Said(kGood + "---\na: b\n"), HasSubstr("one document"));
  EXPECT_THAT(Said(""), HasSubstr("map of fields"));
  EXPECT_THAT(Said("- a\n"), HasSubstr("map of fields"));
  std::string text = kGood;
  EXPECT_THAT(Said(text.replace(text.find("[::1]"), 5, "::1")), HasSubstr("HOST:PORT"));
  text = kGood;
  EXPECT_THAT(Said(text.replace(text.find("aaaa"), 2, "xy")), HasSubstr("64 hexadecimal digits"));
}

}  // namespace
}  // namespace bailiwick::cli
