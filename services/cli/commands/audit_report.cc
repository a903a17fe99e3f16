// audit report: what an auditor asks for, as text, JSON or a printable page.
#include "services/cli/core/audit_report.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/files.h"
#include "services/cli/commands/command.h"

namespace bailiwick::cli {
namespace {

constexpr int kIncomplete = 11;  // as of audit verify

struct ReportFlags {
  std::string dataset, from, to, html;
  bool transfers = false;
  std::vector<std::string> directories;
};

std::string TimeOf(absl::Time at) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", at, absl::UTCTimeZone()); }

absl::StatusOr<absl::Time> ParseDay(const std::string& text, absl::Time otherwise) {
  absl::Time at;
  std::string problem;
  if (text.empty()) return otherwise;
  if (absl::ParseTime(absl::RFC3339_full, text, &at, &problem) ||
      absl::ParseTime("%Y-%m-%d", text, absl::UTCTimeZone(), &at, &problem)) {
    return at;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no time; write 2026-03-01 or 2026-03-01T10:00:00Z"));
}

// All logs: those given, or the coordinator's and that of every site. Those that cannot be read are named.
absl::StatusOr<std::vector<AuditRecord>> ReadAll(const Globals& globals, const ReportFlags& flags,
                                                 std::vector<std::string>* missing) {
  std::vector<AuditRecord> all;
  auto take = [&all](std::vector<AuditRecord> records) {
    for (AuditRecord& r : records) all.push_back(std::move(r));
  };
  for (const std::string& directory : flags.directories) {
    BW_ASSIGN_OR_RETURN(std::vector<AuditRecord> records, RecordsIn(directory, {}));
    take(std::move(records));
  }
  if (!flags.directories.empty()) return all;
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(std::vector<AuditRecord> own, RecordsOf(*admin, kCoordinatorLog, {}));
  take(std::move(own));
  BW_ASSIGN_OR_RETURN(auto sites, SitesByName(*admin));
  for (const auto& [site, status] : sites) {
    auto records = RecordsOf(*admin, site, {});
    if (records.ok()) {
      take(*std::move(records));
    } else {
      missing->push_back(
          absl::StrCat("the log of ", site, " could not be read: ", std::string(records.status().message())));
    }
  }
  return all;
}

struct Section {
  std::string title, name;  // name: in JSON
  std::vector<std::string> header, fields;
  Rows rows;
};

absl::Status Print(const Globals& globals, const std::string& html, const std::string& title,
                   const std::vector<std::string>& sentences, const std::vector<Section>& sections) {
  if (!html.empty()) {
    std::vector<HtmlTable> tables;
    for (const Section& s : sections) tables.push_back({s.title, s.header, s.rows});
    return os::WriteFileAtomically(os::Files::System(), html, HtmlPage(title, sentences, tables));
  }
  if (!globals.table()) {
    Fields fields = {{"title", Text(title)}};
    std::vector<Json> notes;
    for (const std::string& s : sentences) notes.push_back(Text(s));
    fields.emplace_back("notes", List(std::move(notes)));
    for (const Section& s : sections) {
      std::vector<Json> items;
      for (const auto& row : s.rows) {
        Fields item;
        for (size_t i = 0; i < s.fields.size(); ++i) item.emplace_back(s.fields[i], Text(row[i]));
        items.push_back(Object(std::move(item)));
      }
      fields.emplace_back(s.name, List(std::move(items)));
    }
    PrintJson(globals.format(), std::move(fields));
    return absl::OkStatus();
  }
  std::cout << FormatMessage(title) << "\n";
  for (const std::string& s : sentences) std::cout << FormatMessage(s) << "\n";
  for (const Section& s : sections) {
    std::cout << "\n" << s.title << "\n";
    if (s.rows.empty()) {
      std::cout << "none\n";
    } else {
      PrintTable(s.header, s.rows);
    }
  }
  return absl::OkStatus();
}

std::string Or(const std::string& text) { return text.empty() ? "-" : text; }

std::vector<Section> OfDataset(const AuditHistory& history, const std::string& dataset) {
  Section sites{"Sites that ever held it", "sites", {"SITE", "HOW"}, {"site", "how"}, {}};
  Section moves{"Moves, and the rule that allowed each",
                "moves",
                {"AT", "VERSION", "FROM", "TO", "RULE", "BASIS", "PURPOSE", "CLASSES", "RECORD"},
                {"at", "version", "from", "to", "rule", "basis", "purpose", "classes", "record"},
                {}};
  Section removals{"Removals",
                   "removals",
                   {"AT", "SITE", "WHAT", "RECEIPT", "RECORD"},
                   {"at", "site", "what", "receipt", "record"},
                   {}};
  std::map<std::string, std::string> held;
  if (auto homes = history.homes.find(dataset); homes != history.homes.end()) {
    for (const std::string& site : homes->second) held[site] = "committed it";
  }
  for (const AuditMove& m : history.moves) {
    if (m.dataset != dataset) continue;
    held.try_emplace(m.from, "sent it");
    held.try_emplace(m.to, "received it");
    moves.rows.push_back({TimeOf(m.at), absl::StrCat(m.number), absl::StrCat(m.from, " (", m.from_region, ")"),
                          absl::StrCat(m.to, " (", m.to_region, ")"), Or(m.rule), Or(m.basis), Or(m.purpose),
                          Or(m.classes), m.by});
  }
  for (const AuditRemoval& r : history.removals) {
    if (r.dataset == dataset) removals.rows.push_back({TimeOf(r.at), r.site, r.what, Or(r.receipt), r.by});
  }
  for (const auto& [site, how] : held) sites.rows.push_back({site, how});
  return {sites, moves, removals};
}

std::vector<Section> OfTransfers(const AuditHistory& history, absl::Time from, absl::Time to) {
  std::vector<AuditMove> inside;
  for (const AuditMove& m : history.moves) {
    if (m.at >= from && m.at < to) inside.push_back(m);
  }
  Section out{
      "Transfers by recipient",
      "transfers",
      {"RECIPIENT", "REGION", "FROM", "DATASET", "CLASSES", "BASIS", "RULE", "PURPOSE", "VERSIONS", "DATA", "SENT"},
      {"recipient", "region", "from", "dataset", "classes", "basis", "rule", "purpose", "versions", "data", "sent"},
      {}};
  for (const AuditTotal& t : Totals(inside)) {
    const AuditMove& m = t.like;
    out.rows.push_back({m.to, m.to_region, absl::StrCat(m.from, " (", m.from_region, ")"), m.dataset, Or(m.classes),
                        Or(m.basis), Or(m.rule), Or(m.purpose), absl::StrCat(t.moves), FormatBytes(t.logical_bytes),
                        FormatBytes(t.wire_bytes)});
  }
  return {out};
}

absl::StatusOr<int> Report(const Globals& globals, const ReportFlags& flags) {
  if (flags.transfers == !flags.dataset.empty()) {
    return absl::InvalidArgumentError("a report is about --dataset NAME, or about --transfers");
  }
  BW_ASSIGN_OR_RETURN(const absl::Time from, ParseDay(flags.from, absl::InfinitePast()));
  BW_ASSIGN_OR_RETURN(const absl::Time to, ParseDay(flags.to, absl::InfiniteFuture()));
  std::vector<std::string> notes;
  BW_ASSIGN_OR_RETURN(const std::vector<AuditRecord> records, ReadAll(globals, flags, &notes));
  const bool incomplete = !notes.empty();
  const AuditHistory history = HistoryOf(records);
  if (flags.transfers) {
    const std::string title = absl::StrCat("Transfers from ", flags.from.empty() ? "the beginning" : flags.from, " to ",
                                           flags.to.empty() ? "now" : flags.to);
    BW_RETURN_IF_ERROR(Print(globals, flags.html, title, notes, OfTransfers(history, from, to)));
  } else {
    BW_RETURN_IF_ERROR(
        Print(globals, flags.html, absl::StrCat("Dataset ", flags.dataset), notes, OfDataset(history, flags.dataset)));
  }
  return incomplete ? kIncomplete : 0;
}

}  // namespace

void RegisterAuditReport(CLI::App& audit, Globals& globals) {
  auto* report = audit.add_subcommand("report", "where a dataset has been; who received what over a period");
  auto flags = std::make_shared<ReportFlags>();
  report->add_option("--dataset", flags->dataset,
                     "every site that ever held it, which rule allowed each move, receipts of removals");
  report->add_flag("--transfers", flags->transfers,
                   "recipients, regions, legal basis, classes and volumes (GDPR Art. 30)");
  report->add_option("--from", flags->from, "of --transfers: from this time on");
  report->add_option("--to", flags->to, "of --transfers: before this time");
  report->add_option("--dir", flags->directories,
                     "directory of a log, again for each (default: all logs, over the wire)");
  report->add_option("--html", flags->html, "write a printable page to this file");
  report->footer(
      "Exit code 11: a log could not be read, so something may be missing; the report says which.\n"
      "Example:\n  bailiwick audit report --transfers --from 2026-01-01 --to 2026-04-01 --html q1.html");
  OnRunCode(report, globals, [&globals, flags] { return Report(globals, *flags); });
}

}  // namespace bailiwick::cli
