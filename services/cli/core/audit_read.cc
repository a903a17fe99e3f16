#include "services/cli/core/audit_read.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/audit/merkle.h"
#include "common/audit/note.h"
#include "common/base/status.h"
#include "common/os/files.h"

namespace bailiwick::cli {
namespace {

using audit::Finding;

void Note(Finding finding, std::string sentence, VerifiedLogs* out) {
  out->finding = std::max(out->finding, finding);
  out->notes.push_back(std::move(sentence));
}

template <typename Records>
void Take(Records records, VerifiedLogs* out) {
  std::move(records.begin(), records.end(), std::back_inserter(out->records));
}

absl::StatusOr<audit::Verdict> VerifyBy(const std::vector<audit::Trust>& trusts, const std::string& directory,
                                        const LogProgress& progress) {
  audit::VerifyOptions options;
  if (progress) options.progress = [&](uint64_t read, uint64_t of) { progress(directory, read, of); };
  absl::Status unknown = absl::InvalidArgumentError("no trust file was given; add --trust PATH, see: audit trust");
  for (const audit::Trust& trust : trusts) {
    absl::StatusOr<audit::Verdict> verdict = audit::VerifyLog(os::Files::System(), directory, trust, options);
    if (!absl::IsInvalidArgument(verdict.status())) return verdict;
    unknown = verdict.status();
  }
  return Annotate(unknown, directory);
}

// Whose keys count for a log, what its name must begin with, and what the coordinator keeps of it.
struct Expected {
  std::string site, name;  // TRUST-DOMAIN/coordinator or TRUST-DOMAIN/site/SITE
  std::vector<std::string> keys;
  std::vector<audit::SignedCheckpoint> kept;
  std::string problem;  // that the coordinator has evidence of
};

const std::string* SignerOf(const audit::SignedCheckpoint& newest, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    const audit::NoteKey vkey = {newest.checkpoint.origin, audit::NoteKey::Type::kLog, key};
    if (audit::SignedBy(newest.note, vkey).has_value()) return &key;
  }
  return nullptr;
}

// A log as it comes over the wire.
class Reading {
 public:
  explicit Reading(const Expected& expected) : expected_(expected) {}

  // DATA_LOSS: it is not what was signed.
  absl::Status Take(const agent::v1::AuditChunk& chunk) {
    if (!chunk.checkpoint().empty()) BW_RETURN_IF_ERROR(Begin(chunk.checkpoint()));
    if (!newest_.has_value()) return absl::DataLossError("no checkpoint came with it");
    for (const std::string& line : chunk.lines()) {
      if (peaks_.size() == newest_->checkpoint.size) return absl::OkStatus();  // what is not signed yet is for later
      BW_ASSIGN_OR_RETURN(audit::Decoded decoded, audit::Decode(line, peaks_.size()));
      peaks_.Add(audit::LeafHash(decoded.entry));
      records_.push_back({expected_.site, std::move(decoded.record)});
      BW_RETURN_IF_ERROR(Compare());
    }
    return absl::OkStatus();
  }
  // DATA_LOSS likewise; NOT_FOUND: a part did not come.
  absl::Status End() const {
    if (!newest_.has_value()) return absl::NotFoundError("nothing of it came");
    const audit::Checkpoint& now = newest_->checkpoint;
    if (peaks_.size() < now.size) {
      return absl::NotFoundError(absl::StrCat("only ", peaks_.size(), " of the ", now.size, " signed records came"));
    }
    if (peaks_.Root() != now.root) return absl::DataLossError("the records are not those that the checkpoint signed");
    return absl::OkStatus();
  }
  std::vector<AuditRecord> TakeRecords() { return std::move(records_); }
  uint64_t read() const { return peaks_.size(); }
  uint64_t end() const { return newest_.has_value() ? newest_->checkpoint.size : 0; }
  std::string origin() const { return newest_.has_value() ? newest_->checkpoint.origin : ""; }

 private:
  absl::Status Begin(const std::string& note) {
    if (newest_.has_value()) return absl::DataLossError("it has two checkpoints");
    BW_ASSIGN_OR_RETURN(audit::SignedCheckpoint newest, audit::ReadCheckpoint(note));
    const audit::Checkpoint& now = newest.checkpoint;
    if (!absl::StartsWith(now.origin, expected_.name + "/audit/")) {
      return absl::DataLossError(absl::StrCat("what was served is the log ", now.origin));
    }
    if (SignerOf(newest, expected_.keys) == nullptr) {
      return absl::DataLossError("its checkpoint is not signed by a key that the signed law pins");
    }
    for (const audit::SignedCheckpoint& kept : expected_.kept) {
      // What the coordinator says counts only if the log's own key has said it.
      if (kept.checkpoint.origin != now.origin || SignerOf(kept, expected_.keys) == nullptr) continue;
      if (kept.checkpoint.size > now.size) {
        return absl::DataLossError(absl::StrCat("it went back: its keeper has signed ", kept.checkpoint.size,
                                                " records before, and serves ", now.size));
      }
      kept_ = kept.checkpoint;
    }
    newest_ = std::move(newest);
    return absl::OkStatus();
  }

  absl::Status Compare() const {
    if (!kept_.has_value() || kept_->size != peaks_.size() || kept_->root == peaks_.Root()) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("it has two histories: the first ", kept_->size,
                                            " records are not those that its keeper signed before"));
  }

  const Expected& expected_;
  std::optional<audit::SignedCheckpoint> newest_;
  std::optional<audit::Checkpoint> kept_;
  audit::Peaks peaks_;
  std::vector<AuditRecord> records_;
};

// The origin that was served, if any.
std::string ReadOne(Admin& admin, const Expected& expected, const LogProgress& progress, VerifiedLogs* out) {
  Reading reading(expected);
  if (!expected.problem.empty() && expected.site == kCoordinatorLog) {
    // Only those who dispute it can show its other history; this one is read as it is.
    Note(Finding::kUnwitnessed, absl::StrCat("the log of the coordinator is ", expected.problem), out);
  } else if (!expected.problem.empty()) {
    Note(Finding::kTampered, absl::StrCat("the log of ", expected.site, " is disputed: ", expected.problem), out);
    return "";
  }
  if (expected.keys.empty()) {
    Note(Finding::kIncomplete,
         absl::StrCat("the log of ", expected.site, " was not read: the signed law pins no key of it (any more)"), out);
    return "";
  }
  absl::Status false_one;  // what Take says comes back as it is, but so may errors of the peer
  absl::Status read = ReadAudit(admin, expected.site, {}, [&](const agent::v1::AuditChunk& chunk) {
    false_one = reading.Take(chunk);
    if (progress) progress(expected.site, reading.read(), reading.end());
    return false_one;
  });
  if (read.ok()) read = false_one = reading.End();
  if (read.ok()) {
    Take(reading.TakeRecords(), out);
  } else if (absl::IsDataLoss(false_one)) {
    Note(Finding::kTampered, absl::StrCat("the log of ", expected.site, " is tampered with: ", read.message()), out);
  } else {
    Note(Finding::kIncomplete, absl::StrCat("the log of ", expected.site, " could not be read: ", read.message()), out);
  }
  return read.ok() || absl::IsDataLoss(false_one) ? reading.origin() : "";
}

absl::StatusOr<std::map<std::string, Expected>> ExpectedLogs(Admin& admin,
                                                             const control::v1::ListAuditLogsResponse& known) {
  const std::string& domain = admin.context().trust_domain;
  BW_ASSIGN_OR_RETURN(const config::Bundle bundle, admin.ReadBundle());
  std::map<std::string, Expected> out;
  auto expect = [&](const std::string& site) -> Expected& {
    Expected& e = out[site];
    e.site = site;
    e.name = site == kCoordinatorLog ? absl::StrCat(domain, "/coordinator") : absl::StrCat(domain, "/site/", site);
    return e;
  };
  expect(kCoordinatorLog).keys = bundle.world.timestamp_keys;
  control::v1::ListSitesResponse sites;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListSites(Admin::Call().get(), {}, &sites)));
  for (const auto& site : sites.sites()) {
    if (!site.agent().empty()) expect(site.name());  // no agent has joined: no log either
  }
  for (const auto& log : known.logs()) {
    Expected& e = expect(log.site().empty() ? kCoordinatorLog : log.site());
    if (auto kept = audit::ReadCheckpoint(log.checkpoint()); kept.ok()) e.kept.push_back(*std::move(kept));
    if (!log.problem().empty()) e.problem = log.problem();
  }
  for (const auto& [name, site] : bundle.world.sites) {
    auto it = out.find(name);
    if (it == out.end()) continue;
    for (const auto& [agent, key] : site.enrolment_keys) it->second.keys.push_back(key);
  }
  return out;
}

}  // namespace

absl::StatusOr<VerifiedLogs> VerifiedLogsIn(const std::vector<std::string>& directories,
                                            const std::vector<audit::Trust>& trusts, const LogProgress& progress) {
  VerifiedLogs out;
  std::set<std::string> given;
  for (const std::string& directory : directories) {
    BW_ASSIGN_OR_RETURN(const bool exists, os::Files::System()->Exists(directory));
    if (!exists) return absl::NotFoundError(absl::StrCat(directory, " does not exist"));
    BW_ASSIGN_OR_RETURN(const audit::Verdict verdict, VerifyBy(trusts, directory, progress));
    given.insert(verdict.origin);
    if (verdict.finding != Finding::kTrue) {
      Note(verdict.finding,
           absl::StrCat(directory, " is ", std::string(audit::FindingWord(verdict.finding)), ": ",
                        verdict.problems.empty() ? "" : verdict.problems.front()),
           &out);
    }
    if (verdict.finding > Finding::kUnwitnessed) continue;
    BW_ASSIGN_OR_RETURN(FoundRecords found, RecordsIn(directory, {}));
    if (found.records.size() > verdict.size) found.records.resize(verdict.size);  // the rest is not signed yet
    Take(std::move(found.records), &out);
  }
  for (const audit::Trust& trust : trusts) {
    for (const audit::NoteKey& log : trust.logs()) {
      if (!given.insert(log.name).second) continue;
      Note(Finding::kIncomplete,
           absl::StrCat("the log ", log.name,
                        ", whose key the trust file has, was not read: give its directory with --dir"),
           &out);
    }
  }
  return out;
}

absl::StatusOr<VerifiedLogs> VerifiedLogsOf(Admin& admin, const LogProgress& progress) {
  control::v1::ListAuditLogsResponse known;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListAuditLogs(Admin::Call().get(), {}, &known)));
  BW_ASSIGN_OR_RETURN(const auto expected, ExpectedLogs(admin, known));
  VerifiedLogs out;
  for (const auto& [site, log] : expected) {
    const std::string served = ReadOne(admin, log, progress, &out);
    if (served.empty()) continue;  // said already
    for (const audit::SignedCheckpoint& kept : log.kept) {
      if (kept.checkpoint.origin == served) continue;
      Note(Finding::kIncomplete,
           absl::StrCat("an earlier log of ", site, " was not read: ", kept.checkpoint.origin, " with ",
                        kept.checkpoint.size, " records is served by nobody; give its directory with --dir"),
           &out);
    }
  }
  return out;
}

}  // namespace bailiwick::cli
