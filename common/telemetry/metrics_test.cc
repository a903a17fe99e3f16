#include "common/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::telemetry {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kText = Exposition::Format::kText;
constexpr auto kOpen = Exposition::Format::kOpenMetrics;

TEST(Exposition, EachFormatHasItsOwnWayWithCounters) {
  Exposition out;
  out.Count("bailiwick_things_total", "Things.", {{"kind", "a"}}, 3);
  EXPECT_THAT(out.Render(kText),
              HasSubstr("# HELP bailiwick_things_total Things.\n# TYPE bailiwick_things_total counter\n"
                        "bailiwick_things_total{kind=\"a\"} 3\n"));
  EXPECT_THAT(out.Render(kOpen), HasSubstr("# HELP bailiwick_things Things.\n# TYPE bailiwick_things counter\n"
                                           "bailiwick_things_total{kind=\"a\"} 3\n"));
  EXPECT_THAT(out.Render(kOpen), EndsWith("\n# EOF\n"));
  EXPECT_THAT(out.Render(kText), Not(HasSubstr("# EOF")));
}

TEST(Exposition, AFamilyIsWrittenOnceAndInOnePiece) {
  Exposition out;
  out.Gauge("bailiwick_b", "B.", {{"x", "1"}}, 1);
  out.Gauge("bailiwick_a", "A.", {}, 0.1);
  out.Gauge("bailiwick_b", "B.", {{"x", "2"}}, -2.5e20);
  EXPECT_THAT(out.Render(kText), HasSubstr("# HELP bailiwick_a A.\n# TYPE bailiwick_a gauge\nbailiwick_a 0.1\n"
                                           "# HELP bailiwick_b B.\n# TYPE bailiwick_b gauge\n"
                                           "bailiwick_b{x=\"1\"} 1\nbailiwick_b{x=\"2\"} -2.5e+20\n"));
}

TEST(Exposition, NothingInALabelBreaksTheFormat) {
  Exposition out;
  out.Gauge("bailiwick_a", "A\n\\ \"help\".", {{"x", "q\"b\\n\nz\x01\xff"}}, 1);
  EXPECT_THAT(out.Render(kText), HasSubstr("# HELP bailiwick_a A\\n\\\\ \"help\".\n"));
  EXPECT_THAT(out.Render(kText), HasSubstr("{x=\"q\\\"b\\\\n\\nz??\"} 1\n"));
}

TEST(Exposition, AHistogramCountsUpwards) {
  Histogram took;
  took.Observe(absl::Milliseconds(1));  // on a bound: belongs to it
  took.Observe(absl::Seconds(3));
  took.Observe(absl::Hours(100));
  took.Observe(absl::Seconds(-1));
  Exposition out;
  out.Distribution("bailiwick_took_seconds", "Took.", {{"k", "v"}}, took);
  const std::string text = out.Render(kText);
  EXPECT_THAT(text, HasSubstr("bailiwick_took_seconds_bucket{k=\"v\",le=\"0.001\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("bailiwick_took_seconds_bucket{k=\"v\",le=\"2.5\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("bailiwick_took_seconds_bucket{k=\"v\",le=\"5.0\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("bailiwick_took_seconds_bucket{k=\"v\",le=\"+Inf\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("bailiwick_took_seconds_sum{k=\"v\"} 360003.001\n"));
  EXPECT_THAT(text, HasSubstr("bailiwick_took_seconds_count{k=\"v\"} 4\n"));
}

TEST(Exposition, TooManySamplesAreLeftOutAndCounted) {
  Exposition out;
  for (size_t i = 0; i < kMaxSamples + 5; ++i) out.Gauge("bailiwick_a", "A.", {{"i", std::to_string(i)}}, 1);
  EXPECT_THAT(out.Render(kText), HasSubstr("bailiwick_metrics_dropped_samples 5\n"));
}

TEST(Families, AreCollectedAndTheirLabelsBounded) {
  CounterFamily seen("bailiwick_test_seen_total", "Seen.", {"by"});
  for (size_t i = 0; i < kMaxSeries + 50; ++i) seen.With({std::to_string(i)}).Add();
  seen.With({"7"}).Add(2);
  Exposition out;
  CollectFamilies(&out);
  const std::string text = out.Render(kText);
  EXPECT_THAT(text, HasSubstr("bailiwick_test_seen_total{by=\"7\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("bailiwick_test_seen_total{by=\"other\"} 50\n"));
}

TEST(Negotiate, GivesWhatTheClientPrefers) {
  EXPECT_EQ(Negotiate(""), kText);
  EXPECT_EQ(Negotiate("*/*"), kText);
  EXPECT_EQ(Negotiate("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                      "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
            kOpen);
  EXPECT_EQ(Negotiate("application/openmetrics-text"), kOpen);
  EXPECT_EQ(Negotiate("application/openmetrics-text; version=2.0.0, text/plain;q=0.1"), kText);
  EXPECT_EQ(Negotiate("text/plain;version=0.0.4, application/openmetrics-text;q=0.3"), kText);
  EXPECT_EQ(Negotiate("application/openmetrics-text;q=0"), kText);
  EXPECT_EQ(Negotiate("application/openmetrics-text;q=nonsense"), kText);
  EXPECT_EQ(Negotiate(";;;,,,q=1;=;"), kText);
}

}  // namespace
}  // namespace bailiwick::telemetry
