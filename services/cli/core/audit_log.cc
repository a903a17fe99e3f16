#include "services/cli/core/audit_log.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/log.h"
#include "common/audit/note.h"
#include "common/base/status.h"
#include "common/os/files.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(10);
constexpr size_t kMaxKinds = 1000;  // many times as many as there are; a directory may hold anything

absl::Status AddLine(const std::string& site, uint64_t sequence, std::string_view line, const AuditFilter& filter,
                     FoundRecords* out) {
  absl::StatusOr<audit::Decoded> decoded = audit::Decode(line, sequence);
  if (!decoded.ok()) return Annotate(decoded.status(), absl::StrCat("the audit log of ", site));
  audit::Record& record = decoded->record;
  if (out->kinds.size() < kMaxKinds) out->kinds.insert(record.kind);
  if ((!filter.kind.empty() && record.kind != filter.kind) || !absl::StrContains(record.subject, filter.subject) ||
      record.at < filter.since || record.at >= filter.until) {
    return absl::OkStatus();
  }
  out->records.push_back({site, std::move(record)});
  if (filter.limit != 0 && out->records.size() > filter.limit) out->records.pop_front();
  return absl::OkStatus();
}

// Lines of a trust file: the logs that the coordinator knows of, with the keys that the law pins for whoever keeps
// them.
absl::StatusOr<std::string> LogLines(Admin& admin, const config::Bundle& bundle, bool agents) {
  control::v1::ListAuditLogsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListAuditLogs(Admin::Call().get(), {}, &response)));
  std::string out = absl::StrCat("# Audit logs of ", admin.context().trust_domain,
                                 ", with the keys of policy revision ", bundle.world.revision, ".\n");
  for (const auto& log : response.logs()) {
    const std::string site = SiteOf(log.origin());
    if ((site != kCoordinatorLog) != agents) continue;
    std::vector<std::string> keys;
    if (!agents) keys = bundle.world.timestamp_keys;
    if (auto known = bundle.world.sites.find(site); agents && known != bundle.world.sites.end()) {
      for (const auto& [agent, key] : known->second.enrolment_keys) keys.push_back(key);
    }
    // Which of them is the log's own: its signature says, not the coordinator.
    auto newest = audit::ReadCheckpoint(log.checkpoint());
    for (const std::string& key : keys) {
      const audit::NoteKey vkey = {log.origin(), audit::NoteKey::Type::kLog, key};
      if (!newest.ok() || !audit::SignedBy(newest->note, vkey).has_value()) continue;
      absl::StrAppend(&out, "log ", vkey.ToVkey(), "\n");
      break;
    }
  }
  return out;
}

template <typename Stub>
absl::Status Read(Stub& stub, const agent::v1::ReadAuditRequest& request,
                  const std::function<absl::Status(const agent::v1::AuditChunk&)>& each, grpc::Status* ended) {
  auto context = Admin::Call(kPatience);
  auto reader = stub.ReadAudit(context.get(), request);
  agent::v1::AuditChunk chunk;
  absl::Status status;
  while (status.ok() && reader->Read(&chunk)) status = each(chunk);
  if (!status.ok()) context->TryCancel();
  *ended = reader->Finish();
  return status;
}

}  // namespace

std::string SiteOf(const std::string& origin) {
  const size_t at = origin.find("/site/");
  if (at == std::string::npos) return kCoordinatorLog;
  const std::string rest = origin.substr(at + 6);
  return rest.substr(0, rest.find('/'));
}

absl::Status ReadAudit(Admin& admin, const std::string& site, const agent::v1::ReadAuditRequest& request,
                       const std::function<absl::Status(const agent::v1::AuditChunk&)>& each) {
  grpc::Status ended;
  if (site == kCoordinatorLog) {
    BW_RETURN_IF_ERROR(Read(admin.control(), request, each, &ended));
    return admin.Check(ended);
  }
  control::v1::ListSitesResponse sites;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListSites(Admin::Call().get(), {}, &sites)));
  for (const auto& s : sites.sites()) {
    if (s.name() != site) continue;
    if (s.admin_endpoint().empty()) {
      return absl::UnavailableError(
          absl::StrCat("nobody knows where the agent of ", site, " serves; has it ever connected?"));
    }
    BW_ASSIGN_OR_RETURN(auto stub, admin.Agent(s.admin_endpoint(), s.agent()));
    BW_RETURN_IF_ERROR(Read(*stub, request, each, &ended));
    return Admin::Error(ended, absl::StrCat("the agent of ", site));
  }
  return absl::NotFoundError(
      absl::StrCat("there is no site ", site, "; see: bailiwick get sites, or name coordinator"));
}

absl::StatusOr<FoundRecords> RecordsOf(Admin& admin, const std::string& site, const AuditFilter& filter) {
  FoundRecords out;
  uint64_t next = 0;
  BW_RETURN_IF_ERROR(ReadAudit(admin, site, {}, [&](const agent::v1::AuditChunk& chunk) -> absl::Status {
    for (const std::string& line : chunk.lines()) BW_RETURN_IF_ERROR(AddLine(site, next++, line, filter, &out));
    return absl::OkStatus();
  }));
  return out;
}

absl::StatusOr<FoundRecords> RecordsIn(const std::string& directory, const AuditFilter& filter) {
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(const std::string note,
                      os::ReadFile(files, os::JoinPath(directory, "checkpoint"), audit::kMaxNote));
  BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint newest, audit::ReadCheckpoint(note));
  const std::string site = SiteOf(newest.checkpoint.origin);
  FoundRecords out;
  uint64_t next = 0;
  while (next < newest.checkpoint.size) {
    const std::string path = os::JoinPath(directory, audit::PayloadPath(next));
    BW_ASSIGN_OR_RETURN(const std::string payload, os::ReadFile(files, path, uint64_t{4} << 30));
    std::string_view rest = payload;
    for (size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
      BW_RETURN_IF_ERROR(AddLine(site, next++, rest.substr(0, end), filter, &out));
    }
    if (payload.empty()) return absl::DataLossError(absl::StrCat(path, " is empty"));
  }
  return out;
}

absl::StatusOr<std::string> MakeAgentsTrustFile(Admin& admin) {
  BW_ASSIGN_OR_RETURN(const config::Bundle bundle, admin.ReadBundle());
  BW_ASSIGN_OR_RETURN(const std::string logs, LogLines(admin, bundle, /*agents=*/true));
  return logs + "quorum none\n";
}

absl::StatusOr<std::string> MakeTrustFile(Admin& admin, size_t quorum) {
  BW_ASSIGN_OR_RETURN(const config::Bundle bundle, admin.ReadBundle());
  BW_ASSIGN_OR_RETURN(std::string out, LogLines(admin, bundle, /*agents=*/false));
  std::map<std::string, std::vector<std::string>> jurisdictions;
  for (const auto& [site, known] : bundle.world.sites) {
    for (const auto& [agent, key] : known.enrolment_keys) {
      const audit::NoteKey vkey = {absl::StrCat(admin.context().trust_domain, "/site/", site),
                                   audit::NoteKey::Type::kCosigner, key};
      const std::string name = absl::StrCat(site, "/", agent);
      absl::StrAppend(&out, "witness ", name, " ", vkey.ToVkey(), "\n");
      jurisdictions[known.region.substr(0, known.region.find('/'))].push_back(name);
    }
  }
  std::vector<std::string> groups;
  for (const auto& [region, names] : jurisdictions) {
    absl::StrAppend(&out, "group jurisdiction:", region, " any ", absl::StrJoin(names, " "), "\n");
    groups.push_back(absl::StrCat("jurisdiction:", region));
  }
  if (quorum > groups.size()) {
    return absl::InvalidArgumentError(absl::StrCat("there are sites of only ", groups.size(), " jurisdictions"));
  }
  if (groups.empty()) return out + "quorum none\n";
  if (quorum == 0) quorum = std::min<size_t>(2, groups.size());
  return absl::StrCat(out, "group jurisdictions ", quorum, " ", absl::StrJoin(groups, " "), "\nquorum jurisdictions\n");
}

}  // namespace bailiwick::cli
