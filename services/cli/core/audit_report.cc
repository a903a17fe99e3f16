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

constexpr char kReceived[] = "received", kHadIt[] = "had it already";

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
          .transfer = After(r.record.subject),
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

// All that the logs say of one transfer from one site to another.
struct Accounts {
  struct End {
    uint64_t begun = 0;
    std::vector<AuditMove> ended, broken;
  };
  End source, receiver;
  std::vector<AuditMove> received;  // by the receiver, before the version became visible there
};
using Transfers = std::map<std::tuple<std::string, std::string, std::string, uint64_t>, Accounts>;

// False: not of a transfer. Which end tells is known by whose log it is, not by what it says of itself.
bool TakeAccount(const AuditRecord& r, const Members& detail, Transfers* transfers, AuditHistory* out) {
  const std::string& kind = r.record.kind;
  if (kind != "version-received" && kind != "transfer-ended" && kind != "transfer-broken" && kind != "grant-accepted") {
    return false;
  }
  AuditMove move = MoveOf(r, detail);
  const bool both = move.from == move.to;  // two agents of one site
  if (r.site != move.from && r.site != move.to) {
    out->contradictions.push_back({move.at, move.dataset, After(r.record.subject),
                                   absl::StrCat(r.site, " recorded a transfer from ", move.from, " to ", move.to,
                                                ", of which it is no end; it is not counted"),
                                   move.by});
    return true;
  }
  Accounts& of = (*transfers)[{r.record.subject, move.from, move.to, move.number}];
  const bool source = both ? TextOf(detail, "role") == "source" : r.site == move.from;
  Accounts::End& end = source ? of.source : of.receiver;
  const std::string code = TextOf(detail, "code");
  const bool complete = code.empty() || code == "COMPLETE";
  if (kind == "grant-accepted") {
    ++end.begun;
  } else if (kind == "version-received" && !source) {
    of.received.push_back(std::move(move));
  } else if (kind == "transfer-ended" && complete) {
    end.ended.push_back(std::move(move));
  } else {
    move.result = absl::StrCat("interrupted: ", complete ? "unknown" : code);
    end.broken.push_back(std::move(move));
  }
  return true;
}

std::string Difference(const AuditMove& a, const AuditMove& b) {
  std::string out;
  auto compare = [&out](const char* name, const std::string& left, const std::string& right) {
    if (left != right) absl::StrAppend(&out, out.empty() ? "" : ", ", name, " ", left, " and ", right);
  };
  compare("rule", a.rule, b.rule);
  compare("basis", a.basis, b.basis);
  compare("purpose", a.purpose, b.purpose);
  compare("classes", a.classes, b.classes);
  compare("region of the source", a.from_region, b.from_region);
  compare("region of the destination", a.to_region, b.to_region);
  compare("bytes", absl::StrCat(a.logical_bytes), absl::StrCat(b.logical_bytes));
  return out;
}

// What does not fit; empty: all does, or the other log was not read.
std::string Contradiction(const Accounts& of, const AuditMove& move, const std::set<std::string>& read) {
  const auto& [source, receiver, received] = of;
  if (!source.ended.empty() && received.empty() && receiver.ended.empty() && read.count(move.to) != 0) {
    return absl::StrCat(
        move.from, " recorded that it sent the whole version, ", move.to,
        receiver.broken.empty() ? " did not record that it received it" : " recorded that it was interrupted");
  }
  if (!received.empty() && source.ended.empty() && read.count(move.from) != 0 &&
      source.begun <= source.broken.size()) {  // else it is about to end there
    return absl::StrCat(move.to, " recorded that it received the version, ", move.from,
                        source.broken.empty() ? " recorded nothing of it" : " recorded that it was interrupted");
  }
  if (received.empty() || source.ended.empty()) return "";
  const std::string difference = Difference(source.ended.front(), received.front());
  return difference.empty() ? "" : absl::StrCat(move.from, " and ", move.to, " say different things: ", difference);
}

uint64_t WireBytes(const std::vector<AuditMove>& moves) {
  uint64_t sum = 0;
  for (const AuditMove& m : moves) sum += m.wire_bytes;
  return sum;
}

void Merge(Accounts of, const std::set<std::string>& read, AuditHistory* out) {
  auto& [source, receiver, received] = of;
  std::vector<AuditMove> whole = received.size() >= source.ended.size() ? received : source.ended;
  const bool had_it = received.empty() && !receiver.ended.empty();
  if (whole.empty()) whole = receiver.ended;
  for (AuditMove& m : whole) m.result = had_it ? kHadIt : kReceived;
  if (!whole.empty()) {
    const AuditMove& m = whole.front();
    const std::string what = Contradiction(of, m, read);
    const bool both = !received.empty() && !source.ended.empty();
    const std::string by = both ? absl::StrCat(source.ended.front().by, ", ", received.front().by) : m.by;
    if (!what.empty()) out->contradictions.push_back({m.at, m.dataset, m.transfer, what, by});
  }
  // The attempt that the receiver completed may have ended otherwise for the source: it did not hear of it.
  for (size_t n = source.ended.size(); n < received.size() && !source.broken.empty(); ++n) source.broken.pop_back();
  const bool by_source = WireBytes(source.broken) >= WireBytes(receiver.broken) && !source.broken.empty();
  for (AuditMove& m : whole) out->moves.push_back(std::move(m));
  for (AuditMove& m : by_source ? source.broken : receiver.broken) out->moves.push_back(std::move(m));
}

// "I had it already" is believed of who recorded whence.
void CheckHadIt(AuditHistory* out) {
  auto key = [](const AuditMove& m) { return std::make_tuple(m.dataset, m.number, m.to); };
  std::set<std::tuple<std::string, uint64_t, std::string>> came;
  for (const AuditMove& m : out->moves) {
    if (m.whole()) came.insert(key(m));
  }
  for (AuditMove& m : out->moves) {
    if (m.result != kHadIt || came.count(key(m)) != 0) continue;
    m.result = kReceived;
    out->contradictions.push_back(
        {m.at, m.dataset, m.transfer, absl::StrCat(m.to, " did not record that it received the version"), m.by});
  }
}

}  // namespace

AuditHistory HistoryOf(const std::vector<AuditRecord>& records) {
  AuditHistory out;
  Transfers transfers;
  std::set<std::string> read;
  for (const AuditRecord& r : records) read.insert(r.site);
  for (const AuditRecord& r : records) {
    const std::string& kind = r.record.kind;
    const Members detail = audit::ObjectMembers(r.record.detail);
    const std::string id = absl::StrCat(r.site, "/", r.record.sequence);
    if (detail.empty() && r.record.detail != "{}") {  // an honest log takes no such record
      out.contradictions.push_back({r.record.at, Before(r.record.subject), After(r.record.subject),
                                    absl::StrCat(r.site, " recorded ", kind, " so that readers may differ on it"), id});
      continue;
    }
    if (TakeAccount(r, detail, &transfers, &out)) continue;
    if (kind == "version-announced") {
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
  for (auto& [key, of] : transfers) Merge(std::move(of), read, &out);
  CheckHadIt(&out);
  auto oldest_first = [](const auto& a, const auto& b) { return std::tie(a.at, a.by) < std::tie(b.at, b.by); };
  std::sort(out.moves.begin(), out.moves.end(), oldest_first);
  std::sort(out.removals.begin(), out.removals.end(), oldest_first);
  std::sort(out.contradictions.begin(), out.contradictions.end(), oldest_first);
  return out;
}

std::vector<AuditTotal> Totals(const std::vector<AuditMove>& moves) {
  std::map<std::vector<std::string>, AuditTotal> by;
  for (const AuditMove& m : moves) {
    AuditTotal& total =
        by[{m.to_region, m.to, m.from_region, m.from, m.dataset, m.classes, m.basis, m.rule, m.purpose}];
    if (total.moves + total.interrupted == 0) total.like = m;
    ++(m.whole() ? total.moves : total.interrupted);
    if (m.whole()) total.logical_bytes += m.logical_bytes;
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
