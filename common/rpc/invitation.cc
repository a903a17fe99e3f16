#include "common/rpc/invitation.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/status.h"

namespace bailiwick::rpc {
namespace {

constexpr char kJoin[] = "bwj1.", kLogin[] = "bwl1.";
constexpr size_t kSha256 = 32;

template <typename Message>
absl::Status CheckParts(const Message& message) {
  if (message.token().empty() || message.ca_sha256().size() != kSha256 ||
      message.policy_root_sha256().size() != kSha256) {
    return absl::InvalidArgumentError("a part is missing");
  }
  return ParseHostPort(message.join_address()).status();
}

template <typename Message>
absl::Status Decode(std::string_view text, const char* prefix, Message* message) {
  std::string bytes;
  const std::string line(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  if (line.size() > kMaxInvitation || !absl::StartsWith(line, prefix) ||
      !absl::WebSafeBase64Unescape(line.substr(std::string_view(prefix).size()), &bytes) ||
      !message->ParseFromString(bytes)) {
    return absl::InvalidArgumentError("it is malformed");
  }
  return CheckParts(*message);
}

}  // namespace

std::string EncodeJoinString(const enroll::v1::JoinString& join) {
  return absl::StrCat(kJoin, absl::WebSafeBase64Escape(join.SerializeAsString()));
}

std::string EncodeLoginString(const enroll::v1::LoginString& login) {
  return absl::StrCat(kLogin, absl::WebSafeBase64Escape(login.SerializeAsString()));
}

absl::StatusOr<enroll::v1::JoinString> ParseJoinString(std::string_view text) {
  enroll::v1::JoinString join;
  if (Decode(text, kJoin, &join).ok()) return join;
  return absl::InvalidArgumentError(
      "that is not a join string; it starts with bwj1. and comes from: bailiwick site join-token SITE");
}

absl::StatusOr<enroll::v1::LoginString> ParseLoginString(std::string_view text) {
  enroll::v1::LoginString login;
  if (Decode(text, kLogin, &login).ok()) return login;
  return absl::InvalidArgumentError(
      "that is not a login string; it starts with bwl1. and comes from: bailiwick login-token NAME");
}

absl::Status CheckJoinString(const enroll::v1::JoinString& join) { return CheckParts(join); }

}  // namespace bailiwick::rpc
