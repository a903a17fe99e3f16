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

std::string With(std::string detail, const std::string& from, const std::string& to) {
  detail.replace(detail.find(from), from.size(), to);
  return detail;
}

std::string Coded(const std::string& role, const std::string& code) {
  return With(Flow(role), "\"role\"", absl::StrCat("\"code\":\"", code, "\",\"role\""));
}

TEST(AuditReport, AnEndThatHidesAMoveIsNamedAndTheMoveTold) {
  // The receiver's log was read and does not know of it.
  AuditHistory history = HistoryOf({Of("factory", 5, "transfer-ended", "data/t1", Coded("source", "COMPLETE")),
                                    Of("core", 4, "nothing-happened", "data/t1", Flow("receiver"))});
  ASSERT_EQ(history.moves.size(), 1u);
  EXPECT_EQ(history.moves[0].by, "factory/5");
  EXPECT_TRUE(history.moves[0].whole());
  ASSERT_EQ(history.contradictions.size(), 1u);
  EXPECT_EQ(history.contradictions[0].transfer, "t1");
  EXPECT_NE(history.contradictions[0].what.find("core did not record that it received it"), std::string::npos);
  // Nor the source's.
  history = HistoryOf(
      {Of("core", 4, "version-received", "data/t1", Flow("receiver")), Of("factory", 0, "log-began", "", "{}")});
  ASSERT_EQ(history.moves.size(), 1u);
  ASSERT_EQ(history.contradictions.size(), 1u);
  EXPECT_NE(history.contradictions[0].what.find("factory recorded nothing of it"), std::string::npos);
  // A source that is not through yet contradicts nobody; nor does one whose log was not read.
  history = HistoryOf({Of("core", 4, "version-received", "data/t1", Flow("receiver")),
                       Of("factory", 3, "grant-accepted", "data/t1", Flow("source"))});
  EXPECT_EQ(history.moves.size(), 1u);
  EXPECT_TRUE(history.contradictions.empty());
  EXPECT_TRUE(HistoryOf({Of("core", 4, "version-received", "data/t1", Flow("receiver"))}).contradictions.empty());
}

TEST(AuditReport, EndsThatSayDifferentThingsOfAMoveAreNamed) {
  const AuditHistory history =
      HistoryOf({Of("factory", 5, "transfer-ended", "data/t1", Coded("source", "COMPLETE")),
                 Of("core", 4, "version-received", "data/t1", With(Flow("receiver"), "acme/eu", "acme/lie"))});
  ASSERT_EQ(history.moves.size(), 1u);
  ASSERT_EQ(history.contradictions.size(), 1u);
  EXPECT_NE(history.contradictions[0].what.find("rule acme/eu and acme/lie"), std::string::npos);
  EXPECT_EQ(history.contradictions[0].by, "factory/5, core/4");
}

TEST(AuditReport, ARecordThatCanBeReadTwoWaysIsNamedAndProvesNothing) {
  const std::string twice =
      With(Flow("receiver"), "\"role\"", "\"destination\":\"spiffe://x/site/away/agent/a\",\"role\"");
  const AuditHistory history = HistoryOf({Of("core", 4, "version-received", "data/t1", twice)});
  EXPECT_TRUE(history.moves.empty());
  ASSERT_EQ(history.contradictions.size(), 1u);
  EXPECT_EQ(history.contradictions[0].by, "core/4");
}

TEST(AuditReport, InterruptedAttemptsCountByWhatLeft) {
  const std::vector<AuditRecord> records = {
      Of("factory", 2, "transfer-broken", "data/t1",
         With(Coded("source", "BROKEN"), "\"wireBytes\":40", "\"wireBytes\":30")),
      Of("core", 2, "transfer-broken", "data/t1",
         With(Coded("receiver", "BROKEN"), "\"wireBytes\":40", "\"wireBytes\":20")),
      Of("factory", 5, "transfer-ended", "data/t1", Coded("source", "COMPLETE")),
      Of("core", 4, "version-received", "data/t1", Flow("receiver")),
      Of("core", 5, "transfer-ended", "data/t1", Coded("receiver", "COMPLETE"))};
  const AuditHistory history = HistoryOf(records);
  ASSERT_EQ(history.moves.size(), 2u);
  EXPECT_TRUE(history.contradictions.empty());
  EXPECT_EQ(history.moves[0].result, "interrupted: BROKEN");
  EXPECT_EQ(history.moves[0].by, "factory/2") << "more bytes left than arrived";
  const std::vector<AuditTotal> totals = Totals(history.moves);
  ASSERT_EQ(totals.size(), 1u);
  EXPECT_EQ(totals[0].moves, 1u);
  EXPECT_EQ(totals[0].interrupted, 1u);
  EXPECT_EQ(totals[0].logical_bytes, 100u);
  EXPECT_EQ(totals[0].wire_bytes, 70u);
}

TEST(AuditReport, ATransferThatWasDeniedIsNoVersionReceived) {
  const AuditHistory history =
      HistoryOf({Of("factory", 5, "transfer-ended", "data/t1", Coded("source", "POLICY_DENIED"))});
  ASSERT_EQ(history.moves.size(), 1u);
  EXPECT_EQ(history.moves[0].result, "interrupted: POLICY_DENIED");
  EXPECT_EQ(Totals(history.moves)[0].moves, 0u);
}

TEST(AuditReport, WhoSaysThatItHadAVersionTellsWhence) {
  std::vector<AuditRecord> records = {Of("factory", 5, "transfer-ended", "data/t1", Coded("source", "COMPLETE")),
                                      Of("core", 5, "transfer-ended", "data/t1", Coded("receiver", "COMPLETE"))};
  AuditHistory history = HistoryOf(records);
  ASSERT_EQ(history.moves.size(), 1u);
  EXPECT_TRUE(history.moves[0].whole());
  EXPECT_EQ(history.contradictions.size(), 1u);
  records.push_back(Of("core", 1, "version-received", "data/t0", Flow("receiver")));
  history = HistoryOf(records);
  EXPECT_EQ(Totals(history.moves)[0].moves, 1u);
  for (const AuditContradiction& c : history.contradictions) EXPECT_EQ(c.transfer, "t0") << c.what;
}

TEST(AuditReport, ALogTellsOnlyOfItsOwnTransfers) {
  const AuditHistory history = HistoryOf({Of("mallory", 4, "version-received", "data/t1", Flow("receiver"))});
  EXPECT_TRUE(history.moves.empty());
  ASSERT_EQ(history.contradictions.size(), 1u);
  EXPECT_EQ(history.contradictions[0].by, "mallory/4");
}

TEST(AuditReport, TellsHomesAndRemovalsWithTheirReceipts) {
  const AuditHistory history = HistoryOf(
      {Of("coordinator", 1, "version-announced", "data/1", "{\"site\":\"factory\"}"),
       Of("coordinator", 9, "receipt-stored", "data/core", "{\"receipt\":\"ab12\",\"cause\":\"unlawful\"}"),
       Of("core", 3, "version-dropped", "data/1", "{\"reason\":\"retention\"}"), Of("core", 5, "noise", "", "[")});
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
