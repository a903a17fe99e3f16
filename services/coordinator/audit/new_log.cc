#include "services/coordinator/audit/new_log.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/audit/log.h"
#include "common/base/status.h"

namespace bailiwick::coordinator {
namespace {

std::string Current(const std::string& data_dir) { return os::JoinPath(data_dir, "audit"); }
std::string Next(const std::string& data_dir) { return os::JoinPath(data_dir, "audit.new"); }

std::string KeptAs(const std::string& data_dir, const std::string& origin) {
  return os::JoinPath(data_dir, absl::StrCat("audit-before-", origin.substr(origin.rfind('/') + 1)));
}

absl::StatusOr<std::unique_ptr<audit::Log>> OpenAs(os::Files* files, const os::Clock* clock, os::Random* random,
                                                   const std::string& path, const std::string& name,
                                                   const crypto::SigningKey& key) {
  BW_ASSIGN_OR_RETURN(auto log, audit::Log::Open(files, clock, random, path));
  BW_RETURN_IF_ERROR(log->SignAs(name, key));
  return log;
}

absl::StatusOr<audit::Checkpoint> SignNow(audit::Log& log) {
  BW_RETURN_IF_ERROR(log.Sign());
  BW_ASSIGN_OR_RETURN(audit::SignedCheckpoint newest, audit::ReadCheckpoint(log.checkpoint()));
  return std::move(newest.checkpoint);
}

}  // namespace

absl::Status FinishNewLog(os::Files* files, const std::string& data_dir) {
  BW_ASSIGN_OR_RETURN(const bool there, files->Exists(Current(data_dir)));
  BW_ASSIGN_OR_RETURN(const bool next, files->Exists(Next(data_dir)));
  if (there || !next) return absl::OkStatus();
  BW_RETURN_IF_ERROR(files->Rename(Next(data_dir), Current(data_dir)));
  return files->SyncDir(data_dir);
}

absl::StatusOr<audit::Checkpoint> LogToEnd(os::Files* files, const std::string& data_dir) {
  auto note = os::ReadFile(files, os::JoinPath(Current(data_dir), "checkpoint"), audit::kMaxNote);
  if (absl::IsNotFound(note.status())) {
    return absl::NotFoundError(absl::StrCat("there is no signed audit log in ", data_dir));
  }
  BW_RETURN_IF_ERROR(note.status());
  BW_ASSIGN_OR_RETURN(audit::SignedCheckpoint newest, audit::ReadCheckpoint(*note));
  return std::move(newest.checkpoint);
}

absl::StatusOr<NewLog> BeginNewLog(os::Files* files, const os::Clock* clock, os::Random* random,
                                   const std::string& data_dir, const std::string& name, const crypto::SigningKey& key,
                                   const std::string& reason) {
  BW_RETURN_IF_ERROR(FinishNewLog(files, data_dir));
  BW_RETURN_IF_ERROR(LogToEnd(files, data_dir).status());  // else one would be made
  BW_RETURN_IF_ERROR(files->RemoveTree(Next(data_dir)));   // of an attempt that was cut off
  BW_RETURN_IF_ERROR(files->SyncDir(data_dir));
  NewLog out;
  {
    BW_ASSIGN_OR_RETURN(auto old, OpenAs(files, clock, random, Current(data_dir), name, key));
    BW_ASSIGN_OR_RETURN(out.before, SignNow(*old));  // with what a crash has left unsigned
  }
  {
    BW_ASSIGN_OR_RETURN(auto next, OpenAs(files, clock, random, Next(data_dir), name, key));
    BW_RETURN_IF_ERROR(next->Append(kLogBegunAnew, "audit",
                                    audit::Detail()
                                        .Text("log", out.before.origin)
                                        .Number("size", out.before.size)
                                        .Text("root", out.before.root.Hex())
                                        .Text("reason", reason))
                           .status());
    BW_ASSIGN_OR_RETURN(out.now, SignNow(*next));
  }
  out.kept = KeptAs(data_dir, out.before.origin);
  BW_RETURN_IF_ERROR(files->Rename(Current(data_dir), out.kept));
  BW_RETURN_IF_ERROR(files->Rename(Next(data_dir), Current(data_dir)));
  BW_RETURN_IF_ERROR(files->SyncDir(data_dir));
  return out;
}

}  // namespace bailiwick::coordinator
