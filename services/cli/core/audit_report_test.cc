#include "services/cli/core/audit_report.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace bailiwick::cli {
namespace {

AuditRecord Of(const std::string& site, uint64_t sequence, const std::string& kind, const std::string& subject,
               const std::string& detail) {
  return {site,
          {.sequence = sequence,
           .at = absl::FromUnixSeconds(static_cast<int64_t>(1000 + sequence)),
           .kind = kind,
           .subject = subject,
           .detail = detail}};
}

std::string Flow(const std::string& role, const std::string& to = "core") {
  return absl::StrCat(
      "{\"source\":\"spiffe://acme/region/eu/de/site/factory/agent/a\",\"destination\":\"spiffe://acme/region/eu/de/"
      "site/",
      to, "/agent/a\",\"purpose\":\"care\",\"rule\":\"acme/eu\",\"basis\":\"scc\",\"role\":\"", role,
      "\",\"number\":3,\"labels\":{\"class\":\"telemetry\",\"pii\":\"no\"},\"sourceRegion\":\"eu/de\","
      "\"destinationRegion\":\"eu/de\",\"logicalBytes\":100,\"wireBytes\":40}");
}

TEST(AuditReport, TellsEachMoveOnceByWhoReceivedIt) {
  const std::vector<AuditRecord> records = {Of("factory", 5, "transfer-ended", "data/t1", Flow("source")),
                                            Of("core", 4, "version-received", "data/t1", Flow("receiver")),
                                            Of("core", 6, "transfer-ended", "data/t1", Flow("receiver")),
                                            Of("factory", 7, "transfer-ended", "data/t2", Flow("source", "away"))};
  const AuditHistory history = HistoryOf(records);
  ASSERT_EQ(history.moves.size(), 2u);
  const AuditMove& move = history.moves[0];
  EXPECT_EQ(move.by, "core/4");
  EXPECT_EQ(move.dataset, "data");
  EXPECT_EQ(move.from, "factory");
  EXPECT_EQ(move.to, "core");
  EXPECT_EQ(move.number, 3u);
  EXPECT_EQ(move.rule, "acme/eu");
  EXPECT_EQ(move.basis, "scc");
  EXPECT_EQ(move.classes, "class=telemetry,pii=no");
  EXPECT_EQ(history.moves[1].by, "factory/7") << "the log of away was not read";
  const std::vector<AuditTotal> totals = Totals({move, move, history.moves[1]});
  ASSERT_EQ(totals.size(), 2u);
  const AuditTotal& twice = totals[0].moves == 2 ? totals[0] : totals[1];
  EXPECT_EQ(twice.logical_bytes, 200u);
  EXPECT_EQ(twice.wire_bytes, 80u);
}

TEST(AuditReport, TellsHomesAndRemovalsWithTheirReceipts) {
  const AuditHistory history =
      HistoryOf({Of("coordinator", 1, "version-announced", "data/1", "{\"site\":\"factory\"}"),
                 Of("coordinator", 9, "receipt-stored", "data/core", "{\"receipt\":\"ab12\",\"cause\":\"unlawful\"}"),
                 Of("core", 3, "version-dropped", "data/1", "{\"reason\":\"retention\"}"),
                 Of("core", 4, "version-received", "other/t", "{}"), Of("core", 5, "noise", "", "[")});
  EXPECT_EQ(history.homes.at("data"), (std::set<std::string>{"factory"}));
  ASSERT_EQ(history.removals.size(), 2u);
  EXPECT_EQ(history.removals[1].receipt, "ab12");
  EXPECT_EQ(history.removals[1].site, "core");
  EXPECT_EQ(history.removals[0].what, "version 1 dropped: retention");
}

TEST(AuditReport, APageShowsWhatPeopleWroteAsText) {
  const std::string page = HtmlPage("<b>", {"a & b"}, {{"t", {"h"}, {{"<script>alert('x')</script>"}}}});
  EXPECT_EQ(page.find("<script>"), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;alert(&#39;x&#39;)"), std::string::npos);
  EXPECT_NE(page.find("<title>&lt;b&gt;</title>"), std::string::npos);
}

}  // namespace
}  // namespace bailiwick::cli
