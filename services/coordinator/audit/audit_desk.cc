#include "services/coordinator/audit/audit_desk.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/base/utc_text.h"
#include "common/rpc/audit.h"
#include "common/telemetry/log.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kSignEvery = absl::Seconds(2);    // how long a record waits to be covered by a checkpoint
constexpr absl::Duration kRoundEvery = absl::Seconds(10);  // of cosigning, while there is something new
constexpr absl::Duration kBindEvery = absl::Minutes(10);   // checkpoints of one agent's log that the own log records
constexpr size_t kMaxSaid = 1000;                          // bytes of an agent's sentence that are kept
constexpr int kMaxRefused = 3;                             // reports of one log in a row that show nothing
constexpr int kMaxLeanRounds = 30;  // a witness that does not come back holds the others up for so long

std::string LogName(const std::string& origin) { return origin.substr(origin.rfind('/') + 1); }

}  // namespace

absl::Status AuditDesk::Load() {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(parts_.files->MakeDirs(parts_.directory));
  BW_ASSIGN_OR_RETURN(const std::vector<std::string> sites, parts_.files->List(parts_.directory));
  for (const std::string& site : sites) {
    const std::string below = os::JoinPath(parts_.directory, site);
    BW_ASSIGN_OR_RETURN(const std::vector<std::string> logs, parts_.files->List(below));
    for (const std::string& log : logs) {
      auto mirror = audit::Mirror::Open(parts_.files, os::JoinPath(below, log));
      if (!mirror.ok()) {  // one damaged copy does not keep the coordinator from work
        Log(Level::kError, "audit-copy-unusable", {{"site", site}, {"error", mirror.status()}});
        continue;
      }
      if ((*mirror)->checkpoint().empty()) continue;
      BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint newest, audit::ReadCheckpoint((*mirror)->checkpoint()));
      const std::string& origin = newest.checkpoint.origin;
      kept_[{site, origin}] = {.site = site, .origin = origin, .mirror = *std::move(mirror)};
      newest_of_[site] = origin;
    }
  }
  return absl::OkStatus();
}

void AuditDesk::Start() {
  thread_ = std::thread([this] { Run(); });
}

void AuditDesk::Stop() {
  {
    absl::MutexLock lock(&queue_mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

bool AuditDesk::Handles(const agent::v1::AgentMessage& message) {
  return message.has_audit() || message.has_audit_cosignature();
}

void AuditDesk::OnMessage(const std::shared_ptr<Session>& session, const agent::v1::AgentMessage& message) {
  absl::MutexLock lock(&queue_mutex_);
  if (queue_.size() < kMaxQueued) queue_.push_back({session, message});
}

void AuditDesk::OnClosed(const std::shared_ptr<Session>& session) {
  absl::MutexLock lock(&mutex_);
  auto witness = witnesses_.find(session->peer().id.site);
  if (witness != witnesses_.end() && witness->second.session == session) witnesses_.erase(witness);
}

void AuditDesk::Run() {
  absl::Duration next = parts_.clock->BootTime();
  while (true) {
    {
      absl::MutexLock lock(&queue_mutex_);
      auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(queue_mutex_) { return stopping_ || !queue_.empty(); };
      queue_mutex_.AwaitWithTimeout(absl::Condition(&wake),
                                    std::max(absl::ZeroDuration(), next - parts_.clock->BootTime()));
      if (stopping_) return;
    }
    HandleOne();
    if (parts_.clock->BootTime() < next) continue;
    next = parts_.clock->BootTime() + kSignEvery;
    Round();
  }
}

bool AuditDesk::HandleOne() {
  Item item;
  {
    absl::MutexLock lock(&queue_mutex_);
    if (queue_.empty()) return false;
    item = std::move(queue_.front());
    queue_.pop_front();
  }
  absl::MutexLock lock(&mutex_);
  if (item.message.has_audit()) OnReport(item.session, item.message.audit());
  if (item.message.has_audit_cosignature()) OnCosignature(item.session, item.message.audit_cosignature());
  return true;
}

absl::StatusOr<AuditDesk::Kept*> AuditDesk::Find(const std::string& site, const std::string& origin) {
  auto kept = kept_.find({site, origin});
  if (kept != kept_.end()) return &kept->second;
  size_t logs = 0;
  for (const auto& [key, known] : kept_) logs += known.site == site ? 1 : 0;
  if (logs >= kMaxLogs) {
    return absl::ResourceExhaustedError(
        absl::StrCat("of ", site, " there are ", logs, " logs already; move old ones out of ", parts_.directory));
  }
  const auto before = newest_of_.find(site);
  if (before != newest_of_.end()) {
    parts_.alarm("audit-log-replaced", site,
                 absl::StrCat("the agent began a new audit log ", LogName(origin), "; before it kept ",
                              LogName(before->second), ", whose entries stay here. Was its data directory wiped?"));
  }
  const std::string path = os::JoinPath(os::JoinPath(parts_.directory, site), LogName(origin));
  BW_ASSIGN_OR_RETURN(auto mirror, audit::Mirror::Open(parts_.files, path));
  Kept& made = kept_[{site, origin}];
  made.site = site;
  made.origin = origin;
  made.mirror = std::move(mirror);
  newest_of_[site] = origin;
  return &made;
}

absl::Status AuditDesk::Bind(Kept& kept, const audit::SignedCheckpoint& newest) {
  const absl::Duration now = parts_.clock->BootTime();
  if (now - kept.bound_at < kBindEvery) return absl::OkStatus();
  BW_RETURN_IF_ERROR(parts_.log
                         ->Append("agent-log-seen", absl::StrCat("site/", kept.site),
                                  audit::Detail()
                                      .Text("log", kept.origin)
                                      .Number("size", newest.checkpoint.size)
                                      .Text("root", newest.checkpoint.root.Hex()))
                         .status());
  kept.bound_at = now;
  return absl::OkStatus();
}

// A log that contradicts itself is an alarm at once. A report that shows nothing may be an accident: it is asked for
// again, and is one when it does not get better.
absl::Status AuditDesk::Dispute(Kept& kept, const absl::Status& why) {
  const bool conflict = absl::IsDataLoss(why);
  if (!conflict && ++kept.refused != kMaxRefused) return why;
  if (kept.told == why.message()) return why;
  kept.told = std::string(why.message());
  parts_.alarm(conflict ? "audit-log-disputed" : "audit-log-unproven", kept.site, kept.told);
  return why;
}

absl::Status AuditDesk::Take(const std::string& site, const agent::v1::AuditReport& report, uint64_t* known) {
  BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint newest, audit::ReadCheckpoint(report.checkpoint()));
  const std::string& origin = newest.checkpoint.origin;
  const std::string prefix = absl::StrCat(parts_.trust_domain, "/site/", site, "/audit/");
  if (!absl::StartsWith(origin, prefix) || origin.find('/', prefix.size()) != std::string::npos ||
      origin.size() == prefix.size() || origin[prefix.size()] == '.') {
    return absl::PermissionDeniedError(absl::StrCat("the log ", origin, " is not one of ", site));
  }
  std::string key;
  for (const std::string& pinned : parts_.pinned_keys(site)) {
    if (audit::SignedBy(newest.note, {origin, audit::NoteKey::Type::kLog, pinned}).has_value()) key = pinned;
  }
  // Not approved yet, or re-enrolled: it reports again when it connects anew.
  if (key.empty()) return absl::FailedPreconditionError("the law does not pin the key that signed the checkpoint");
  BW_ASSIGN_OR_RETURN(Kept * kept, Find(site, origin));
  kept->public_key = key;
  if (report.entries_size() > static_cast<int>(rpc::kMaxAuditEntries)) {
    return absl::InvalidArgumentError("too many entries at once");
  }
  *known = kept->mirror->size();
  BW_ASSIGN_OR_RETURN(const audit::Mirror::Report said, rpc::ReportOf(report));
  // The question what is known here: answered by the number, if only the log is no shorter.
  if (said.entries.empty() && said.proof.empty() && newest.checkpoint.size > *known) return absl::OkStatus();
  absl::Status extended = kept->mirror->Extend(newest, said);
  if (absl::IsOutOfRange(extended)) return absl::OkStatus();
  if (!extended.ok()) return Dispute(*kept, extended);
  kept->refused = 0;
  *known = kept->mirror->size();
  return Bind(*kept, newest);
}

void AuditDesk::OnReport(const std::shared_ptr<Session>& session, const agent::v1::AuditReport& report) {
  const std::string& site = session->peer().id.site;
  uint64_t known = 0;
  absl::Status taken = Take(site, report, &known);
  if (!taken.ok()) Log(Level::kWarning, "audit-report-refused", {{"site", site}, {"error", taken}});
  Witness& witness = witnesses_[site];
  if (witness.session != session) witness = {.session = session};
  // What may be mended without a person (a key that is not pinned yet) is asked again by the agent's patience.
  if (!taken.ok() && !absl::IsDataLoss(taken)) return;
  agent::v1::CoordinatorMessage message;
  message.mutable_audit_ack()->set_size(known);
  if (!taken.ok()) message.mutable_audit_ack()->set_problem(std::string(taken.message()));
  session->Send(std::move(message));
}

void AuditDesk::Round() {
  if (absl::Status done = parts_.log->Sign(); !done.ok()) Log(Level::kError, "audit-log-not-signed", {{"error", done}});
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = parts_.clock->BootTime();
  if (now < next_round_ || witnesses_.empty()) return;
  auto newest = audit::ReadCheckpoint(parts_.log->checkpoint());
  if (!newest.ok()) return;
  bool all = newest->checkpoint.size == round_size_;
  for (const auto& [site, witness] : witnesses_) all = all && witness.asked;
  if (all) return;  // nothing new, and nobody new
  next_round_ = now + kRoundEvery;
  if (newest->checkpoint.size != round_size_) {
    Publish();
    round_ = newest->note;
    round_size_ = newest->checkpoint.size;
    for (auto& [site, witness] : witnesses_) witness.asked = false;
  }
  std::map<std::string, size_t> of_jurisdiction;
  size_t asked = 0;
  for (auto& [site, witness] : witnesses_) {
    const std::string& region = witness.session->peer().id.region;
    const bool one_more =
        ++of_jurisdiction[region.substr(0, region.find('/'))] <= kWitnessesEach && asked < kMaxWitnesses;
    if (one_more) ++asked;
    if (one_more && !witness.asked) Ask(witness);
    witness.asked = true;
  }
}

void AuditDesk::Ask(Witness& witness) {
  agent::v1::CoordinatorMessage message;
  auto* request = message.mutable_audit_witness();
  request->set_checkpoint(audit::Note{round_.text, {round_.signatures.front()}}.Encode());
  request->set_old_size(witness.seen);
  if (witness.seen > 0 && witness.seen < round_size_) {
    auto proof = parts_.log->Consistency(witness.seen, round_size_);
    auto old_root = parts_.log->Root(witness.seen);
    if (!proof.ok() || !old_root.ok()) {
      Log(Level::kError, "audit-log-unreadable", {{"error", proof.ok() ? old_root.status() : proof.status()}});
      return;
    }
    rpc::AddDigests(*proof, request->mutable_proof());
    request->set_old_root(std::string(old_root->view()));
  }
  witness.session->Send(std::move(message));
}

absl::Status AuditDesk::AddSignature(const std::string& site, const std::string& bytes) {
  BW_ASSIGN_OR_RETURN(const audit::Note note, audit::Note::Parse(bytes));
  if (note.text != round_.text) return absl::OkStatus();  // of a round that is over
  for (const std::string& key : parts_.pinned_keys(site)) {
    const audit::NoteKey cosigner = {absl::StrCat(parts_.trust_domain, "/site/", site), audit::NoteKey::Type::kCosigner,
                                     key};
    if (!audit::SignedBy(note, cosigner).has_value()) continue;
    disputes_.erase(site);
    if (audit::SignedBy(round_, cosigner).has_value()) return absl::OkStatus();
    for (const audit::NoteSignature& s : note.signatures) {
      if (s.name == cosigner.name && s.id == cosigner.Id()) round_.signatures.push_back(s);
    }
    Publish();
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError("the cosignature is not by the key that the law pins");
}

// A newer checkpoint takes the place of one with more signatures only when those do not come.
void AuditDesk::Publish() {
  if (round_.signatures.size() < 2) return;
  auto published = audit::ReadCheckpoint(parts_.log->witnessed());
  if (published.ok() && published->note.signatures.size() > round_.signatures.size() &&
      published->checkpoint.size < round_size_ && ++lean_rounds_ < kMaxLeanRounds) {
    return;
  }
  absl::Status put = parts_.log->PutWitnessed(round_);
  if (!put.ok()) Log(Level::kError, "witnessed-checkpoint-not-kept", {{"error", put}});
  lean_rounds_ = 0;
}

void AuditDesk::OnCosignature(const std::shared_ptr<Session>& session, const agent::v1::AuditCosignature& answer) {
  const std::string& site = session->peer().id.site;
  auto found = witnesses_.find(site);
  if (found == witnesses_.end() || found->second.session != session) return;
  Witness& witness = found->second;
  if (!answer.problem().empty()) {
    const std::string said = answer.problem().substr(0, kMaxSaid);
    const auto [dispute, first] = disputes_.try_emplace(site, Disputed{.said = said, .since = parts_.clock->Now()});
    dispute->second.said = said;
    const absl::Duration now = parts_.clock->BootTime();
    const auto [told, fresh] = disputes_told_.try_emplace(site, now);
    if (first && (fresh || now - told->second >= kBindEvery)) {  // who says so in turns is not recorded each time
      told->second = now;
      parts_.alarm("coordinator-log-disputed", site,
                   absl::StrCat("the agent did not cosign the coordinator's audit log: ", said));
    }
    return;
  }
  const bool elsewhere = answer.checkpoint().empty() && answer.seen_size() != witness.seen;
  witness.seen = answer.seen_size();
  if (elsewhere && witness.seen <= round_size_) Ask(witness);  // now with the proof from there
  if (answer.checkpoint().empty()) return;
  absl::Status added = AddSignature(site, answer.checkpoint());
  if (!added.ok()) Log(Level::kWarning, "cosignature-refused", {{"site", site}, {"error", added}});
}

std::map<std::string, AuditDesk::Disputed> AuditDesk::Disputes() const {
  std::map<std::string, Disputed> disputes;
  for (const auto& [site, dispute] : disputes_) {
    if (!parts_.pinned_keys(site).empty()) disputes.emplace(site, dispute);  // else it is no witness any more
  }
  return disputes;
}

std::string AuditDesk::Problem() const {
  const std::map<std::string, Disputed> disputes = Disputes();
  if (disputes.empty()) return "";
  absl::Time since = absl::InfiniteFuture(), cosigned = absl::InfinitePast();
  std::vector<std::string> sites;
  for (const auto& [site, dispute] : disputes) {
    since = std::min(since, dispute.since);
    sites.push_back(site);
  }
  if (auto newest = audit::ReadCheckpoint(parts_.log->witnessed()); newest.ok()) {
    const std::string prefix = absl::StrCat(parts_.trust_domain, "/site/");
    for (const audit::NoteSignature& s : newest->note.signatures) {
      if (!absl::StartsWith(s.name, prefix)) continue;
      for (const std::string& key : parts_.pinned_keys(s.name.substr(prefix.size()))) {
        const auto at = audit::SignedBy(newest->note, {s.name, audit::NoteKey::Type::kCosigner, key});
        cosigned = std::max(cosigned, at.value_or(absl::InfinitePast()));
      }
    }
  }
  std::string problem;
  if (cosigned == absl::InfinitePast()) {
    problem = "never cosigned: ";
  } else if (cosigned < since) {
    problem = absl::StrCat("not cosigned since ", UtcText(cosigned), ": ");
  }
  return absl::StrCat(problem, "disputed by ", absl::StrJoin(sites, ", "), " (", disputes.begin()->second.said, ")");
}

size_t AuditDesk::Disputing() {
  absl::MutexLock lock(&mutex_);
  return Disputes().size();
}

uint64_t AuditDesk::Witnessed() {
  auto newest = audit::ReadCheckpoint(parts_.log->witnessed());
  return newest.ok() ? newest->checkpoint.size : 0;
}

control::v1::ListAuditLogsResponse AuditDesk::Logs() {
  control::v1::ListAuditLogsResponse response;
  auto* own = response.add_logs();
  own->set_origin(parts_.log->origin());
  own->set_size(parts_.log->size());
  own->set_checkpoint(parts_.log->witnessed().empty() ? parts_.log->checkpoint() : parts_.log->witnessed());
  own->set_public_key(parts_.public_key);
  absl::MutexLock lock(&mutex_);
  own->set_problem(Problem());
  for (const auto& [key, kept] : kept_) {
    auto* log = response.add_logs();
    log->set_site(kept.site);
    log->set_origin(kept.origin);
    log->set_checkpoint(kept.mirror->checkpoint());
    log->set_size(kept.mirror->size());
    log->set_problem(kept.mirror->problem());
    log->set_public_key(kept.public_key);
  }
  return response;
}

}  // namespace bailiwick::coordinator
