// Short words that people and certificates hold: SPIFFE ids, sizes, durations, moments, days and hours of rules.
#include "common/base/units.h"
#include "common/config/check.h"
#include "common/config/when.h"
#include "common/identity/spiffe.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(text) {
  using namespace bailiwick;
  const std::string_view text = in.Rest();
  if (auto id = identity::ParseSpiffeId(text); id.ok()) REQUIRE(id->str() == text);
  if (auto bytes = ParseBytes(text); bytes.ok()) REQUIRE(!FormatBytes(*bytes).empty());
  if (auto duration = ParseDuration(text); duration.ok()) {
    REQUIRE(*duration >= absl::ZeroDuration() && *duration < absl::InfiniteDuration());
    REQUIRE(!FormatAge(*duration).empty());
  }
  const absl::Time era = absl::FromCivil(absl::CivilDay(0), absl::UTCTimeZone());
  const absl::Time end = absl::FromCivil(absl::CivilDay(10001), absl::UTCTimeZone());
  if (auto moment = config::ParseMoment(text)) REQUIRE(era - absl::Hours(99) < *moment && *moment < end);
  if (auto day = config::ParseDay(text)) REQUIRE(absl::FormatTime("%E4Y-%m-%d", *day, absl::UTCTimeZone()) == text);
  if (auto days = config::ParseDays(text)) REQUIRE(*days != 0 && *days <= 0x7f);
  if (auto hours = config::ParseHours(text)) {
    REQUIRE(hours->first < 24 * 60 && hours->second > 0 && hours->second <= 24 * 60 && hours->first != hours->second);
  }
  config::IsZoneShaped(text);
}
