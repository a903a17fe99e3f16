// audit report: what an auditor asks for, as text, JSON or a printable page.
#include "services/cli/core/audit_report.h"

#include <algorithm>
#include <functional>
#include <iostream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/base/utc_text.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/new_file.h"
#include "services/cli/commands/progress.h"
#include "services/cli/commands/views.h"
#include "services/cli/core/audit_read.h"

namespace bailiwick::cli {
namespace {

using Section = AuditReport::Section;

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

std::string Or(const std::string& text) { return text.empty() ? "-" : text; }

Section Contradictions(const AuditHistory& history, const std::function<bool(const AuditContradiction&)>& concerned) {
  Section out{"Contradictions between logs",
              "contradictions",
              {"AT", "DATASET", "TRANSFER", "WHAT", "RECORDS"},
              {"at", "dataset", "transfer", "what", "records"},
              {}};
  for (const AuditContradiction& c : history.contradictions) {
    if (concerned(c)) out.rows.push_back({UtcText(c.at), c.dataset, c.transfer, c.what, c.by});
  }
  return out;
}

std::vector<Section> OfDataset(const AuditHistory& history, const std::string& dataset) {
  Section sites{"Sites that ever held it", "sites", {"SITE", "HOW"}, {"site", "how"}, {}};
  Section moves{"Moves, and the rule that allowed each",
                "moves",
                {"AT", "VERSION", "FROM", "TO", "RESULT", "RULE", "BASIS", "PURPOSE", "CLASSES", "RECORD"},
                {"at", "version", "from", "to", "result", "rule", "basis", "purpose", "classes", "record"},
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
    if (m.dataset == dataset && m.whole()) held.try_emplace(m.to, "received it");
  }
  for (const AuditMove& m : history.moves) {
    if (m.dataset != dataset) continue;
    held.try_emplace(m.from, "sent it");
    if (m.wire_bytes != 0) held.try_emplace(m.to, "received a part of it");
    moves.rows.push_back({UtcText(m.at), absl::StrCat(m.number), absl::StrCat(m.from, " (", m.from_region, ")"),
                          absl::StrCat(m.to, " (", m.to_region, ")"), m.result, Or(m.rule), Or(m.basis), Or(m.purpose),
                          Or(m.classes), m.by});
  }
  for (const AuditRemoval& r : history.removals) {
    if (r.dataset == dataset) removals.rows.push_back({UtcText(r.at), r.site, r.what, Or(r.receipt), r.by});
  }
  for (const auto& [site, how] : held) sites.rows.push_back({site, how});
  return {sites, moves, removals,
          Contradictions(history, [&](const AuditContradiction& c) { return c.dataset == dataset; })};
}

std::vector<Section> OfTransfers(const AuditHistory& history, absl::Time from, absl::Time to) {
  std::vector<AuditMove> inside;
  for (const AuditMove& m : history.moves) {
    if (m.at >= from && m.at < to) inside.push_back(m);
  }
  Section out{"Transfers by recipient",
              "transfers",
              {"RECIPIENT", "REGION", "FROM", "DATASET", "CLASSES", "BASIS", "RULE", "PURPOSE", "VERSIONS",
               "INTERRUPTED", "DATA", "SENT"},
              {"recipient", "region", "from", "dataset", "classes", "basis", "rule", "purpose", "versions",
               "interrupted", "dataBytes", "sentBytes"},
              {}};
  for (const AuditTotal& t : Totals(inside)) {
    const AuditMove& m = t.like;
    out.rows.push_back({m.to, m.to_region, absl::StrCat(m.from, " (", m.from_region, ")"), m.dataset, Or(m.classes),
                        Or(m.basis), Or(m.rule), Or(m.purpose), absl::StrCat(t.moves), absl::StrCat(t.interrupted),
                        FormatBytes(t.logical_bytes), FormatBytes(t.wire_bytes)});
    out.amounts.push_back({t.moves, t.interrupted, t.logical_bytes, t.wire_bytes});
  }
  return {out, Contradictions(history, [&](const AuditContradiction& c) { return c.at >= from && c.at < to; })};
}

void Print(const AuditReport& report) {
  std::cout << FormatMessage(report.title) << "\n";
  for (const std::string& s : report.notes) std::cout << FormatMessage(s) << "\n";
  for (const Section& s : report.sections) {
    std::cout << "\n" << s.title << "\n";
    if (s.rows.empty()) {
      std::cout << "none\n";
    } else {
      PrintTable(s.header, s.rows);
    }
  }
}

struct Period {
  absl::Time from, to;
};
absl::StatusOr<Period> PeriodOf(const ReportQuestion& question) {
  if (question.transfers == !question.dataset.empty()) {
    return absl::InvalidArgumentError("a report is about --dataset NAME, or about --transfers");
  }
  Period period;
  BW_ASSIGN_OR_RETURN(period.from, ParseDay(question.from, absl::InfinitePast()));
  BW_ASSIGN_OR_RETURN(period.to, ParseDay(question.to, absl::InfiniteFuture()));
  if (period.from >= period.to) {
    return absl::InvalidArgumentError(
        absl::StrCat("the period is empty: --from ", question.from, " is not before --to ", question.to));
  }
  return period;
}

absl::StatusOr<int> Report(const Globals& globals, const ReportQuestion& question, const std::string& html) {
  BW_RETURN_IF_ERROR(PeriodOf(question).status());
  if (!html.empty()) BW_RETURN_IF_ERROR(CheckNew(html));
  std::unique_ptr<Admin> admin;
  if (question.directories.empty()) {
    BW_ASSIGN_OR_RETURN(admin, Connect(globals));
  }
  std::optional<ProgressBoard> board;
  board.emplace();
  BW_ASSIGN_OR_RETURN(const AuditReport report,
                      ReportOf(admin.get(), question, [&board](const std::string& log, uint64_t read, uint64_t of) {
                        board->Update("", absl::StrCat("verifying the log of ", log), read, of, "", false, "records");
                        board->Draw();
                      }));
  board.reset();
  if (!html.empty()) {
    BW_RETURN_IF_ERROR(WriteNew(html, report.ToHtml()));
  } else if (globals.table()) {
    Print(report);
  } else {
    PrintJson(globals.format(), report.ToFields());
  }
  return ExitCodeOf(report.finding);
}

}  // namespace

Fields AuditReport::ToFields() const {
  Fields out = {{"title", Text(title)}, {"finding", Text(std::string(audit::FindingWord(finding)))}};
  std::vector<Json> sentences;
  for (const std::string& s : notes) sentences.push_back(Text(s));
  out.emplace_back("notes", List(std::move(sentences)));
  for (const Section& s : sections) {
    std::vector<Json> items;
    for (size_t n = 0; n < s.rows.size(); ++n) {
      const size_t amounts = n < s.amounts.size() ? s.amounts[n].size() : 0, texts = s.fields.size() - amounts;
      Fields item;
      for (size_t i = 0; i < texts; ++i) item.emplace_back(s.fields[i], Text(s.rows[n][i]));
      for (size_t i = 0; i < amounts; ++i) item.emplace_back(s.fields[texts + i], Number(s.amounts[n][i]));
      items.push_back(Object(std::move(item)));
    }
    out.emplace_back(s.name, List(std::move(items)));
  }
  return out;
}

std::string AuditReport::ToHtml() const {
  std::vector<HtmlTable> tables;
  for (const Section& s : sections) tables.push_back({s.title, s.header, s.rows});
  return HtmlPage(title, notes, tables);
}

absl::StatusOr<AuditReport> ReportOf(Admin* admin, const ReportQuestion& question, const LogProgress& progress) {
  BW_ASSIGN_OR_RETURN(const Period period, PeriodOf(question));
  AuditReport report;
  BW_ASSIGN_OR_RETURN(VerifiedLogs logs, question.directories.empty()
                                             ? VerifiedLogsOf(*admin, progress)
                                             : VerifiedLogsIn(question.directories, question.trusts, progress));
  report.notes = std::move(logs.notes);
  report.finding = logs.finding;
  const AuditHistory history = HistoryOf(logs.records);
  if (question.transfers) {
    report.title = absl::StrCat("Transfers from ", question.from.empty() ? "the beginning" : question.from, " to ",
                                question.to.empty() ? "now" : question.to);
    report.sections = OfTransfers(history, period.from, period.to);
  } else {
    report.title = absl::StrCat("Dataset ", question.dataset);
    report.sections = OfDataset(history, question.dataset);
    const bool nothing = std::all_of(report.sections.begin(), report.sections.end(),
                                     [](const Section& section) { return section.rows.empty(); });
    // "Nowhere" is an answer that an auditor relies on: not one to a mistyped name.
    if (nothing && report.finding <= audit::Finding::kUnwitnessed) {
      return absl::NotFoundError(absl::StrCat("no record of the logs names a version of dataset ", question.dataset,
                                              ": mistyped, or never committed"));
    }
  }
  return report;
}

void RegisterAuditReport(CLI::App& audit, Globals& globals) {
  auto* report = audit.add_subcommand("report", "where a dataset has been; who received what over a period");
  auto flags = std::make_shared<ReportQuestion>();
  auto html = std::make_shared<std::string>();
  auto trust = std::make_shared<std::vector<std::string>>();
  report
      ->add_option("--dataset", flags->dataset,
                   "every site that ever held it, which rule allowed each move, receipts of removals")
      ->type_name("DATASET");
  report->add_flag("--transfers", flags->transfers,
                   "recipients, regions, legal basis, classes and volumes (GDPR Art. 30)");
  report->add_option("--from", flags->from, "of --transfers: from this time on");
  report->add_option("--to", flags->to, "of --transfers: before this time");
  report
      ->add_option("--dir", flags->directories, "directory of a log, again for each (default: all logs, over the wire)")
      ->type_name("PATH");
  report
      ->add_option("--trust", *trust,
                   "of --dir: whom to believe, again for each file; see audit trust, with and without --agents")
      ->type_name("PATH");
  report->add_option("--html", *html, "write a printable page to this new file")->type_name("PATH");
  report->footer(
      "Each log is verified first, over the wire by the keys that the signed law pins; one that is not true is left "
      "out.\n"
      "Exit codes beside the usual: 10 a log is tampered with, 11 a log is incomplete or could not be read, so "
      "something\n"
      "may be missing, 12 too few witnesses (of --trust) have signed, or one disputes the coordinator's log; the "
      "report says which.\n"
      "Example:\n  bailiwick audit report --transfers --from 2026-01-01 --to 2026-04-01 --html q1.html");
  OnRunCode(report, globals, [&globals, flags, trust, html]() -> absl::StatusOr<int> {
    flags->trusts.clear();
    for (const std::string& file : *trust) {
      BW_ASSIGN_OR_RETURN(audit::Trust read, ReadTrust(file));
      flags->trusts.push_back(std::move(read));
    }
    return Report(globals, *flags, *html);
  });
}

}  // namespace bailiwick::cli
