#include "services/cli/commands/progress.h"

#include <gtest/gtest.h>

#include <sstream>

#include "common/base/units.h"

namespace bailiwick::cli {
namespace {

TEST(RateTest, CountsWhatCameLatelyAndNotWhatWasThere) {
  Rate rate;
  EXPECT_EQ(rate.per_second(), 0);
  rate.Add(absl::Seconds(0), 50 * kGiB);  // a resumed transfer
  EXPECT_EQ(rate.per_second(), 0);
  rate.Add(absl::Seconds(2), 50 * kGiB + 4 * kMiB);
  EXPECT_DOUBLE_EQ(rate.per_second(), 2.0 * kMiB);
  for (int s = 3; s < 30; ++s) rate.Add(absl::Seconds(s), 50 * kGiB + 4 * kMiB);
  EXPECT_EQ(rate.per_second(), 0) << "it stands still since more than ten seconds";
}

TEST(RateTest, ManySamplesInAMomentAndANewBeginning) {
  Rate rate;
  for (int i = 0; i <= 100'000; ++i) rate.Add(absl::Microseconds(i * 10), i);
  EXPECT_NEAR(rate.per_second(), 100'000, 1);
  rate.Add(absl::Seconds(2), 5);
  EXPECT_EQ(rate.per_second(), 0);
}

TEST(ProgressTextTest, SaysBytesRateAndTimeLeft) {
  EXPECT_EQ(ProgressText("x", 3 * kMiB, 4 * kMiB, static_cast<double>(kMiB), "7 files", 0),
            "x 3.00 MiB of 4.00 MiB (75%), 1.00 MiB/s, ETA 1s, 7 files");
  EXPECT_EQ(ProgressText("x", 3 * kMiB, 4 * kMiB, 0, "", 4), "x [###.] 3.00 MiB of 4.00 MiB (75%)");
  EXPECT_EQ(ProgressText("x", 3 * kMiB, 4 * kMiB, static_cast<double>(kMiB), "", 0, true),
            "x 3.00 MiB of about 4.00 MiB (75%), 1.00 MiB/s, ETA 1s");
  EXPECT_EQ(ProgressText("x", 512, 0, 0, "", 30), "x 512 B");
  EXPECT_EQ(ProgressText("x", 3000, 4000, 500, "", 4, false, "records"),
            "x [###.] 3000 of 4000 records (75%), 500/s, ETA 2s");
  EXPECT_EQ(ProgressText("x", 3, 0, 0, "", 4, false, "manifests"), "x 3 manifests");
  EXPECT_EQ(ProgressText("x", 9, 4, 1, "", 4), "x [####] 9 B of 4 B (100%), 1 B/s")
      << "more than expected is no more than all";
}

TEST(ProgressBoardTest, PlainLinesComeAtMostOnceASecond) {
  os::FakeClock clock;
  std::ostringstream out;
  ProgressBoard board(&out, false, 80, &clock);
  for (int i = 0; i < 30; ++i) {
    board.Update("a", "copy", i * 1000, 0);
    board.Draw();
    clock.Advance(absl::Milliseconds(100));
  }
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_EQ(text.find("[#"), std::string::npos);
}

TEST(ProgressBoardTest, ShortWorkShowsNothing) {
  os::FakeClock clock;
  std::ostringstream out;
  {
    ProgressBoard board(&out, true, 80, &clock);
    board.Update("a", "copy", 1, 2);
    board.Draw();
  }
  EXPECT_EQ(out.str(), "");
}

TEST(ProgressBoardTest, TerminalHasALineEachAndTakesThemBack) {
  os::FakeClock clock;
  std::ostringstream out;
  {
    ProgressBoard board(&out, true, 40, &clock);
    clock.Advance(absl::Seconds(1));
    board.Update("a", "first", kMiB, 2 * kMiB);
    board.Update("b", "a label that is far too long for a narrow terminal", kMiB, 2 * kMiB);
    board.Draw();
    const std::string drawn = out.str();
    EXPECT_EQ(std::count(drawn.begin(), drawn.end(), '\n'), 2);
    EXPECT_LT(drawn.size() - drawn.find('\n') - 1, 41u) << "a line that wraps could not be taken back";
    board.Remove("b");
    clock.Advance(absl::Seconds(1));
    board.Draw();
    EXPECT_NE(out.str().find("\033[2A\033[J"), std::string::npos) << "both lines are taken back";
  }
  const std::string text = out.str();
  EXPECT_EQ(text.substr(text.size() - 7), "\033[1A\033[J") << "nothing stays behind";
}

}  // namespace
}  // namespace bailiwick::cli
