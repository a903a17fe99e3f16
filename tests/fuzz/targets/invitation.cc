// Join strings and login strings: as they are, and as the bytes inside, so that mutations get past base64.
#include "common/rpc/invitation.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(invitation) {
  using namespace bailiwick;
  const uint8_t mode = in.Byte();
  std::string text(in.Rest());
  if (mode % 3 != 0) text = absl::StrCat(mode % 3 == 1 ? "bwj1." : "bwl1.", absl::WebSafeBase64Escape(text));
  if (auto join = rpc::ParseJoinString(text); join.ok()) {
    REQUIRE(!join->token().empty() && join->ca_sha256().size() == 32 && join->policy_root_sha256().size() == 32);
    REQUIRE(ParseHostPort(join->join_address()).ok());
    auto again = rpc::ParseJoinString(rpc::EncodeJoinString(*join));
    REQUIRE(again.ok() && again->SerializeAsString() == join->SerializeAsString());
    REQUIRE(!rpc::ParseLoginString(text).ok());
  }
  if (auto login = rpc::ParseLoginString(text); login.ok()) {
    REQUIRE(!login->token().empty() && login->ca_sha256().size() == 32 && login->policy_root_sha256().size() == 32);
    REQUIRE(ParseHostPort(login->join_address()).ok());
  }
}
