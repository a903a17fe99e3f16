#include "services/agent/transfer/hindrance.h"

#include <gtest/gtest.h>

namespace bailiwick::agent {
namespace {

class HindranceTest : public ::testing::Test {
 protected:
  void Pass(Hindrance::Cause cause, absl::Duration time, absl::Duration computed = absl::ZeroDuration()) {
    hindrance_.Is(cause);
    clock_.Advance(time);
    cpu_ += computed;
  }
  os::FakeClock clock_;
  absl::Duration cpu_ = absl::Seconds(7);
  Hindrance hindrance_{&clock_, [this] { return cpu_; }};
};

TEST_F(HindranceTest, SaysWhatMostOfTheTimeWentTo) {
  for (int i = 0; i < 10; ++i) {
    Pass(Hindrance::kLink, absl::Milliseconds(60));
    Pass(Hindrance::kWork, absl::Milliseconds(40), absl::Milliseconds(40));
  }
  EXPECT_EQ(hindrance_.Most(), "link");
  Pass(Hindrance::kCap, absl::Seconds(2));
  EXPECT_EQ(hindrance_.Most(), "cap");
  Pass(Hindrance::kPriority, absl::Seconds(2));
  EXPECT_EQ(hindrance_.Most(), "priority");
  Pass(Hindrance::kPeer, absl::Seconds(2));
  EXPECT_EQ(hindrance_.Most(), "peer");
}

TEST_F(HindranceTest, WorkIsComputingOrWaitingForTheDisk) {
  Pass(Hindrance::kWork, absl::Seconds(1), absl::Milliseconds(900));
  EXPECT_EQ(hindrance_.Most(), "cpu");
  Pass(Hindrance::kWork, absl::Seconds(2), absl::Milliseconds(100));
  EXPECT_EQ(hindrance_.Most(), "disk");
}

TEST_F(HindranceTest, ForgetsWhatLiesBack) {
  Pass(Hindrance::kLink, absl::Hours(1));
  EXPECT_EQ(hindrance_.Most(), "link");
  Pass(Hindrance::kWork, absl::Seconds(2), absl::Seconds(2));
  EXPECT_EQ(hindrance_.Most(), "cpu");
}

}  // namespace
}  // namespace bailiwick::agent
