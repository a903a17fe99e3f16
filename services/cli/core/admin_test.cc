#include "services/cli/core/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/status.h"

namespace bailiwick::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Sentence(grpc::StatusCode code, const std::string& message,
                     const std::string& who = "the coordinator at h:1") {
  const absl::Status status = Admin::Error(grpc::Status(code, message), who);
  EXPECT_EQ(ExitCode(status), 6) << status;
  return std::string(status.message());
}

TEST(AdminErrorTest, ACallThatDoesNotGetThroughNamesWhoAndTheRemedy) {
  EXPECT_EQ(Sentence(grpc::StatusCode::UNAVAILABLE,
                     "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to "
                     "remote host: "
                     "Connection refused"),
            "cannot reach the coordinator at h:1 (Connection refused); start it, or correct its address if it listens "
            "elsewhere; if it runs there, compare the clocks: bailiwick doctor");
  EXPECT_THAT(Sentence(grpc::StatusCode::UNAVAILABLE, "Socket closed"),
              HasSubstr("cannot reach the coordinator at h:1 (Socket closed)"));
  EXPECT_THAT(Sentence(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"),
              HasSubstr("the coordinator at h:1 did not answer in time"));
  EXPECT_THAT(
      Sentence(grpc::StatusCode::UNAVAILABLE,
               "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Handshake read failed"),
      AllOf(HasSubstr("the coordinator at h:1 did not answer in time"), Not(HasSubstr("certificate"))));
}

TEST(AdminErrorTest, AStrangerIsNotSomethingToStart) {
  for (const std::string message : {"failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed: "
                                    "SSL_ERROR_SSL: certificate verify failed",
                                    "failed to connect to all addresses; last error: UNKNOWN: x: the peer is "
                                    "spiffe://td/admin/a, not spiffe://td/coordinator"}) {
    EXPECT_THAT(Sentence(grpc::StatusCode::UNAVAILABLE, message),
                AllOf(HasSubstr("do not belong together"), Not(HasSubstr("start it"))));
  }
}

TEST(AdminErrorTest, WhatTheOtherSideSaysStaysAsItIs) {
  EXPECT_EQ(Sentence(grpc::StatusCode::UNAVAILABLE, "the disk of site core is away"), "the disk of site core is away");
  const absl::Status denied = Admin::Error(grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "admins only"));
  EXPECT_TRUE(absl::IsPermissionDenied(denied));
  EXPECT_EQ(denied.message(), "admins only");
  EXPECT_TRUE(Admin::Error(grpc::Status::OK).ok());
}

}  // namespace
}  // namespace bailiwick::cli
