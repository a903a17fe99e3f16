#include "services/cli/core/audit_report.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/audit/json.h"
#include "common/identity/spiffe.h"

namespace bailiwick::cli {
namespace {

using Members = std::map<std::string, std::string>;

std::string TextOf(const Members& members, const std::string& name) {
  auto it = members.find(name);
  return it == members.end() ? "" : audit::StringValue(it->second).value_or("");
}
uint64_t NumberOf(const Members& members, const std::string& name) {
  auto it = members.find(name);
  uint64_t out = 0;
  if (it != members.end() && !absl::SimpleAtoi(it->second, &out)) out = 0;
  return out;
}
std::string SiteOfAgent(const std::string& uri) {
  auto id = identity::ParseSpiffeId(uri);
  return id.ok() ? id->site : uri;
}
std::string Classes(const Members& members) {
  std::string out;
  auto labels = members.find("labels");
  if (labels == members.end()) return out;
  for (const auto& [name, value] : audit::ObjectMembers(labels->second)) {
    absl::StrAppend(&out, out.empty() ? "" : ",", name, "=", audit::StringValue(value).value_or(value));
  }
  return out;
}
// "telemetry/7" of a subject; all of it without a slash.
std::string Before(const std::string& subject) { return subject.substr(0, subject.rfind('/')); }
std::string After(const std::string& subject) { return subject.substr(subject.rfind('/') + 1); }

AuditMove MoveOf(const AuditRecord& r, const Members& detail) {
  return {.at = r.record.at,
          .dataset = Before(r.record.subject),
          .from = SiteOfAgent(TextOf(detail, "source")),
          .to = SiteOfAgent(TextOf(detail, "destination")),
          .from_region = TextOf(detail, "sourceRegion"),
          .to_region = TextOf(detail, "destinationRegion"),
          .number = NumberOf(detail, "number"),
          .rule = TextOf(detail, "rule"),
          .basis = TextOf(detail, "basis"),
          .purpose = TextOf(detail, "purpose"),
          .classes = Classes(detail),
          .logical_bytes = NumberOf(detail, "logicalBytes"),
          .wire_bytes = NumberOf(detail, "wireBytes"),
          .by = absl::StrCat(r.site, "/", r.record.sequence)};
}

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

}  // namespace

AuditHistory HistoryOf(const std::vector<AuditRecord>& records) {
  AuditHistory out;
  std::set<std::string> read;
  for (const AuditRecord& r : records) read.insert(r.site);
  for (const AuditRecord& r : records) {
    const std::string& kind = r.record.kind;
    const Members detail = audit::ObjectMembers(r.record.detail);
    const std::string id = absl::StrCat(r.site, "/", r.record.sequence);
    if (kind == "version-received") {
      out.moves.push_back(MoveOf(r, detail));
    } else if (kind == "transfer-ended" && TextOf(detail, "role") == "source") {
      AuditMove move = MoveOf(r, detail);
      if (read.count(move.to) == 0) out.moves.push_back(std::move(move));
    } else if (kind == "version-announced") {
      const std::string site = TextOf(detail, "site");
      if (!site.empty()) out.homes[Before(r.record.subject)].insert(site);
    } else if (kind == "receipt-stored") {
      out.removals.push_back({r.record.at, Before(r.record.subject), After(r.record.subject),
                              absl::StrCat("erased: ", TextOf(detail, "cause")), TextOf(detail, "receipt"), id});
    } else if (kind == "version-dropped") {
      out.removals.push_back({r.record.at, Before(r.record.subject), r.site,
                              absl::StrCat("version ", After(r.record.subject), " dropped: ", TextOf(detail, "reason")),
                              "", id});
    }
  }
  auto oldest_first = [](const auto& a, const auto& b) { return std::tie(a.at, a.by) < std::tie(b.at, b.by); };
  std::sort(out.moves.begin(), out.moves.end(), oldest_first);
  std::sort(out.removals.begin(), out.removals.end(), oldest_first);
  return out;
}

std::vector<AuditTotal> Totals(const std::vector<AuditMove>& moves) {
  std::map<std::vector<std::string>, AuditTotal> by;
  for (const AuditMove& m : moves) {
    AuditTotal& total =
        by[{m.to_region, m.to, m.from_region, m.from, m.dataset, m.classes, m.basis, m.rule, m.purpose}];
    if (total.moves++ == 0) total.like = m;
    total.logical_bytes += m.logical_bytes;
    total.wire_bytes += m.wire_bytes;
  }
  std::vector<AuditTotal> out;
  for (auto& [key, total] : by) out.push_back(std::move(total));
  return out;
}

std::string HtmlPage(const std::string& title, const std::vector<std::string>& sentences,
                     const std::vector<HtmlTable>& tables) {
  std::string out = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", Escaped(title),
      "</title>\n<style>body{font:14px/1.4 sans-serif;margin:2em}table{border-collapse:collapse;width:100%;margin:0 0 "
      "2em}"
      "th,td{border:1px solid #999;padding:.3em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
      "th{background:#eee}@media print{body{margin:0}tr{break-inside:avoid}thead{display:table-header-group}}"
      "</style></head><body>\n<h1>",
      Escaped(title), "</h1>\n");
  for (const std::string& sentence : sentences) absl::StrAppend(&out, "<p>", Escaped(sentence), "</p>\n");
  for (const HtmlTable& table : tables) {
    absl::StrAppend(&out, "<h2>", Escaped(table.title), "</h2>\n<table><thead><tr>");
    for (const std::string& name : table.header) absl::StrAppend(&out, "<th>", Escaped(name), "</th>");
    absl::StrAppend(&out, "</tr></thead><tbody>\n");
    for (const auto& row : table.rows) {
      absl::StrAppend(&out, "<tr>");
      for (const std::string& cell : row) absl::StrAppend(&out, "<td>", Escaped(cell), "</td>");
      absl::StrAppend(&out, "</tr>\n");
    }
    absl::StrAppend(&out, "</tbody></table>\n");
  }
  return out + "</body></html>\n";
}

}  // namespace bailiwick::cli
