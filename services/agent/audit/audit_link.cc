#include "services/agent/audit/audit_link.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/audit/merkle.h"
#include "common/base/status.h"
#include "common/rpc/audit.h"
#include "common/telemetry/log.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kReportEvery = absl::Seconds(10);
constexpr absl::Duration kPatience = absl::Minutes(1);       // for an answer
constexpr absl::Duration kFirstPatience = absl::Seconds(5);  // while the coordinator may not know this agent's key yet

}  // namespace

void AuditLink::Connected() {
  answered_ = false;
  refused_.clear();
  known_ = 0;
  Ask();
}

void AuditLink::Ask() {
  asked_ = true;
  asked_at_ = parts_.clock->BootTime();
  if (absl::Status done = parts_.log->Sign(); !done.ok()) Log(Level::kError, "audit-log-not-signed", {{"error", done}});
  agent::v1::AgentMessage message;
  message.mutable_audit()->set_checkpoint(parts_.log->checkpoint());
  parts_.send(std::move(message));
}

void AuditLink::Look() {
  if (absl::Status done = parts_.log->Sign(); !done.ok()) {
    Log(Level::kError, "audit-log-not-signed", {{"error", done}});
    return;
  }
  const absl::Duration now = parts_.clock->BootTime();
  if (asked_ && now - asked_at_ > (answered_ ? kPatience : kFirstPatience)) {
    if (!answered_) return Ask();
    asked_ = false;
  }
  if (!answered_ || asked_ || !refused_.empty() || now < next_report_) return;
  auto newest = audit::ReadCheckpoint(parts_.log->checkpoint());
  if (newest.ok() && newest->checkpoint.size > known_) Report(known_);
}

void AuditLink::Report(uint64_t known) {
  auto report = rpc::MakeAuditReport(*parts_.log, known);
  if (!report.ok()) {
    Log(Level::kError, "audit-log-unreadable", {{"error", report.status()}});
    return;
  }
  asked_ = true;
  asked_at_ = parts_.clock->BootTime();
  agent::v1::AgentMessage message;
  *message.mutable_audit() = *std::move(report);
  parts_.send(std::move(message));
}

void AuditLink::OnAck(const agent::v1::AuditAck& ack) {
  asked_ = false;
  answered_ = true;
  known_ = ack.size();
  next_report_ = parts_.clock->BootTime() + kReportEvery;
  if (!ack.problem().empty()) {
    refused_ = ack.problem();
    Log(Level::kError, "audit-log-disputed", {{"problem", ack.problem()}});
    return;
  }
  auto newest = audit::ReadCheckpoint(parts_.log->checkpoint());
  if (newest.ok() && newest->checkpoint.size > known_) Report(known_);  // the next part
}

absl::StatusOr<audit::SignedCheckpoint> AuditLink::Open(const std::string& note) const {
  BW_ASSIGN_OR_RETURN(audit::SignedCheckpoint newest, audit::ReadCheckpoint(note));
  const std::string& origin = newest.checkpoint.origin;
  if (!absl::StartsWith(origin, absl::StrCat(parts_.trust_domain, "/coordinator/audit/"))) {
    return absl::PermissionDeniedError(absl::StrCat(origin, " is not the coordinator's log"));
  }
  for (const std::string& key : parts_.timestamp_keys()) {
    if (audit::SignedBy(newest.note, {origin, audit::NoteKey::Type::kLog, key}).has_value()) return newest;
  }
  return absl::PermissionDeniedError("the checkpoint is not signed by a timestamp key that the law names");
}

absl::Status AuditLink::Refuse(const std::string& kind, const audit::SignedCheckpoint& newest, const std::string& why) {
  const std::string shown = absl::StrCat(newest.checkpoint.origin, "/", newest.checkpoint.size);
  if (disputed_ != newest.note.text) {
    BW_RETURN_IF_ERROR(parts_.log
                           ->Append(kind, "coordinator",
                                    audit::Detail()
                                        .Text("log", newest.checkpoint.origin)
                                        .Number("size", newest.checkpoint.size)
                                        .Text("root", newest.checkpoint.root.Hex()))
                           .status());
    disputed_ = newest.note.text;
  }
  Log(Level::kError, kind, {{"checkpoint", shown}, {"problem", why}});
  return absl::DataLossError(why);
}

absl::StatusOr<agent::v1::AuditCosignature> AuditLink::Judge(const agent::v1::AuditWitness& request) {
  BW_ASSIGN_OR_RETURN(audit::SignedCheckpoint newest, Open(request.checkpoint()));
  BW_ASSIGN_OR_RETURN(const std::string kept, parts_.seen());
  agent::v1::AuditCosignature answer;
  audit::Checkpoint seen;
  seen.root = audit::EmptyRoot();
  if (!kept.empty()) {
    BW_ASSIGN_OR_RETURN(seen, audit::Checkpoint::Parse(kept));
    if (seen.origin != newest.checkpoint.origin) {
      // A coordinator that was made anew. Who wants to know why finds it here.
      BW_RETURN_IF_ERROR(parts_.log
                             ->Append("coordinator-log-replaced", "coordinator",
                                      audit::Detail()
                                          .Text("log", newest.checkpoint.origin)
                                          .Text("before", seen.origin)
                                          .Number("size", seen.size)
                                          .Text("root", seen.root.Hex()))
                             .status());
      seen = {newest.checkpoint.origin, 0, audit::EmptyRoot()};
    }
  }
  answer.set_seen_size(seen.size);
  if (newest.checkpoint.size < seen.size) {
    return Refuse(
        "coordinator-log-went-back", newest,
        absl::StrCat("the coordinator's audit log went back from ", seen.size, " records to ", newest.checkpoint.size));
  }
  if (request.old_size() != seen.size) return answer;
  BW_ASSIGN_OR_RETURN(const std::vector<Digest> proof, rpc::DigestsOf(request.proof()));
  // What the coordinator says of its own beginning counts with the proof that the checkpoint signs it as well: then
  // both are signed, and if they differ they contradict each other. A proof that fails shows nothing; it is asked
  // again.
  Digest beginning = newest.checkpoint.size == seen.size ? newest.checkpoint.root : seen.root;
  if (!request.old_root().empty()) {
    BW_ASSIGN_OR_RETURN(beginning, Digest::From(Digest::kSha256, request.old_root()));
  }
  const absl::Status follows =
      audit::VerifyConsistency(seen.size, beginning, newest.checkpoint.size, newest.checkpoint.root, proof);
  if (!follows.ok()) return absl::InvalidArgumentError(follows.message());
  if (beginning != seen.root) {
    return Refuse(
        "coordinator-log-forked", newest,
        absl::StrCat("the coordinator's audit log has two histories: what it shows now does not follow from the ",
                     seen.size, " records that it showed before"));
  }
  BW_RETURN_IF_ERROR(parts_.keep(newest.checkpoint.Text()));
  answer.set_seen_size(newest.checkpoint.size);
  audit::Note signed_note{.text = newest.note.text};
  signed_note.signatures.push_back(audit::Cosign(
      newest.note.text, absl::StrCat(parts_.trust_domain, "/site/", parts_.site), *parts_.key, parts_.clock->Now()));
  answer.set_checkpoint(signed_note.Encode());
  return answer;
}

void AuditLink::OnWitness(const agent::v1::AuditWitness& request) {
  auto answer = Judge(request);
  agent::v1::AgentMessage message;
  if (answer.ok()) {
    *message.mutable_audit_cosignature() = *std::move(answer);
  } else {
    Log(Level::kWarning, "coordinator-log-not-cosigned", {{"error", answer.status()}});
    if (!absl::IsDataLoss(answer.status())) return;  // the law may not be here yet; it asks again
    message.mutable_audit_cosignature()->set_problem(std::string(answer.status().message()));
  }
  parts_.send(std::move(message));
}

}  // namespace bailiwick::agent
