#include "common/rpc/audit.h"

#include <algorithm>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

constexpr size_t kChunkBytes = 512 << 10;
constexpr uint64_t kReadAtOnce = 1024;  // records

}  // namespace

audit::Detail GrantDetail(const policy::Grant& grant) {
  audit::Detail detail;
  detail.Text("grant", absl::BytesToHexString(grant.grant_id))
      .Text("version", grant.version.Hex())
      .Text("source", grant.source)
      .Text("destination", grant.destination)
      .Text("purpose", grant.purpose)
      .Number("policyRevision", grant.policy_revision);
  return detail;
}

absl::Status ServeAudit(audit::Log& log, const agent::v1::ReadAuditRequest& request, const std::string& who,
                        const std::function<bool(const agent::v1::AuditChunk&)>& write) {
  BW_RETURN_IF_ERROR(log.AppendOrOwe("audit-read", absl::StrCat("by/", who),
                                     audit::Detail().Number("from", request.from()).Number("limit", request.limit())));
  if (absl::Status done = log.Sign(); !done.ok()) {
    // On a full disk what was signed before is served: it is true all the same.
    if (!absl::IsResourceExhausted(done) || log.checkpoint().empty()) return done;
    telemetry::Log(telemetry::Level::kWarning, "audit-log-not-signed", {{"error", done}});
  }
  agent::v1::AuditChunk chunk;
  chunk.set_checkpoint(log.checkpoint());
  chunk.set_witnessed(log.witnessed());
  if (request.has_prove() || request.has_consistent_with()) {
    BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint newest, audit::ReadCheckpoint(log.checkpoint()));
    absl::StatusOr<std::vector<Digest>> proof =
        request.has_prove() ? log.Inclusion(request.prove(), newest.checkpoint.size)
                            : log.Consistency(request.consistent_with(), newest.checkpoint.size);
    BW_RETURN_IF_ERROR(proof.status());
    AddDigests(*proof, chunk.mutable_proof());
  }
  uint64_t left = request.limit() == 0 ? std::numeric_limits<uint64_t>::max() : request.limit();
  const uint64_t size = log.size();
  for (uint64_t from = request.from(); left > 0 && from < size;) {
    BW_ASSIGN_OR_RETURN(const std::vector<std::string> lines,
                        log.ReadLines(from, std::min({left, kReadAtOnce, size - from})));
    if (lines.empty()) break;
    from += lines.size();
    left -= lines.size();
    size_t bytes = 0;
    for (const std::string& line : lines) {
      chunk.add_lines(line);
      bytes += line.size();
      if (bytes < kChunkBytes) continue;
      if (!write(chunk)) return absl::OkStatus();
      chunk.Clear();
      bytes = 0;
    }
    if (!write(chunk)) return absl::OkStatus();
    chunk.Clear();
  }
  if (!chunk.checkpoint().empty()) write(chunk);  // nothing but this
  return absl::OkStatus();
}

absl::StatusOr<agent::v1::AuditReport> MakeAuditReport(audit::Log& log, uint64_t known) {
  agent::v1::AuditReport report;
  report.set_checkpoint(log.checkpoint());
  report.set_first(known);
  BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint newest, audit::ReadCheckpoint(log.checkpoint()));
  const uint64_t size = newest.checkpoint.size;
  if (known < size) {
    BW_ASSIGN_OR_RETURN(const std::vector<std::string> entries,
                        log.Entries(known, std::min(kMaxAuditEntries, size - known)));
    for (const std::string& entry : entries) report.add_entries(entry);
  }
  if (known <= size) {
    BW_ASSIGN_OR_RETURN(const Digest beginning, log.Root(known));
    report.set_first_root(std::string(beginning.view()));
    if (known > 0 && known < size) {
      BW_ASSIGN_OR_RETURN(const std::vector<Digest> proof, log.Consistency(known, size));
      AddDigests(proof, report.mutable_first_proof());
    }
  }
  const uint64_t end = known + static_cast<uint64_t>(report.entries_size());
  if (end > 0 && end < size) {
    BW_ASSIGN_OR_RETURN(const std::vector<Digest> proof, log.Consistency(end, size));
    AddDigests(proof, report.mutable_proof());
  }
  return report;
}

absl::StatusOr<audit::Mirror::Report> ReportOf(const agent::v1::AuditReport& report) {
  audit::Mirror::Report said;
  said.first = report.first();
  said.entries = {report.entries().begin(), report.entries().end()};
  BW_ASSIGN_OR_RETURN(said.proof, DigestsOf(report.proof()));
  if (report.first_root().empty()) return said;  // of an older agent
  BW_ASSIGN_OR_RETURN(said.first_root, Digest::From(Digest::kSha256, report.first_root()));
  BW_ASSIGN_OR_RETURN(said.first_proof, DigestsOf(report.first_proof()));
  return said;
}

}  // namespace bailiwick::rpc
