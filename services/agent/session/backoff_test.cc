#include "services/agent/session/backoff.h"

#include <gtest/gtest.h>

namespace bailiwick::agent {
namespace {

TEST(Backoff, DoublesToTheLimitAndStartsAnew) {
  Backoff backoff(absl::Milliseconds(200), absl::Seconds(1));
  EXPECT_EQ(backoff.Next(0), absl::Milliseconds(100));
  EXPECT_EQ(backoff.Next(0), absl::Milliseconds(200));
  EXPECT_EQ(backoff.Next(0), absl::Milliseconds(400));
  EXPECT_EQ(backoff.Next(0), absl::Milliseconds(500));
  EXPECT_EQ(backoff.Next(0), absl::Milliseconds(500));
  EXPECT_LE(backoff.Next(UINT32_MAX), absl::Seconds(1));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(0), absl::Milliseconds(100));
}

}  // namespace
}  // namespace bailiwick::agent
