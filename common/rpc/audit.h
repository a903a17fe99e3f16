// What agents and the coordinator do alike with their own audit logs over the wire. Thread-safe functions.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bailiwick/agent/v1/audit.pb.h"
#include "common/audit/detail.h"
#include "common/audit/log.h"
#include "common/audit/mirror.h"
#include "common/policy/grant.h"

namespace bailiwick::rpc {

inline constexpr uint64_t kMaxAuditEntries = 2048;  // of one report

// What every record about a grant begins with: which it is, of what, from where to where, why.
audit::Detail GrantDetail(const policy::Grant& grant);

// Answers a ReadAuditRequest of `who` in chunks, until `write` returns false. That it was read is in the log before.
// On a full disk that record is owed (audit::Log::AppendOrOwe) and the last signed checkpoint is served, with all
// records.
absl::Status ServeAudit(audit::Log& log, const agent::v1::ReadAuditRequest& request, const std::string& who,
                        const std::function<bool(const agent::v1::AuditChunk&)>& write);

// The report about a log of which the coordinator has `known` entries.
absl::StatusOr<agent::v1::AuditReport> MakeAuditReport(audit::Log& log, uint64_t known);

// INVALID_ARGUMENT: a hash in it is none.
absl::StatusOr<audit::Mirror::Report> ReportOf(const agent::v1::AuditReport& report);

template <typename Repeated>
void AddDigests(const std::vector<Digest>& digests, Repeated* out) {
  for (const Digest& digest : digests) out->Add(std::string(digest.view()));
}
// INVALID_ARGUMENT: one is no SHA-256, or there are more than a proof has.
template <typename Repeated>
absl::StatusOr<std::vector<Digest>> DigestsOf(const Repeated& values) {
  std::vector<Digest> out;
  if (values.size() > 128) return absl::InvalidArgumentError("a proof is too long");
  for (const std::string& value : values) {
    auto digest = Digest::From(Digest::kSha256, value);
    if (!digest.ok()) return digest.status();
    out.push_back(*digest);
  }
  return out;
}

}  // namespace bailiwick::rpc
