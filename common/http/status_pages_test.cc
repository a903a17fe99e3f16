#include "common/http/status_pages.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace bailiwick::http {
namespace {

TEST(StatusPages, ServeThreePathsAndNothingElse) {
  absl::Status ready = absl::OkStatus();
  const StatusSource source{.metrics = [](telemetry::Exposition* out) { out->Gauge("bailiwick_x", "X.", {}, 1); },
                            .alive = [] { return absl::OkStatus(); },
                            .ready = [&] { return ready; }};
  const Response metrics = AnswerStatus(source, {.method = "GET", .path = "/metrics"});
  EXPECT_EQ(metrics.headers[0].second, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_TRUE(absl::StrContains(metrics.body, "bailiwick_x 1\n"));
  const Response open = AnswerStatus(
      source,
      {.method = "GET", .path = "/metrics", .headers = {{"accept", "application/openmetrics-text; version=1.0.0"}}});
  EXPECT_EQ(open.headers[0].second, "application/openmetrics-text; version=1.0.0; charset=utf-8");
  EXPECT_TRUE(absl::EndsWith(open.body, "# EOF\n"));
  EXPECT_EQ(AnswerStatus(source, {.method = "GET", .path = "/healthz"}).status, 200);
  EXPECT_EQ(AnswerStatus(source, {.method = "GET", .path = "/readyz"}).status, 200);
  ready = absl::UnavailableError("it is stopping");
  EXPECT_EQ(AnswerStatus(source, {.method = "GET", .path = "/readyz"}).status, 503);
  EXPECT_EQ(AnswerStatus(source, {.method = "GET", .path = "/readyz"}).body, "it is stopping\n");
  EXPECT_EQ(AnswerStatus(source, {.method = "POST", .path = "/metrics"}).status, 405);
  for (const char* path : {"/", "/metrics/", "/METRICS", "/debug/pprof", "//metrics", "/metrics/../healthz"}) {
    EXPECT_EQ(AnswerStatus(source, {.method = "GET", .path = path}).status, 404) << path;
  }
}

}  // namespace
}  // namespace bailiwick::http
