#include "common/audit/mirror.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::audit {

absl::StatusOr<std::unique_ptr<Mirror>> Mirror::Open(os::Files* files, const std::string& directory) {
  BW_RETURN_IF_ERROR(files->MakeDirs(directory));
  std::unique_ptr<Mirror> mirror(new Mirror(files, directory));
  BW_RETURN_IF_ERROR(mirror->Load());
  return mirror;
}

absl::Status Mirror::Load() {
  auto head = os::ReadFile(files_, os::JoinPath(directory_, "head"), kMaxNote);
  if (head.ok()) {
    absl::StatusOr<Checkpoint> verified = Checkpoint::Parse(*head);
    if (!verified.ok()) return Annotate(verified.status(), os::JoinPath(directory_, "head"));
    BW_ASSIGN_OR_RETURN(tree_, TileTree::Load(files_, directory_, verified->size, verified->root));
  } else if (!absl::IsNotFound(head.status())) {
    return head.status();
  }
  auto checkpoint = os::ReadFile(files_, os::JoinPath(directory_, "checkpoint"), kMaxNote);
  if (checkpoint.ok()) {
    BW_ASSIGN_OR_RETURN(const SignedCheckpoint read, ReadCheckpoint(*checkpoint));
    checkpoint_ = *checkpoint;
    promised_ = read.checkpoint.size;
  } else if (!absl::IsNotFound(checkpoint.status())) {
    return checkpoint.status();
  }
  BW_ASSIGN_OR_RETURN(const bool conflict, files_->Exists(os::JoinPath(directory_, "conflict-1")));
  if (conflict) problem_ = "it contradicted itself before; both histories are kept as evidence";
  RemoveLeftPartials(files_, directory_, tree_.size());
  return absl::OkStatus();
}

absl::Status Mirror::Conflict(const SignedCheckpoint& checkpoint, const std::string& problem) {
  problem_ = problem;
  const std::string note = checkpoint.note.Encode();
  for (size_t n = 1; n <= kMaxConflicts; ++n) {
    const std::string path = os::JoinPath(directory_, absl::StrCat("conflict-", n));
    auto kept = os::ReadFile(files_, path, kMaxNote);
    if (kept.ok() && *kept != note) continue;
    if (absl::IsNotFound(kept.status())) BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, path, note));
    break;
  }
  return absl::DataLossError(problem);
}

// A log that shows less than before: an old copy of itself, or another history.
absl::Status Mirror::CheckOlder(const SignedCheckpoint& checkpoint) {
  const uint64_t size = checkpoint.checkpoint.size;
  BW_ASSIGN_OR_RETURN(const Digest root, RootOf(size, ReadSubtrees(files_, directory_, tree_.size())));
  if (root != checkpoint.checkpoint.root) {
    return Conflict(checkpoint, absl::StrCat("the log has two histories: its first ", size,
                                             " records are not those that it showed before"));
  }
  return Conflict(checkpoint, absl::StrCat("the log went back: it has ", size, " records and showed ", tree_.size(),
                                           " before; was an old copy of the agent's directory put back?"));
}

// Whether the checkpoint's own log begins as the one that was verified. What it says of itself counts only with the
// proof that the checkpoint has signed it.
absl::Status Mirror::CheckBeginning(const SignedCheckpoint& newest, const Report& report) {
  const Checkpoint& now = newest.checkpoint;
  const auto two_histories = [&] {
    return Conflict(newest, absl::StrCat("the log has two histories: what it shows now does not begin with the ",
                                         tree_.size(), " records that it showed before"));
  };
  if (now.size == tree_.size() && now.root != tree_.Root()) return two_histories();
  if (!report.first_root.has_value() || report.first > now.size) return absl::OkStatus();
  absl::Status signed_too = VerifyConsistency(report.first, *report.first_root, now.size, now.root, report.first_proof);
  if (!signed_too.ok()) return absl::InvalidArgumentError(signed_too.message());
  BW_ASSIGN_OR_RETURN(const Digest mine, RootOf(report.first, ReadSubtrees(files_, directory_, tree_.size())));
  return mine == *report.first_root ? absl::OkStatus() : two_histories();
}

absl::Status Mirror::Extend(const SignedCheckpoint& newest, const Report& report) {
  const uint64_t before = tree_.size(), promised = newest.checkpoint.size;
  if (promised < before) return CheckOlder(newest);
  if (report.first > before) return absl::OutOfRangeError(absl::StrCat("only ", before, " entries are known"));
  BW_RETURN_IF_ERROR(CheckBeginning(newest, report));
  TileTree next = tree_;
  for (uint64_t i = before - report.first; i < report.entries.size() && next.size() < promised; ++i) {
    if (report.entries[i].size() > kMaxEntry) return absl::InvalidArgumentError("an entry is too long");
    next.Add(report.entries[i]);
  }
  // Whatever was verified before is how it must begin; only then do the new entries count.
  const absl::Status leads =
      VerifyConsistency(next.size(), next.Root(), promised, newest.checkpoint.root, report.proof);
  if (!leads.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the report does not show that the log goes on from the ", before,
                                                   " records that are known (", std::string(leads.message()), ")"));
  }
  if (next.size() > before) {
    BW_RETURN_IF_ERROR(WriteTiles(files_, directory_, next.Unwritten()));
    const Checkpoint head = {newest.checkpoint.origin, next.size(), next.Root()};
    BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(directory_, "head"), head.Text()));
    next.Written(next.size());
    tree_ = std::move(next);
  }
  if (promised >= promised_) {
    const std::string note = newest.note.Encode();
    if (note != checkpoint_) {
      BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(directory_, "checkpoint"), note));
    }
    checkpoint_ = note;
    promised_ = promised;
  }
  // Not earlier: until now the checkpoint was that of a smaller tree.
  if (tree_.size() > before) RemovePartials(files_, directory_, before, tree_.size(), 0);
  return absl::OkStatus();
}

}  // namespace bailiwick::audit
