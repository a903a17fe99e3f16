#include "services/agent/law/trusted_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::agent {
namespace {

using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

class TrustedClockTest : public ::testing::Test {
 protected:
  std::string Complaint() { return std::string(clock_.Check().message()); }
  os::FakeClock wall_{kStart};
  TrustedClock clock_{&wall_};
};

TEST_F(TrustedClockTest, IsTheWallClockWhileNothingElseIsKnown) {
  EXPECT_EQ(clock_.Now(), kStart);
  EXPECT_EQ(clock_.floor(), absl::InfinitePast());
  wall_.Advance(absl::Hours(1));
  EXPECT_EQ(clock_.Now(), kStart + absl::Hours(1));
  EXPECT_TRUE(clock_.Check().ok());
}

TEST_F(TrustedClockTest, NeverGoesBackBehindAKnownMoment) {
  clock_.Observe(kStart);
  wall_.Advance(absl::Minutes(10));
  wall_.SetWall(kStart - absl::Hours(5));
  EXPECT_EQ(clock_.Now(), kStart + absl::Minutes(10));
  wall_.Advance(absl::Minutes(10));  // and goes on while the wall clock is wrong
  EXPECT_EQ(clock_.Now(), kStart + absl::Minutes(20));
  EXPECT_THAT(Complaint(), HasSubstr("5h10m behind the coordinator's signed time"));
  wall_.SetWall(kStart + absl::Minutes(20));
  EXPECT_TRUE(clock_.Check().ok());
}

TEST_F(TrustedClockTest, ABoxThatWakesInThePastUsesTheFloorThatWasKept) {
  clock_.Observe(kStart);
  wall_.Advance(absl::Minutes(1));
  const absl::Time kept = clock_.floor();
  os::FakeClock woken(absl::UnixEpoch());
  TrustedClock after(&woken);
  after.Raise(kept);
  EXPECT_EQ(after.Now(), kStart + absl::Minutes(1));
  EXPECT_THAT(std::string(after.Check().message()), HasSubstr("behind the latest time known here"));
  woken.Advance(absl::Seconds(30));
  EXPECT_EQ(after.Now(), kStart + absl::Seconds(90));
  after.Observe(kStart + absl::Hours(48));  // our own clock is known to be wrong: the signed time is taken
  EXPECT_EQ(after.Now(), kStart + absl::Hours(48));
  EXPECT_FALSE(after.Check().ok());
  woken.SetWall(kStart + absl::Hours(48));
  EXPECT_TRUE(after.Check().ok());
}

TEST_F(TrustedClockTest, ASkewBeyondTheBoundIsSaid) {
  for (int seconds : {-60, 0, 60}) {
    clock_.Observe(wall_.Now() + absl::Seconds(seconds));
    EXPECT_TRUE(clock_.Check().ok()) << seconds;
  }
  clock_.Observe(wall_.Now() + absl::Seconds(61));
  EXPECT_THAT(Complaint(), HasSubstr("1m1s behind"));
  clock_.Observe(wall_.Now() - absl::Seconds(61));
  EXPECT_THAT(Complaint(), HasSubstr("1m1s ahead of"));
}

TEST_F(TrustedClockTest, ASignerThatLiesDoesNotMakeEverythingExpireForGood) {
  clock_.Observe(kStart);
  clock_.Observe(kStart + absl::Hours(24 * 365));
  EXPECT_FALSE(clock_.Check().ok());
  EXPECT_EQ(clock_.Now(), kStart);
  clock_.Observe(kStart);
  EXPECT_TRUE(clock_.Check().ok());
}

TEST_F(TrustedClockTest, AWallClockThatJumpedAheadIsNotKept) {
  clock_.Observe(kStart);
  wall_.SetWall(kStart + absl::Hours(24 * 365));
  EXPECT_FALSE(clock_.Check().ok());
  EXPECT_EQ(clock_.floor(), kStart);
  wall_.SetWall(kStart + absl::Seconds(1));
  EXPECT_EQ(clock_.Now(), kStart + absl::Seconds(1));
  EXPECT_TRUE(clock_.Check().ok());
}

}  // namespace
}  // namespace bailiwick::agent
