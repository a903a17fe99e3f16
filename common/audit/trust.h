// Whom to believe about audit logs: a trust policy file (c2sp.org/tlog-policy):
//
//   log VKEY                                   # a log and the key that signs its checkpoints
//   witness NAME VKEY                          # who cosigns them
//   group NAME all|any|K MEMBER...             # K of its members: witnesses or groups from above
//   quorum NAME|none                           # without which no checkpoint counts as witnessed
//
// Values; thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/audit/note.h"

namespace bailiwick::audit {

inline constexpr size_t kMaxTrustFile = 4 << 20;

class Trust {
 public:
  // INVALID_ARGUMENT names file and line.
  static absl::StatusOr<Trust> Parse(std::string_view text, const std::string& file);

  const NoteKey* FindLog(std::string_view origin) const;  // null: none of these
  // The key of the log that a checkpoint is of; its signature is the caller's to check. INVALID_ARGUMENT: none of
  // these. DATA_LOSS: it is signed in the name of one of these logs and says that it is of another: it was changed.
  absl::StatusOr<const NoteKey*> KeyOf(const SignedCheckpoint& newest) const;
  const std::vector<NoteKey>& logs() const { return logs_; }
  bool wants_witnesses() const { return quorum_ != "none"; }
  // Names of the witnesses that signed, and whether they are the quorum.
  std::vector<std::string> Witnesses(const Note& note) const;
  std::optional<absl::Time> WitnessedAt(const Note& note) const;  // when the last of them did; nothing: none has
  bool Suffices(const std::vector<std::string>& witnesses) const;
  // Names of the witnesses whose signature on the note was changed: it is in their name and by their key, but false; or
  // true, but not under their name; or of a time that no witness can have said. (A signature by a key that is not
  // known, say a witness's former one, is neither.)
  std::vector<std::string> Altered(const Note& note) const;

 private:
  struct Group {
    size_t threshold = 0;
    std::vector<std::string> members;
  };
  absl::Status Add(const std::vector<std::string>& words);
  absl::Status AddGroup(const std::vector<std::string>& words);
  absl::Status CheckNew(const std::string& name) const;

  std::vector<NoteKey> logs_;
  std::map<std::string, NoteKey> witnesses_;
  std::map<std::string, Group> groups_;
  std::string quorum_;
};

}  // namespace bailiwick::audit
