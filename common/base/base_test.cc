#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "common/base/digest.h"
#include "common/base/runs.h"
#include "common/base/status.h"
#include "common/base/units.h"

namespace bailiwick {
namespace {

TEST(Units, BytesRoundTripAndErrors) {
  EXPECT_EQ(*ParseBytes("32KiB"), 32 * kKiB);
  EXPECT_EQ(*ParseBytes("1 MiB"), kMiB);
  EXPECT_EQ(*ParseBytes("4096"), 4096u);
  for (const char* bad : {"", "KiB", "12kb", "-1", "99999999999999999999", "18446744073709551615KiB"}) {
    EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
  }
  EXPECT_EQ(FormatBytes(512), "512 B");
  EXPECT_EQ(FormatBytes(1536), "1.50 KiB");
}

TEST(Units, Durations) {
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("250ms"), absl::Milliseconds(250));
  EXPECT_EQ(*ParseDuration("30d"), absl::Hours(720));
  for (const char* bad : {"", "5", "s", "-5s", "5x", "1h-2m", "1h 2m"}) EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  EXPECT_EQ(*ParseDuration("315576000000s"), kMaxDuration);
  for (const char* endless : {"315576000001s", "9223372036854775807d", "9223372036854775807ms315576000000s"}) {
    EXPECT_THAT(std::string(ParseDuration(endless).status().message()), ::testing::HasSubstr("is too long"));
  }
}

TEST(StatusHelpers, ErrnoAndExitCodes) {
  EXPECT_TRUE(absl::IsResourceExhausted(ErrnoStatus(ENOSPC, "write")));
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCode(absl::PermissionDeniedError("")), 3);
  EXPECT_EQ(ExitCode(absl::NotFoundError("")), 4);
  EXPECT_EQ(ExitCode(absl::AbortedError("")), 5);
  EXPECT_EQ(ExitCode(absl::DeadlineExceededError("")), 6);
  EXPECT_EQ(ExitCode(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCode(ErrnoStatus(EACCES, "key.pem")), 1) << "no law denied it";
}

TEST(Digest, RefusesWrongLengthAndAlgorithm) {
  EXPECT_FALSE(Digest::From(1, "short").ok());
  EXPECT_FALSE(Digest::From(2, std::string(32, 'x')).ok());
  EXPECT_EQ(Digest::From(1, std::string(32, '\x01'))->Hex().substr(0, 4), "0101");
}

TEST(FormatRuns, SaysWhichAndStaysShort) {
  EXPECT_EQ(FormatRuns({}), "none");
  EXPECT_EQ(FormatRuns({7}), "7");
  EXPECT_EQ(FormatRuns({9, 1, 2, 3, 3, 12, 11}), "1-3, 9, 11-12");
  EXPECT_EQ(FormatVersions(std::vector<uint64_t>{4}), "version 4");
  EXPECT_EQ(FormatVersions(std::vector<uint64_t>{5, 4}), "versions 4-5");
  std::vector<uint64_t> all, odd;
  for (uint64_t n = 1'000'000'000'000; n < 1'000'000'100'000; ++n) {
    all.push_back(n);
    if (n % 2 == 1) odd.push_back(n);
  }
  EXPECT_EQ(FormatRuns(all), "1000000000000-1000000099999");
  const std::string many = FormatRuns(odd);
  EXPECT_LT(many.size(), 20'000u);
  EXPECT_THAT(many, ::testing::EndsWith(", and 49500 more"));
}

}  // namespace
}  // namespace bailiwick
