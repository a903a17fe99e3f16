#include "common/audit/verify.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/audit/chain.h"
#include "common/audit/json.h"
#include "common/audit/lines.h"
#include "common/audit/log.h"
#include "common/audit/merkle.h"
#include "common/audit/record.h"
#include "common/audit/tiles.h"
#include "common/base/status.h"

namespace bailiwick::audit {
namespace {

constexpr size_t kMaxProblems = 10;

// What the tiles of a level must hold, computed from the level below, tile by tile.
struct Level {
  std::string hashes;
  uint64_t tile = 0;
};

class Verifier {
 public:
  Verifier(os::Files* files, std::string directory, const Trust& trust, const VerifyOptions& options)
      : files_(files), directory_(std::move(directory)), trust_(trust), options_(options) {}

  absl::StatusOr<Verdict> Run() {
    BW_ASSIGN_OR_RETURN(const bool begun, ReadCheckpoints());
    if (!begun) return std::move(verdict_);
    for (uint64_t n = 0; n * kTileWidth < verdict_.size; ++n) {
      BW_RETURN_IF_ERROR(CheckBundle(n));
      if (options_.progress) options_.progress(std::min<uint64_t>((n + 1) * kTileWidth, verdict_.size), verdict_.size);
    }
    BW_RETURN_IF_ERROR(CheckLevels());
    if (seen_ == verdict_.size && peaks_.Root() != checkpoint_.root) {
      Problem(Finding::kTampered, "the entries are not those that the checkpoint signed");
    }
    BW_RETURN_IF_ERROR(CheckTail());
    BW_RETURN_IF_ERROR(CheckBefore());
    CheckWitnesses();
    return std::move(verdict_);
  }

 private:
  void Problem(Finding finding, std::string sentence) {
    verdict_.finding = std::max(verdict_.finding, finding);
    if (verdict_.problems.size() < kMaxProblems) verdict_.problems.push_back(std::move(sentence));
  }
  void Problem(const absl::Status& status) {
    Problem(absl::IsNotFound(status) ? Finding::kIncomplete : Finding::kTampered, std::string(status.message()));
  }
  static bool Told(const absl::Status& status) { return absl::IsNotFound(status) || absl::IsDataLoss(status); }
  std::string Path(std::string_view name) const { return os::JoinPath(directory_, name); }

  absl::StatusOr<std::optional<SignedCheckpoint>> Read(const char* name) {
    auto bytes = os::ReadFile(files_, Path(name), kMaxNote);
    if (absl::IsNotFound(bytes.status())) return std::optional<SignedCheckpoint>();
    BW_RETURN_IF_ERROR(bytes.status());
    absl::StatusOr<SignedCheckpoint> note = ReadCheckpoint(*bytes);
    if (note.ok() && note->note.Encode() != *bytes)
      note = absl::DataLossError("not the form in which notes are written");
    if (!note.ok()) {
      Problem(Annotate(note.status(), Path(name)));
      return std::optional<SignedCheckpoint>();
    }
    return std::optional<SignedCheckpoint>(*std::move(note));
  }

  // False when there is nothing to compare with.
  absl::StatusOr<bool> ReadCheckpoints() {
    BW_ASSIGN_OR_RETURN(last_, Read("checkpoint"));
    if (!last_.has_value()) {
      if (verdict_.problems.empty()) Problem(Finding::kIncomplete, absl::StrCat(Path("checkpoint"), " is missing"));
      return false;
    }
    checkpoint_ = last_->checkpoint;
    verdict_.origin = checkpoint_.origin;
    verdict_.size = checkpoint_.size;
    if (options_.any_signer) return true;
    absl::StatusOr<const NoteKey*> known = trust_.KeyOf(*last_);
    if (absl::IsDataLoss(known.status())) {
      Problem(Annotate(known.status(), Path("checkpoint")));
      return false;
    }
    BW_ASSIGN_OR_RETURN(const NoteKey* const key, known);
    if (!SignedBy(last_->note, *key).has_value() || !OnlyValid(last_->note, *key)) {
      Problem(Finding::kTampered,
              absl::StrCat(Path("checkpoint"), " is not signed by the key of ", checkpoint_.origin));
    }
    BW_ASSIGN_OR_RETURN(cosigned_, Read("witnessed"));
    if (!cosigned_.has_value()) return true;
    if (cosigned_->checkpoint.origin != checkpoint_.origin || !SignedBy(cosigned_->note, *key).has_value()) {
      Problem(Finding::kTampered, absl::StrCat(Path("witnessed"), " is not signed by the key of ", checkpoint_.origin));
    }
    if (cosigned_->checkpoint.size > checkpoint_.size) {
      Problem(Finding::kTampered, absl::StrCat("others have signed ", cosigned_->checkpoint.size,
                                               " records, the log has only ", checkpoint_.size));
    }
    return true;
  }

  // The log's own file carries its own signature and no other.
  static bool OnlyValid(const Note& note, const NoteKey& key) {
    return note.signatures.size() == 1 && note.signatures[0].id == key.Id();
  }

  // Entries of bundle n, with the tile of their hashes and the records that they commit to.
  absl::Status CheckBundle(uint64_t n) {
    const uint64_t width = TileWidth(0, n, verdict_.size);
    absl::StatusOr<std::string> bundle = ReadTile(files_, directory_, kEntries, n, verdict_.size);
    if (!bundle.ok()) {
      if (!Told(bundle.status())) return bundle.status();
      Problem(bundle.status());
      return SkipRecords(n * kTileWidth, width);
    }
    BW_RETURN_IF_ERROR(CheckPartials(kEntries, n, *bundle));
    BW_ASSIGN_OR_RETURN(const std::vector<std::string_view> entries, SplitEntries(*bundle, width));
    for (uint64_t i = 0; i < width; ++i) {
      const Digest hash = LeafHash(entries[i]);
      if (n * kTileWidth + i == seen_) {
        peaks_.Add(hash);
        ++seen_;
        if (cosigned_.has_value() && cosigned_->checkpoint.size == seen_) root_then_ = peaks_.Root();
      }
      LookAtTail(n * kTileWidth + i, entries[i]);
      BW_RETURN_IF_ERROR(Push(0, hash));
      BW_RETURN_IF_ERROR(CheckRecord(n * kTileWidth + i, entries[i]));
    }
    return absl::OkStatus();
  }

  // Of what no witness has signed: whether one has refused to. An entry that is none of ours is found by its hash.
  void LookAtTail(uint64_t sequence, std::string_view entry) {
    const bool newest = sequence + 1 == verdict_.size;
    if (!newest && (!cosigned_.has_value() || sequence < cosigned_->checkpoint.size || disputed_.has_value())) return;
    absl::StatusOr<Entry> decoded = DecodeEntry(entry);
    if (!decoded.ok()) return;
    if (newest) verdict_.newest_at = decoded->at;
    const bool unseen = cosigned_.has_value() && sequence >= cosigned_->checkpoint.size;
    if (unseen && !disputed_.has_value() && decoded->kind == kDisputeKind) disputed_ = sequence;
  }

  absl::Status SkipRecords(uint64_t first, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) BW_RETURN_IF_ERROR(CheckRecord(first + i, std::nullopt));
    return absl::OkStatus();
  }

  // The next line of the payload; false at the end of what is there.
  absl::StatusOr<bool> NextLine(uint64_t sequence) {
    if (lines_ == nullptr || sequence % kPayloadRecords == 0) {
      lines_ = nullptr;
      payload_ = nullptr;
      auto file = files_->OpenRead(Path(PayloadPath(sequence)));
      if (absl::IsNotFound(file.status())) return false;
      BW_RETURN_IF_ERROR(file.status());
      payload_ = *std::move(file);
      BW_ASSIGN_OR_RETURN(const uint64_t size, payload_->Size());
      lines_ = std::make_unique<Lines>(payload_.get(), size);
    }
    return lines_->Next();
  }

  absl::Status CheckRecord(uint64_t sequence, std::optional<std::string_view> entry) {
    if (sequence < resume_) {  // the rest of its file cannot be read
      ++verdict_.payload_missing;
      return absl::OkStatus();
    }
    BW_ASSIGN_OR_RETURN(const bool there, NextLine(sequence));
    if (!there || !lines_->complete()) {
      resume_ = (sequence / kPayloadRecords + 1) * kPayloadRecords;
      ++verdict_.payload_missing;
      if (there) {
        Problem(Finding::kTampered, absl::StrCat("record ", sequence, " is cut off"));
      } else if (!options_.commitments_only) {
        Problem(Finding::kIncomplete,
                absl::StrCat("the records from ", sequence, " on are missing in ", Path(PayloadPath(sequence))));
      }
      return absl::OkStatus();
    }
    absl::StatusOr<std::string> own = EntryOf(lines_->line(), sequence);
    if (!own.ok()) {
      Problem(own.status());
    } else if (entry.has_value() && *own != *entry) {
      Problem(Finding::kTampered, absl::StrCat("record ", sequence, " is not the one that was signed"));
    }
    return absl::OkStatus();
  }

  absl::Status Push(size_t level, const Digest& hash) {
    if (levels_.size() <= level) levels_.resize(level + 1);
    levels_[level].hashes += hash.view();
    if (levels_[level].hashes.size() < kTileWidth * Digest::kSize) return absl::OkStatus();
    return Finish(level);
  }

  // A tile of which all hashes are known: is it what lies there?
  absl::Status Finish(size_t level) {
    const int l = static_cast<int>(level);
    const std::string hashes = std::move(levels_[level].hashes);
    const uint64_t n = levels_[level].tile++;
    levels_[level].hashes.clear();
    absl::StatusOr<std::string> tile = ReadTile(files_, directory_, l, n, verdict_.size);
    if (!tile.ok() && !Told(tile.status())) return tile.status();
    if (!tile.ok()) {
      Problem(tile.status());
    } else {
      if (*tile != hashes) {
        Problem(Finding::kTampered, absl::StrCat(Path(TilePath(l, n, TileWidth(l, n, verdict_.size))),
                                                 " does not hold the hashes of its entries"));
      }
      BW_RETURN_IF_ERROR(CheckPartials(l, n, hashes));
    }
    if (hashes.size() < kTileWidth * Digest::kSize) return absl::OkStatus();
    Peaks peaks;
    for (size_t at = 0; at < hashes.size(); at += Digest::kSize) {
      BW_ASSIGN_OR_RETURN(Digest hash, Digest::From(Digest::kSha256, hashes.substr(at, Digest::kSize)));
      peaks.Add(hash);
    }
    return Push(level + 1, peaks.Root());
  }

  absl::Status CheckLevels() {
    if (seen_ != verdict_.size) return absl::OkStatus();  // said already
    for (size_t level = 0; level < levels_.size(); ++level) {
      if (!levels_[level].hashes.empty()) BW_RETURN_IF_ERROR(Finish(level));
    }
    return absl::OkStatus();
  }

  // Files of smaller trees than the one that was signed last: each is how this one begins.
  absl::Status CheckPartials(int level, uint64_t n, std::string_view whole) {
    const std::string directory = Path(absl::StrCat(TilePath(level, n, kTileWidth), ".p"));
    auto names = files_->List(directory);
    if (absl::IsNotFound(names.status())) return absl::OkStatus();
    BW_RETURN_IF_ERROR(names.status());
    for (const std::string& name : *names) {
      uint64_t width = 0;
      if (!absl::SimpleAtoi(name, &width) || width == 0 || width >= kTileWidth) continue;
      const std::string path = os::JoinPath(directory, name);
      const absl::StatusOr<std::string> part = os::ReadFile(files_, path);
      if (absl::IsNotFound(part.status())) continue;  // the log goes on meanwhile, and has removed it
      BW_RETURN_IF_ERROR(part.status());
      // Written for a checkpoint that a crash prevented.
      if (n * kTileWidth + width > (level <= 0 ? verdict_.size : verdict_.size >> (8 * level))) continue;
      const bool same = absl::StartsWith(absl::string_view(whole.data(), whole.size()), *part) &&
                        (level == kEntries ? SplitEntries(*part, width).ok() : part->size() == width * Digest::kSize);
      if (!same) Problem(Finding::kTampered, absl::StrCat(path, " was changed"));
    }
    return absl::OkStatus();
  }

  // Records after the checkpoint.
  absl::Status CheckTail() {
    if (resume_ > verdict_.size) return absl::OkStatus();
    for (uint64_t sequence = verdict_.size;; ++sequence) {
      BW_ASSIGN_OR_RETURN(const bool there, NextLine(sequence));
      if (!there) return absl::OkStatus();
      absl::Status good =
          lines_->complete() ? EntryOf(lines_->line(), sequence).status() : absl::DataLossError("cut off");
      if (!good.ok()) {
        BW_ASSIGN_OR_RETURN(const bool torn, IsTorn(*lines_, IsSomeRecord));
        if (!torn) Problem(good);
        return absl::OkStatus();
      }
      ++verdict_.unsigned_records;
    }
  }

  // What an older build recorded ends as the record about it says.
  absl::Status CheckBefore() {
    std::map<std::string, std::string> heads;  // of the files by what the log says
    if (options_.commitments_only) return absl::OkStatus();
    uint64_t sequence = 0;
    auto names = files_->List(directory_);
    BW_RETURN_IF_ERROR(names.status());
    const bool any =
        std::any_of(names->begin(), names->end(), [](const std::string& n) { return absl::StartsWith(n, "before"); });
    // Its record is among the first of a log, unless an older build has run again in between.
    const uint64_t look = any ? verdict_.size + verdict_.unsigned_records : std::min<uint64_t>(verdict_.size, 2);
    lines_ = nullptr;
    for (; sequence < look; ++sequence) {
      absl::StatusOr<bool> there = NextLine(sequence);
      if (!there.ok() || !*there) break;
      if (lines_->line().find("\"kind\":\"log-continued\"") == std::string_view::npos) continue;
      absl::StatusOr<Decoded> decoded = Decode(lines_->line(), sequence);
      if (!decoded.ok()) continue;
      auto members = ObjectMembers(decoded->record.detail);
      heads[StringValue(members["file"]).value_or("")] = StringValue(members["head"]).value_or("");
    }
    for (const auto& [name, head] : heads) {
      absl::StatusOr<Chain> chain = VerifyChain(files_, Path(name));
      if (absl::IsNotFound(chain.status())) chain = absl::NotFoundError(absl::StrCat(Path(name), " is missing"));
      if (!chain.ok() && !Told(chain.status())) return chain.status();
      if (!chain.ok()) {
        Problem(chain.status());
      } else if (chain->head.Hex() != head) {
        Problem(Finding::kTampered, absl::StrCat(Path(name), " does not end as it did when it was continued"));
      } else {
        verdict_.before += chain->records;
      }
    }
    return absl::OkStatus();
  }

  void CheckWitnesses() {
    if (cosigned_.has_value() && root_then_.has_value() && *root_then_ != cosigned_->checkpoint.root) {
      Problem(Finding::kTampered, absl::StrCat("others have signed another history: the first ",
                                               cosigned_->checkpoint.size, " records are not those that they saw"));
      return;
    }
    if (options_.any_signer) return;
    if (cosigned_.has_value()) {
      verdict_.witnesses = trust_.Witnesses(cosigned_->note);
      verdict_.witnessed_at = trust_.WitnessedAt(cosigned_->note);
      for (const std::string& name : trust_.Altered(cosigned_->note)) {
        Problem(Finding::kTampered, absl::StrCat(Path("witnessed"), ": the signature of ", name, " was changed"));
      }
    }
    if (!trust_.Suffices(verdict_.witnesses)) {
      Problem(Finding::kUnwitnessed, cosigned_.has_value()
                                         ? absl::StrCat("only ", verdict_.witnesses.size(),
                                                        " of the witnesses have signed, too few for the quorum")
                                         : "no witness has signed a checkpoint of this log");
    } else if (cosigned_.has_value() && root_then_.has_value()) {
      verdict_.witnessed = cosigned_->checkpoint.size;
      CheckDispute();
    }
  }

  void CheckDispute() {
    if (!trust_.wants_witnesses() || !disputed_.has_value()) return;
    if (!verdict_.newest_at.has_value() || !verdict_.witnessed_at.has_value()) return;
    const absl::Duration waited = *verdict_.newest_at - *verdict_.witnessed_at;
    if (waited <= kMaxDisputed) return;
    Problem(Finding::kUnwitnessed,
            absl::StrCat("the records after the first ", verdict_.witnessed, " have waited ",
                         absl::FormatDuration(absl::Trunc(waited, absl::Seconds(1))), " for a witness, and record ",
                         *disputed_, " says that one disputes this log"));
  }

  os::Files* const files_;
  const std::string directory_;
  const Trust& trust_;
  const VerifyOptions options_;
  Verdict verdict_;
  Checkpoint checkpoint_;
  std::optional<SignedCheckpoint> last_, cosigned_;
  std::optional<Digest> root_then_;  // of as many records as the witnesses saw
  Peaks peaks_;
  std::optional<uint64_t> disputed_;  // the first record after those that says that a witness disputes the log
  uint64_t seen_ = 0;    // entries without a gap
  uint64_t resume_ = 0;  // the first record whose file may be read again
  std::vector<Level> levels_;
  std::unique_ptr<os::File> payload_;
  std::unique_ptr<Lines> lines_;
};

}  // namespace

std::string_view FindingWord(Finding finding) {
  switch (finding) {
    case Finding::kTrue:
      return "true";
    case Finding::kUnwitnessed:
      return "unwitnessed";
    case Finding::kIncomplete:
      return "incomplete";
    case Finding::kTampered:
      return "tampered";
  }
  return "";
}

absl::StatusOr<Verdict> VerifyLog(os::Files* files, const std::string& directory, const Trust& trust,
                                  const VerifyOptions& options) {
  return Verifier(files, directory, trust, options).Run();
}

}  // namespace bailiwick::audit
