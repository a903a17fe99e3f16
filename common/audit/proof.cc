#include "common/audit/proof.h"

#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/audit/lines.h"
#include "common/audit/log.h"
#include "common/audit/merkle.h"
#include "common/base/status.h"

namespace bailiwick::audit {
namespace {

constexpr size_t kMaxHashes = 64;
constexpr size_t kMaxProof = 1 << 20;

absl::Status Bad(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a proof of an audit record: ", why));
}

absl::StatusOr<Digest> HashLine(absl::string_view line) {
  std::string raw;
  if (!absl::Base64Unescape(line, &raw)) return Bad("a hash is malformed");
  auto digest = Digest::From(Digest::kSha256, raw);
  if (!digest.ok()) return Bad("a hash is malformed");
  return digest;
}

absl::StatusOr<std::string> LineOf(os::Files* files, const std::string& directory, uint64_t sequence) {
  const std::string path = os::JoinPath(directory, PayloadPath(sequence));
  auto file = files->OpenRead(path);
  if (absl::IsNotFound(file.status()))
    return absl::NotFoundError(absl::StrCat("record ", sequence, " is not here: ", path, " is missing"));
  BW_RETURN_IF_ERROR(file.status());
  BW_ASSIGN_OR_RETURN(const uint64_t size, (*file)->Size());
  Lines lines(file->get(), size);
  for (uint64_t at = sequence / kPayloadRecords * kPayloadRecords; at <= sequence; ++at) {
    BW_ASSIGN_OR_RETURN(const bool there, lines.Next());
    if (!there || !lines.complete()) return absl::NotFoundError(absl::StrCat("record ", sequence, " is not in ", path));
  }
  return std::string(lines.line());
}

}  // namespace

std::string RecordProof::Encode() const {
  std::string out =
      absl::StrCat(std::string(kProofMagic), "\nextra ", absl::Base64Escape(line), "\nindex ", sequence, "\n");
  for (const Digest& hash : hashes) absl::StrAppend(&out, absl::Base64Escape(std::string(hash.view())), "\n");
  return absl::StrCat(out, "\n", checkpoint);
}

absl::StatusOr<RecordProof> RecordProof::Parse(std::string_view text) {
  if (text.size() > kMaxProof) return Bad("it is too long");
  const size_t end = text.find("\n\n");
  if (end == std::string_view::npos) return Bad("it has no checkpoint");
  RecordProof out{.checkpoint = std::string(text.substr(end + 2))};
  std::vector<std::string> lines = absl::StrSplit(absl::string_view(text.data(), end), '\n');
  if (lines.size() < 3 || lines[0] != kProofMagic) return Bad("its first line is another");
  if (lines[1].rfind("extra ", 0) != 0 || !absl::Base64Unescape(lines[1].substr(6), &out.line))
    return Bad("it has no record");
  if (lines[2].rfind("index ", 0) != 0 || !absl::SimpleAtoi(lines[2].substr(6), &out.sequence) ||
      absl::StrCat("index ", out.sequence) != lines[2]) {
    return Bad("it has no index");
  }
  if (lines.size() > 3 + kMaxHashes) return Bad("it has too many hashes");
  for (size_t i = 3; i < lines.size(); ++i) {
    BW_ASSIGN_OR_RETURN(Digest hash, HashLine(lines[i]));
    out.hashes.push_back(hash);
  }
  return out;
}

absl::StatusOr<Verdict> VerifyProof(std::string_view text, const Trust& trust) {
  Verdict verdict;
  const absl::StatusOr<RecordProof> parsed = RecordProof::Parse(text);
  auto tampered = [&](const absl::Status& status) {
    verdict.finding = Finding::kTampered;
    verdict.problems.push_back(std::string(status.message()));
    return verdict;
  };
  if (!parsed.ok()) {
    if (text.substr(0, kProofMagic.size()) != kProofMagic) return parsed.status();
    return tampered(parsed.status());  // it was one
  }
  const RecordProof& proof = *parsed;
  auto newest = ReadCheckpoint(proof.checkpoint);
  if (!newest.ok()) return tampered(newest.status());
  verdict.origin = newest->checkpoint.origin;
  verdict.size = newest->checkpoint.size;
  const absl::StatusOr<const NoteKey*> key = trust.KeyOf(*newest);
  if (absl::IsDataLoss(key.status())) return tampered(key.status());
  BW_RETURN_IF_ERROR(key.status());
  auto signed_by_log = OpenCheckpoint(proof.checkpoint, **key);
  if (!signed_by_log.ok()) return tampered(signed_by_log.status());
  auto entry = EntryOf(proof.line, proof.sequence);
  if (!entry.ok()) return tampered(entry.status());
  absl::Status included =
      VerifyInclusion(proof.sequence, verdict.size, LeafHash(*entry), proof.hashes, newest->checkpoint.root);
  if (!included.ok()) return tampered(included);
  verdict.witnesses = trust.Witnesses(newest->note);
  verdict.witnessed_at = trust.WitnessedAt(newest->note);
  if (const std::vector<std::string> altered = trust.Altered(newest->note); !altered.empty()) {
    return tampered(absl::DataLossError(absl::StrCat("the signature of ", altered[0], " was changed")));
  }
  if (trust.Suffices(verdict.witnesses)) {
    verdict.witnessed = trust.wants_witnesses() ? verdict.size : 0;
  } else {
    verdict.finding = Finding::kUnwitnessed;
    verdict.problems.push_back(absl::StrCat("only ", verdict.witnesses.size(),
                                            " of the witnesses have signed the checkpoint, too few for the quorum"));
  }
  return verdict;
}

absl::StatusOr<RecordProof> ProveRecord(os::Files* files, const std::string& directory, uint64_t sequence) {
  BW_ASSIGN_OR_RETURN(std::string note, os::ReadFile(files, os::JoinPath(directory, "checkpoint"), kMaxNote));
  BW_ASSIGN_OR_RETURN(SignedCheckpoint newest, ReadCheckpoint(note));
  // What others have signed as well says more, if it covers the record.
  auto witnessed = os::ReadFile(files, os::JoinPath(directory, "witnessed"), kMaxNote);
  if (witnessed.ok()) {
    auto cosigned = ReadCheckpoint(*witnessed);
    if (cosigned.ok() && sequence < cosigned->checkpoint.size && cosigned->checkpoint.size <= newest.checkpoint.size) {
      newest = *std::move(cosigned);
      note = *witnessed;
    }
  }
  if (sequence >= newest.checkpoint.size) {
    return absl::NotFoundError(
        absl::StrCat("the newest checkpoint covers ", newest.checkpoint.size, " records, not record ", sequence));
  }
  RecordProof proof{.sequence = sequence, .checkpoint = note};
  BW_ASSIGN_OR_RETURN(proof.line, LineOf(files, directory, sequence));
  BW_ASSIGN_OR_RETURN(proof.hashes, InclusionProof(sequence, newest.checkpoint.size,
                                                   ReadSubtrees(files, directory, newest.checkpoint.size)));
  return proof;
}

absl::Status CheckConsistency(os::Files* files, const std::string& directory, const SignedCheckpoint& old_note,
                              const SignedCheckpoint& newest) {
  const Checkpoint &before = old_note.checkpoint, &now = newest.checkpoint;
  if (before.origin != now.origin) {
    return absl::InvalidArgumentError(absl::StrCat("these are two logs: ", before.origin, " and ", now.origin));
  }
  std::vector<Digest> proof;
  if (before.size > 0 && before.size < now.size) {
    BW_ASSIGN_OR_RETURN(proof, ConsistencyProof(before.size, now.size, ReadSubtrees(files, directory, now.size)));
  }
  return VerifyConsistency(before.size, before.root, now.size, now.root, proof);
}

absl::Status LogWriter::Flush() {
  BW_RETURN_IF_ERROR(WriteTiles(files_, directory_, tree_.Unwritten()));
  const uint64_t before = (tree_.size() - 1) / kPayloadRecords * kPayloadRecords;
  RemovePartials(files_, directory_, before, tree_.size(), 0);  // nothing of that size was signed
  tree_.Written(tree_.size());
  const std::string path = os::JoinPath(directory_, PayloadPath(tree_.size() - 1));
  BW_RETURN_IF_ERROR(files_->MakeDirs(path.substr(0, path.rfind('/'))));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, path, payload_));
  payload_.clear();
  return absl::OkStatus();
}

absl::Status LogWriter::Add(std::string_view line) {
  BW_ASSIGN_OR_RETURN(const std::string entry, EntryOf(line, tree_.size()));
  tree_.Add(entry);
  payload_.append(line).append("\n");
  return tree_.size() % kPayloadRecords == 0 ? Flush() : absl::OkStatus();
}

absl::Status LogWriter::Finish(const std::string& checkpoint, const std::string& witnessed) {
  BW_ASSIGN_OR_RETURN(const SignedCheckpoint newest, ReadCheckpoint(checkpoint));
  if (newest.checkpoint.size != tree_.size() || newest.checkpoint.root != tree_.Root()) {
    return absl::DataLossError(
        absl::StrCat("the records that came are not those of the signed checkpoint of ", newest.checkpoint.origin));
  }
  if (!payload_.empty()) BW_RETURN_IF_ERROR(Flush());
  if (!witnessed.empty()) {
    const absl::StatusOr<SignedCheckpoint> cosigned = ReadCheckpoint(witnessed);
    if (cosigned.ok() && cosigned->checkpoint.size <= tree_.size()) {
      BW_RETURN_IF_ERROR(RestorePartials(files_, directory_, cosigned->checkpoint.size));
    }
    BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(directory_, "witnessed"), witnessed));
  }
  return os::WriteFileAtomically(files_, os::JoinPath(directory_, "checkpoint"), checkpoint);
}

}  // namespace bailiwick::audit
