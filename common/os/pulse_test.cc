#include "common/os/pulse.h"

#include <gtest/gtest.h>

#include "common/os/process_stats.h"

namespace bailiwick::os {
namespace {

TEST(Pulse, SeveralMayAsk) {
  FakeClock clock;
  bool turned = false;
  Pulse pulse(&clock, [&] { return std::exchange(turned, false); });
  EXPECT_TRUE(pulse.Check().ok()) << "nobody has waited yet";
  EXPECT_FALSE(pulse.TurnedSinceAsked());
  turned = true;
  EXPECT_TRUE(pulse.Check().ok());
  EXPECT_TRUE(pulse.TurnedSinceAsked()) << "that another one saw it too takes nothing away";
  EXPECT_FALSE(pulse.TurnedSinceAsked());
  clock.Advance(Pulse::kPatience);
  EXPECT_TRUE(pulse.Check().ok());
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(pulse.Check().code(), absl::StatusCode::kUnavailable);
  turned = true;
  EXPECT_TRUE(pulse.Check().ok());
}

TEST(ProcessStats, AreOfThisProcess) {
  auto stats = ReadProcessStats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_GT(stats->resident_bytes, 1u << 20);
  EXPECT_GT(stats->virtual_bytes, stats->resident_bytes / 2);
  EXPECT_GE(stats->threads, 1u);
  EXPECT_GE(stats->open_files, 3u);
  EXPECT_GT(stats->max_files, stats->open_files);
  EXPECT_GT(stats->started, absl::ZeroDuration());
  EXPECT_LE(stats->started, Clock::System()->BootTime());
}

}  // namespace
}  // namespace bailiwick::os
