#include "common/rpc/invitation.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace bailiwick::rpc {
namespace {

enroll::v1::JoinString Join() {
  enroll::v1::JoinString join;
  join.set_join_address("[2001:db8::1]:7441");
  join.set_ca_sha256(std::string(32, 'c'));
  join.set_policy_root_sha256(std::string(32, 'p'));
  join.set_token("token");
  join.set_site("core");
  return join;
}

TEST(Invitation, ComesBackAsItWasMade) {
  const std::string text = EncodeJoinString(Join());
  EXPECT_EQ(text.substr(0, 5), "bwj1.");
  for (const std::string& typed : {text, text + "\n", "  " + text + "\r\n", text.substr(0, 60) + "\n" + text.substr(60)}) {
    auto join = ParseJoinString(typed);
    ASSERT_TRUE(join.ok()) << join.status();
    EXPECT_EQ(join->SerializeAsString(), Join().SerializeAsString());
  }
  enroll::v1::LoginString login;
  ASSERT_TRUE(login.ParseFromString(Join().SerializeAsString()));
  auto back = ParseLoginString(EncodeLoginString(login));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->token(), "token");
}

TEST(Invitation, IsRefusedWithoutAPartAndInPieces) {
  const std::string text = EncodeJoinString(Join());
  for (const std::string& bad :
       {std::string(), std::string("bwj1."), "bwl1." + text.substr(5), text.substr(1), text.substr(0, 40), "x" + text,
        "bwj1." + std::string(kMaxInvitation, 'A')}) {
    EXPECT_EQ(ParseJoinString(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(ParseLoginString(text).ok());
  const auto refused = [](void (*spoil)(enroll::v1::JoinString*)) {
    enroll::v1::JoinString join = Join();
    spoil(&join);
    return !ParseJoinString(EncodeJoinString(join)).ok();
  };
  EXPECT_TRUE(refused([](auto* j) { j->clear_token(); }));
  EXPECT_TRUE(refused([](auto* j) { j->set_ca_sha256("short"); }));
  EXPECT_TRUE(refused([](auto* j) { j->set_policy_root_sha256(std::string(33, 'p')); }));
  EXPECT_TRUE(refused([](auto* j) { j->clear_join_address(); }));
  EXPECT_TRUE(refused([](auto* j) { j->set_join_address("unix:/run/x.sock"); }));
  EXPECT_TRUE(refused([](auto* j) { j->set_join_address("::1:7441"); }));
}

}  // namespace
}  // namespace bailiwick::rpc
