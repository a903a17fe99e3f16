// What commands print with -o json, for whoever else shows it: the console serves these very fields, so that page and
// command cannot say different things. Each is implemented beside its command. All may be called from several threads
// at once; errors are those of the command.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/audit/proof.h"
#include "services/cli/commands/output.h"
#include "services/cli/commands/policy_law.h"
#include "services/cli/core/audit_log.h"
#include "services/cli/core/audit_read.h"
#include "services/cli/core/audit_report.h"

namespace bailiwick::cli {

absl::StatusOr<Fields> StatusView(Admin& admin);                                                         // status
absl::StatusOr<Fields> WhyView(Admin& admin, const std::string& dataset, const std::string& site);       // why
absl::StatusOr<Fields> EventsView(Admin& admin, uint32_t limit);                                         // events
absl::StatusOr<Fields> ReplicasView(Admin& admin, const std::string& dataset, const std::string& site);  // get replicas
absl::StatusOr<Fields> TransfersView(Admin& admin);                             // transfer list
absl::StatusOr<Fields> DatasetsView(Admin& admin);                              // dataset list
absl::StatusOr<Fields> VersionsView(Admin& admin, const std::string& dataset);  // dataset versions
absl::StatusOr<Fields> ResourcesView(Admin& admin, const std::string& kind, const std::string& name);  // get
absl::StatusOr<Fields> HoldsView(Admin& admin, const std::string& dataset);  // dataset holds; "": of every dataset
absl::StatusOr<Fields> EvictionsView(Admin& admin, const std::string& dataset,
                                     const std::string& site);                    // get evictions
absl::StatusOr<Fields> RedactionsView(Admin& admin, const std::string& dataset);  // get redactions
absl::StatusOr<Fields> WhoAmIView(Admin& admin);                                  // whoami

// dataset rollback: tells the replicas (of one site, or of all when it is empty) to show a version, or their newest
// ("latest"), and waits until those that are connected do. DEADLINE_EXCEEDED: some do not yet, though they were told.
struct RollbackResult {
  std::string dataset;
  uint64_t number = 0;  // 0: latest
  std::vector<std::string> shown, offline;
  Fields ToFields() const;
};
absl::StatusOr<RollbackResult> RollBack(Admin& admin, const std::string& dataset, const std::string& to,
                                        const std::string& site, absl::Duration timeout);

absl::StatusOr<Fields> ExplainView(Law law, const Question& question);       // policy explain
absl::StatusOr<Fields> ReachView(const Law& law, const Question& question);  // policy reach
// policy diff NEW: of resources that count as applied on top of what is declared.
absl::StatusOr<Fields> DraftView(Admin& admin, std::vector<config::Located> draft, absl::Time now);
absl::StatusOr<Fields> PolicyHistoryView(Admin& admin, uint32_t limit);  // policy history

// audit list: the newest `limit` of what matches, oldest first; 0: all.
absl::StatusOr<Fields> AuditListView(Admin& admin, const std::string& site, const AuditFilter& filter);
absl::StatusOr<Fields> AuditLogsView(Admin& admin);  // audit logs
// "2026-03-01" or RFC 3339; `out` stays for an empty text. INVALID_ARGUMENT.
absl::Status ParseAuditTime(const std::string& text, absl::Time* out);
// audit prove: of "SITE/SEQUENCE".
absl::StatusOr<audit::RecordProof> ProveOf(Admin& admin, const std::string& id);
Fields VerdictFields(const audit::Verdict& verdict);  // audit verify

// The exit code of what a verification found: 0, or 10 to 12 as the help of audit verify says.
int ExitCodeOf(audit::Finding finding);
absl::StatusOr<audit::Trust> ReadTrust(const std::string& file);

// audit report: about one dataset, or about the transfers of a period, from logs that were verified. `finding`: the
// worst that is wrong with one of them; `notes` say which.
struct AuditReport {
  struct Section {
    std::string title, name;  // name: in JSON
    std::vector<std::string> header, fields;
    Rows rows;
    std::vector<std::vector<uint64_t>> amounts = {};  // the last columns of each row as numbers: what JSON has of them
  };
  std::string title;
  std::vector<std::string> notes;
  std::vector<Section> sections;
  audit::Finding finding = audit::Finding::kTrue;
  Fields ToFields() const;
  std::string ToHtml() const;
};
struct ReportQuestion {
  std::string dataset, from, to;
  bool transfers = false;
  std::vector<std::string> directories;  // of logs; empty: all logs, over the wire
  std::vector<audit::Trust> trusts;      // by which directories are verified
};
// `admin` may be null when directories are given.
absl::StatusOr<AuditReport> ReportOf(Admin* admin, const ReportQuestion& question, const LogProgress& progress = {});

}  // namespace bailiwick::cli
