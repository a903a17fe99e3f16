// audit ...: what was recorded, and whether it is true.
#include <algorithm>
#include <iostream>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/proof.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/base/utc_text.h"
#include "common/os/files.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/new_file.h"
#include "services/cli/commands/progress.h"
#include "services/cli/commands/views.h"
#include "services/cli/core/audit_log.h"

namespace bailiwick::cli {
namespace {

constexpr char kExitCodes[] =
    "Exit codes beside the usual: 10 tampered (something is not what was signed), 11 incomplete (something signed is\n"
    "missing), 12 unwitnessed (true by the log's own word, but too few of the witnesses have signed; or one disputes\n"
    "the log, and what it says since has waited more than 15 minutes for a witness).\n";

struct ListFlags {
  std::string site = kCoordinatorLog, directory, since, until;
  AuditFilter filter;
};

std::string TimeOf(absl::Time at) { return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", at, absl::UTCTimeZone()); }

Fields FieldsOf(const std::deque<AuditRecord>& records) {
  std::vector<Json> items;
  for (const auto& [site, r] : records) {
    items.push_back(Object({{"id", Text(absl::StrCat(site, "/", r.sequence))},
                            {"sequence", Number(r.sequence)},
                            {"at", Text(TimeOf(r.at))},
                            {"kind", Text(r.kind)},
                            {"subject", Text(r.subject)},
                            {"detail", FromJson(r.detail)}}));
  }
  return {{"records", List(std::move(items))}};
}

absl::StatusOr<audit::Verdict> VerifyLog(const std::string& directory, const audit::Trust& trust,
                                         audit::VerifyOptions options) {
  Progress progress(absl::StrCat("verifying ", directory), "records");
  options.progress = [&progress](uint64_t read, uint64_t of) { progress.Update(read, of); };
  return audit::VerifyLog(os::Files::System(), directory, trust, options);
}

// Whether a log in a directory is whole, whoever signed it: 0, or the exit code, said on standard error.
absl::StatusOr<int> DamageOf(const std::string& directory) {
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(const bool exists, files->Exists(directory));
  if (!exists) return absl::NotFoundError(absl::StrCat(directory, " does not exist"));
  BW_ASSIGN_OR_RETURN(const audit::Trust nobody, audit::Trust::Parse("quorum none\n", "trust"));
  BW_ASSIGN_OR_RETURN(const audit::Verdict verdict, VerifyLog(directory, nobody, {.any_signer = true}));
  for (const std::string& p : verdict.problems) std::cerr << "bailiwick: " << FormatMessage(p) << "\n";
  return ExitCodeOf(verdict.finding);
}

absl::StatusOr<int> ListRecords(const Globals& globals, ListFlags flags) {
  BW_RETURN_IF_ERROR(ParseAuditTime(flags.since, &flags.filter.since));
  BW_RETURN_IF_ERROR(ParseAuditTime(flags.until, &flags.filter.until));
  FoundRecords found;
  if (!flags.directory.empty()) {
    BW_ASSIGN_OR_RETURN(const int damage, DamageOf(flags.directory));
    if (damage != 0) return damage;
    BW_ASSIGN_OR_RETURN(found, RecordsIn(flags.directory, flags.filter));
  } else {
    BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
    BW_ASSIGN_OR_RETURN(found, RecordsOf(*admin, flags.site, flags.filter));
  }
  // "Nothing" is an answer that an auditor relies on: not one to a kind that is mistyped.
  const std::string& kind = flags.filter.kind;
  if (!kind.empty() && found.kinds.count(kind) == 0) {
    const std::string there = found.kinds.empty() ? "no records" : absl::StrJoin(found.kinds, ", ");
    std::cerr << "bailiwick: "
              << FormatMessage(absl::StrCat("this log has no record of the kind ", kind, "; it has ", there)) << "\n";
  }
  if (!globals.table()) {
    PrintJson(globals.format(), FieldsOf(found.records));
    return 0;
  }
  Rows rows;
  for (const auto& [site, r] : found.records) {
    rows.push_back({absl::StrCat(site, "/", r.sequence), TimeOf(r.at), r.kind, r.subject, r.detail});
  }
  PrintTable({"ID", "AT", "KIND", "SUBJECT", "DETAIL"}, rows);
  return 0;
}

std::string NameOf(const control::v1::AuditLog& log) { return log.site().empty() ? kCoordinatorLog : log.site(); }

std::vector<std::string> CosignersOf(const control::v1::AuditLog& log) {
  auto newest = audit::ReadCheckpoint(log.checkpoint());
  std::vector<std::string> by;
  for (size_t i = 1; newest.ok() && i < newest->note.signatures.size(); ++i) {
    by.push_back(newest->note.signatures[i].name);
  }
  return by;
}

absl::Status ListLogs(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (!globals.table()) {
    BW_ASSIGN_OR_RETURN(Fields fields, AuditLogsView(*admin));
    PrintJson(globals.format(), std::move(fields));
    return absl::OkStatus();
  }
  control::v1::ListAuditLogsResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListAuditLogs(Admin::Call().get(), {}, &response)));
  Rows rows;
  for (const auto& log : response.logs()) {
    const std::vector<std::string> by = CosignersOf(log);
    rows.push_back({NameOf(log), log.origin(), absl::StrCat(log.size()), by.empty() ? "-" : absl::StrJoin(by, ","),
                    log.problem().empty() ? "-" : log.problem()});
  }
  PrintTable({"LOG", "ORIGIN", "ENTRIES", "COSIGNED BY", "PROBLEM"}, rows);
  return absl::OkStatus();
}

// To standard output, or to a file that is not there yet.
absl::Status Write(const std::string& file, const std::string& text) {
  if (file.empty()) {
    std::cout << text;
    return absl::OkStatus();
  }
  return WriteNew(file, text);
}

int Print(const Globals& globals, const std::string& path, const audit::Verdict& v) {
  if (!globals.table()) {
    PrintJson(globals.format(), VerdictFields(v));
    return ExitCodeOf(v.finding);
  }
  for (const std::string& p : v.problems) std::cout << FormatMessage(p) << "\n";
  std::cout << path << ": " << audit::FindingWord(v.finding) << "; log " << FormatMessage(v.origin) << ", " << v.size
            << " records signed";
  if (v.witnessed != 0) {
    std::cout << ", " << v.witnessed << " witnessed by " << absl::StrJoin(v.witnesses, ", ");
    if (v.witnessed_at.has_value()) std::cout << " at " << UtcText(*v.witnessed_at);
    if (v.witnessed_at.has_value() && v.newest_at.has_value() && *v.newest_at - *v.witnessed_at >= absl::Seconds(1)) {
      std::cout << ", " << FormatAge(*v.newest_at - *v.witnessed_at) << " before the newest record";
    }
  }
  if (v.unsigned_records != 0) std::cout << ", " << v.unsigned_records << " after the checkpoint, not signed yet";
  if (v.payload_missing != 0) std::cout << ", " << v.payload_missing << " by their commitments only";
  if (v.before != 0) std::cout << ", " << v.before << " of an older build";
  std::cout << "\n";
  return ExitCodeOf(v.finding);
}

absl::StatusOr<int> Verify(const Globals& globals, const std::string& path, const std::string& trust_file,
                           bool commitments_only) {
  BW_ASSIGN_OR_RETURN(const audit::Trust trust, ReadTrust(trust_file));
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(const bool exists, files->Exists(path));
  if (!exists) return absl::NotFoundError(absl::StrCat(path, " does not exist"));
  if (auto proof = os::ReadFile(files, path, 1 << 20); proof.ok()) {
    BW_ASSIGN_OR_RETURN(const audit::Verdict verdict, audit::VerifyProof(*proof, trust));
    return Print(globals, path, verdict);
  }
  BW_ASSIGN_OR_RETURN(const audit::Verdict verdict, VerifyLog(path, trust, {.commitments_only = commitments_only}));
  return Print(globals, path, verdict);
}

absl::StatusOr<std::pair<std::string, uint64_t>> ParseId(const std::string& id) {
  const size_t slash = id.rfind('/');
  const std::string site = slash == std::string::npos ? kCoordinatorLog : id.substr(0, slash);
  uint64_t sequence = 0;
  if (!absl::SimpleAtoi(slash == std::string::npos ? id : id.substr(slash + 1), &sequence)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", id, "\" is no id of a record; see: bailiwick audit list"));
  }
  return std::make_pair(site, sequence);
}

// That a proof is of the log that was asked for.
absl::Status CheckSite(const audit::RecordProof& proof, const std::string& site) {
  BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint newest, audit::ReadCheckpoint(proof.checkpoint));
  const std::string of = SiteOf(newest.checkpoint.origin);
  if (of == site) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("record ", proof.sequence, " of ", site,
                                                 " was asked for, but this is the log of ", of, ": ",
                                                 newest.checkpoint.origin));
}

absl::Status Prove(const Globals& globals, const std::string& id, const std::string& directory,
                   const std::string& out) {
  BW_ASSIGN_OR_RETURN(const auto parsed, ParseId(id));
  audit::RecordProof proof;
  if (!directory.empty()) {
    BW_ASSIGN_OR_RETURN(proof, audit::ProveRecord(os::Files::System(), directory, parsed.second));
    BW_RETURN_IF_ERROR(CheckSite(proof, parsed.first));
  } else {
    BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
    BW_ASSIGN_OR_RETURN(proof, ProveOf(*admin, id));
  }
  return Write(out, proof.Encode());
}

// A checkpoint from a file, or of a log's directory.
absl::StatusOr<audit::SignedCheckpoint> ReadNote(const std::string& path, const audit::Trust& trust) {
  os::Files* files = os::Files::System();
  auto note = os::ReadFile(files, path, audit::kMaxNote);
  if (!note.ok()) note = os::ReadFile(files, os::JoinPath(path, "checkpoint"), audit::kMaxNote);
  if (!note.ok()) return Annotate(note.status(), absl::StrCat(path, " is no checkpoint and no log"));
  BW_ASSIGN_OR_RETURN(audit::SignedCheckpoint read, audit::ReadCheckpoint(*note));
  BW_ASSIGN_OR_RETURN(const audit::NoteKey* const key, trust.KeyOf(read));
  return audit::OpenCheckpoint(*note, *key);
}

// That the log is true, and begins with what the older checkpoint signed.
absl::StatusOr<int> Consistency(const Globals& globals, const std::string& before, const std::string& now,
                                const std::string& trust_file, bool commitments_only) {
  BW_ASSIGN_OR_RETURN(const audit::Trust trust, ReadTrust(trust_file));
  auto old_note = ReadNote(before, trust), newest = ReadNote(now, trust);
  for (const auto& note : {old_note, newest}) {
    if (!note.ok() && !absl::IsDataLoss(note.status())) return note.status();
  }
  absl::Status status = old_note.status();
  status.Update(newest.status());
  if (status.ok()) status = audit::CheckConsistency(os::Files::System(), now, *old_note, *newest);
  if (!status.ok() && !absl::IsDataLoss(status) && !absl::IsNotFound(status)) return status;
  BW_ASSIGN_OR_RETURN(audit::Verdict verdict, VerifyLog(now, trust, {.commitments_only = commitments_only}));
  if (!status.ok()) {
    verdict.finding =
        std::max(verdict.finding, absl::IsNotFound(status) ? audit::Finding::kIncomplete : audit::Finding::kTampered);
    verdict.problems.push_back(std::string(status.message()));
  } else if (globals.table()) {
    std::cout << "the log of " << newest->checkpoint.size << " records begins with the " << old_note->checkpoint.size
              << " that were signed before\n";
  }
  return Print(globals, now, verdict);
}

absl::Status Export(const Globals& globals, const std::string& site, const std::string& out) {
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(const bool exists, files->Exists(out));
  if (exists) return absl::AlreadyExistsError(absl::StrCat(out, " is there already; name a new directory"));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  audit::LogWriter writer(files, out);
  std::string checkpoint, witnessed;
  uint64_t end = 0;
  std::optional<Progress> progress;
  progress.emplace(absl::StrCat("exporting the log of ", site), "records");
  BW_RETURN_IF_ERROR(ReadAudit(*admin, site, {}, [&](const agent::v1::AuditChunk& chunk) -> absl::Status {
    if (!chunk.checkpoint().empty()) {
      checkpoint = chunk.checkpoint();
      witnessed = chunk.witnessed();
      BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint newest, audit::ReadCheckpoint(checkpoint));
      end = newest.checkpoint.size;
      BW_RETURN_IF_ERROR(files->MakeDirs(out));
    }
    for (const std::string& line : chunk.lines()) {
      if (writer.size() < end) BW_RETURN_IF_ERROR(writer.Add(line));
    }
    progress->Update(writer.size(), end);
    return absl::OkStatus();
  }));
  progress.reset();
  BW_RETURN_IF_ERROR(writer.Finish(checkpoint, witnessed));
  if (globals.table()) {
    std::cout << out << ": " << writer.size() << " records of " << site << "; check with: bailiwick audit verify "
              << out << " --trust FILE\n";
  } else {
    PrintJson(globals.format(), {{"directory", Text(out)}, {"site", Text(site)}, {"records", Number(writer.size())}});
  }
  return absl::OkStatus();
}

void RegisterList(CLI::App* audit, Globals& globals) {
  auto* list = audit->add_subcommand("list", "what was recorded, oldest first");
  auto flags = std::make_shared<ListFlags>();
  list->add_option("--site", flags->site, "of the agent of this site (default: coordinator)")->type_name("SITE");
  list->add_option("--dir", flags->directory, "of a log's directory, without a coordinator")->type_name("PATH");
  list->add_option("--kind", flags->filter.kind, "only of this kind, e.g. transfer-refused");
  list->add_option("--subject", flags->filter.subject, "only where the subject contains this");
  list->add_option("--since", flags->since, "only from this time on");
  list->add_option("--until", flags->until, "only before this time");
  list->add_option("--limit", flags->filter.limit, "only the newest so many");
  list->footer(
      "With --dir the records are compared with the log's own checkpoint first: exit code 10 when something was "
      "changed,\n"
      "11 when something is missing. Who signed it is not looked at; see audit verify.\nExample:\n  bailiwick audit "
      "list --site core --kind transfer-refused --since 2026-03-01");
  OnRunCode(list, globals, [&globals, flags] { return ListRecords(globals, *flags); });
  auto* logs = audit->add_subcommand("logs", "the logs that the coordinator knows of, and who cosigned its own");
  logs->footer("Example:\n  bailiwick audit logs");
  OnRun(logs, globals, [&globals] { return ListLogs(globals); });
}

}  // namespace

// Beside those of all commands; documented in their help.
int ExitCodeOf(audit::Finding finding) {
  switch (finding) {
    case audit::Finding::kTrue:
      return 0;
    case audit::Finding::kTampered:
      return 10;
    case audit::Finding::kIncomplete:
      return 11;
    case audit::Finding::kUnwitnessed:
      return 12;
  }
  return 1;
}

absl::StatusOr<audit::Trust> ReadTrust(const std::string& file) {
  BW_ASSIGN_OR_RETURN(const std::string text, os::ReadFile(os::Files::System(), file, audit::kMaxTrustFile));
  return audit::Trust::Parse(text, file);
}

absl::Status ParseAuditTime(const std::string& text, absl::Time* out) {
  std::string problem;
  if (text.empty() || absl::ParseTime(absl::RFC3339_full, text, out, &problem) ||
      absl::ParseTime("%Y-%m-%d", text, absl::UTCTimeZone(), out, &problem)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no time; write 2026-03-01 or 2026-03-01T10:00:00Z"));
}

absl::StatusOr<Fields> AuditListView(Admin& admin, const std::string& site, const AuditFilter& filter) {
  BW_ASSIGN_OR_RETURN(const FoundRecords found, RecordsOf(admin, site, filter));
  return FieldsOf(found.records);
}

absl::StatusOr<Fields> AuditLogsView(Admin& admin) {
  control::v1::ListAuditLogsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListAuditLogs(Admin::Call().get(), {}, &response)));
  std::vector<Json> items;
  for (const auto& log : response.logs()) {
    std::vector<Json> witnesses;
    for (const std::string& w : CosignersOf(log)) witnesses.push_back(Text(w));
    items.push_back(Object({{"log", Text(NameOf(log))},
                            {"origin", Text(log.origin())},
                            {"entries", Number(log.size())},
                            {"cosignedBy", List(std::move(witnesses))},
                            {"problem", Text(log.problem())},
                            {"checkpoint", Text(log.checkpoint())}}));
  }
  return Fields{{"logs", List(std::move(items))}};
}

absl::StatusOr<audit::RecordProof> ProveOf(Admin& admin, const std::string& id) {
  BW_ASSIGN_OR_RETURN(const auto parsed, ParseId(id));
  const auto& [site, sequence] = parsed;
  agent::v1::ReadAuditRequest request;
  request.set_from(sequence);
  request.set_limit(1);
  request.set_prove(sequence);
  audit::RecordProof proof{.sequence = sequence};
  const absl::Status read = ReadAudit(admin, site, request, [&](const agent::v1::AuditChunk& chunk) -> absl::Status {
    if (!chunk.checkpoint().empty()) proof.checkpoint = chunk.checkpoint();
    for (const std::string& hash : chunk.proof()) {
      BW_ASSIGN_OR_RETURN(Digest digest, Digest::From(Digest::kSha256, hash));
      proof.hashes.push_back(digest);
    }
    if (chunk.lines_size() > 0) proof.line = chunk.lines(0);
    return absl::OkStatus();
  });
  // The one thing in the request that may be wrong by itself is the number.
  if (absl::IsInvalidArgument(read)) return absl::NotFoundError(read.message());
  BW_RETURN_IF_ERROR(read);
  BW_RETURN_IF_ERROR(CheckSite(proof, site));
  return proof;
}

Fields VerdictFields(const audit::Verdict& v) {
  std::vector<Json> problems, witnesses;
  for (const std::string& p : v.problems) problems.push_back(Text(p));
  for (const std::string& w : v.witnesses) witnesses.push_back(Text(w));
  return {{"finding", Text(std::string(audit::FindingWord(v.finding)))},
          {"log", Text(v.origin)},
          {"records", Number(v.size)},
          {"witnessed", Number(v.witnessed)},
          {"witnessedAt", Text(v.witnessed_at.has_value() ? UtcText(*v.witnessed_at) : "")},
          {"unsigned", Number(v.unsigned_records)},
          {"payloadMissing", Number(v.payload_missing)},
          {"before", Number(v.before)},
          {"witnesses", List(std::move(witnesses))},
          {"problems", List(std::move(problems))}};
}

void RegisterAudit(CLI::App& app, Globals& globals) {
  auto* audit = app.add_subcommand("audit", "what was recorded: list, prove, verify, report");
  audit->require_subcommand(1);
  audit->footer("Example:\n  bailiwick audit list --limit 20");
  RegisterList(audit, globals);
  RegisterAuditReport(*audit, globals);
  struct Flags {
    std::string path, before, trust, directory, out, site = kCoordinatorLog, id;
    bool commitments_only = false, agents = false;
    size_t quorum = 0;
  };
  auto flags = std::make_shared<Flags>();

  auto* verify = audit->add_subcommand("verify", "whether a log, or a proof, is true: offline");
  verify
      ->add_option("PATH", flags->path,
                   "directory of a log (an agent's DATA/audit, an export), or a file that prove wrote")
      ->required();
  verify->add_option("--trust", flags->trust, "whom to believe: a trust file (c2sp.org/tlog-policy); see audit trust")
      ->type_name("PATH")
      ->required();
  verify->add_flag("--commitments-only", flags->commitments_only,
                   "do not miss the records: only their commitments are here");
  verify->footer(absl::StrCat(
      kExitCodes, "Example:\n  bailiwick audit verify /var/lib/bailiwick-coordinator/audit --trust trust.txt"));
  OnRunCode(verify, globals,
            [&globals, flags] { return Verify(globals, flags->path, flags->trust, flags->commitments_only); });

  auto* prove = audit->add_subcommand("prove", "one record with the proof that it is in the log");
  prove->add_option("ID", flags->id, "SITE/NUMBER or coordinator/NUMBER, as list shows it")->required();
  prove->add_option("--dir", flags->directory, "of a log's directory, without a coordinator")->type_name("PATH");
  prove->add_option("--out", flags->out, "a new file (default: standard output)")->type_name("PATH");
  prove->footer("Example:\n  bailiwick audit prove core/17 --out refused.tlog-proof");
  OnRun(prove, globals, [&globals, flags] { return Prove(globals, flags->id, flags->directory, flags->out); });

  auto* consistency =
      audit->add_subcommand("consistency", "whether a log is true and begins as when an older checkpoint was signed");
  consistency->add_option("OLD", flags->before, "a checkpoint that was saved, or the directory of an older export")
      ->type_name("PATH")
      ->required();
  consistency->add_option("NEW", flags->path, "directory of the log")->type_name("PATH")->required();
  consistency->add_option("--trust", flags->trust, "whom to believe: a trust file; see audit trust")
      ->type_name("PATH")
      ->required();
  consistency->add_flag("--commitments-only", flags->commitments_only,
                        "do not miss the records: only their commitments are here");
  consistency->footer(
      absl::StrCat(kExitCodes, "Example:\n  bailiwick audit consistency march/checkpoint april --trust trust.txt"));
  OnRunCode(consistency, globals, [&globals, flags] {
    return Consistency(globals, flags->before, flags->path, flags->trust, flags->commitments_only);
  });

  auto* take = audit->add_subcommand("export", "a log as a directory that verifies offline");
  take->add_option("--site", flags->site, "of the agent of this site (default: coordinator)")->type_name("SITE");
  take->add_option("--out", flags->out, "a new directory")->type_name("PATH")->required();
  take->footer("Example:\n  bailiwick audit export --site core --out core-2026-03");
  OnRun(take, globals, [&globals, flags] { return Export(globals, flags->site, flags->out); });

  auto* trust = audit->add_subcommand("trust", "a trust file with the keys that the signed policy pins");
  trust->add_flag("--agents", flags->agents,
                  "for the logs of agents (default: for the coordinator's, with its witnesses)");
  trust->add_option("--quorum", flags->quorum,
                    "of so many jurisdictions a site must have cosigned (default: two, or the one there is)");
  trust->add_option("--out", flags->out, "a new file (default: standard output)")->type_name("PATH");
  trust->footer(
      "It is as good as the policy root that this context trusts.\nExample:\n  bailiwick audit trust --out trust.txt");
  OnRun(trust, globals, [&globals, flags]() -> absl::Status {
    if (!globals.table()) {
      return absl::InvalidArgumentError("audit trust writes a trust file (c2sp.org/tlog-policy); leave -o out");
    }
    BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
    BW_ASSIGN_OR_RETURN(const std::string text,
                        flags->agents ? MakeAgentsTrustFile(*admin) : MakeTrustFile(*admin, flags->quorum));
    return Write(flags->out, text);
  });
}

}  // namespace bailiwick::cli
