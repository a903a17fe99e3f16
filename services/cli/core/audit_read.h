// Audit logs for those who draw conclusions from them: read and verified before a record of them counts. Nothing here
// prints.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/audit/trust.h"
#include "common/audit/verify.h"
#include "services/cli/core/audit_log.h"

namespace bailiwick::cli {

// What was read of some logs, and what is wrong with it.
struct VerifiedLogs {
  std::vector<AuditRecord> records;  // that are signed, of logs of which all is as it was signed
  std::vector<std::string> notes;    // a sentence for each log that is not, or is not there: its records are left out
  audit::Finding finding = audit::Finding::kTrue;  // the worst of them
};

// How many records of a log, a site's name or a directory, have been read of so many; called from time to time.
using LogProgress = std::function<void(const std::string& log, uint64_t read, uint64_t of)>;

// Of the directories, each by the trust file that knows it. INVALID_ARGUMENT: none does.
absl::StatusOr<VerifiedLogs> VerifiedLogsIn(const std::vector<std::string>& directories,
                                            const std::vector<audit::Trust>& trusts, const LogProgress& progress = {});

// Over the wire: the coordinator's, that of every site, and all that the coordinator keeps commitments of, by the keys
// that the signed law pins; against what the coordinator keeps as well. Of witnesses only those count who dispute the
// coordinator's log: it is read, and the finding says so.
absl::StatusOr<VerifiedLogs> VerifiedLogsOf(Admin& admin, const LogProgress& progress = {});

}  // namespace bailiwick::cli
