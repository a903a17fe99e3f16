// The strings that people carry: to a machine that is to join (bwj1.), to a person who is to log in (bwl1.). Each says where
// to go, whose word counts there, and holds a token that counts once: a secret. Base64url of the message after the prefix.
// Thread-safe functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "bailiwick/enroll/v1/enroll.pb.h"

namespace bailiwick::rpc {

inline constexpr size_t kMaxInvitation = 4096;  // characters; a real one has some 250

std::string EncodeJoinString(const enroll::v1::JoinString& join);
std::string EncodeLoginString(const enroll::v1::LoginString& login);

// White space does not count: who pastes it may have broken its line. INVALID_ARGUMENT: it is none, or lacks a part, or the address is not HOST:PORT.
absl::StatusOr<enroll::v1::JoinString> ParseJoinString(std::string_view text);
absl::StatusOr<enroll::v1::LoginString> ParseLoginString(std::string_view text);
// Of a join string that was given in parts. INVALID_ARGUMENT.
absl::Status CheckJoinString(const enroll::v1::JoinString& join);

}  // namespace bailiwick::rpc
