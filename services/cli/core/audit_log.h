// Audit logs for commands: where they are, and what is in them. Nothing here prints.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/agent/v1/audit.pb.h"
#include "common/audit/record.h"
#include "common/config/world.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

inline constexpr char kCoordinatorLog[] = "coordinator";  // in the place of a site

// The site of a log by its origin, NAME/audit/ID, NAME being TRUST-DOMAIN/site/SITE or TRUST-DOMAIN/coordinator.
std::string SiteOf(const std::string& origin);

// Asks an agent, or the coordinator; `each` for every chunk.
absl::Status ReadAudit(Admin& admin, const std::string& site, const agent::v1::ReadAuditRequest& request,
                       const std::function<absl::Status(const agent::v1::AuditChunk&)>& each);

// A record with the log it is from: a site, or kCoordinatorLog.
struct AuditRecord {
  std::string site;
  audit::Record record;
};
struct AuditFilter {
  std::string kind, subject;  // empty: any; a subject contains it
  absl::Time since = absl::InfinitePast(), until = absl::InfiniteFuture();
  uint64_t limit = 0;  // only the newest so many of those that match; 0: all
};
struct FoundRecords {
  std::deque<AuditRecord> records;  // oldest first
  std::set<std::string> kinds;      // of all that were read, whether they match or not
};
// Reads a whole log: over the wire, or of a log's directory (its site is read from its checkpoint).
absl::StatusOr<FoundRecords> RecordsOf(Admin& admin, const std::string& site, const AuditFilter& filter);
absl::StatusOr<FoundRecords> RecordsIn(const std::string& directory, const AuditFilter& filter);

// A trust file with the keys that the signed law pins: whatever the coordinator says of keys does not count. For the
// coordinator's log, whose witnesses are the sites of each jurisdiction: of `quorum` jurisdictions one must have signed
// (0: as many as there are, at most two). Or for the logs of agents, which nobody cosigns: the coordinator keeps their
// entries and records their checkpoints in its own log.
absl::StatusOr<std::string> MakeTrustFile(Admin& admin, size_t quorum);
absl::StatusOr<std::string> MakeAgentsTrustFile(Admin& admin);

}  // namespace bailiwick::cli
