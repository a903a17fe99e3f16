// Signed notes (c2sp.org/signed-note), checkpoints (c2sp.org/tlog-checkpoint) and cosignatures of them
// (c2sp.org/tlog-cosignature, the Ed25519 kind). What is parsed is hostile until a signature of a key that is trusted
// verifies. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/crypto/sign.h"

namespace bailiwick::audit {

inline constexpr size_t kMaxNote = 64 << 10;  // bytes
inline constexpr size_t kMaxSignatures = 64;

// Who signs: a name and a key together. Printed as a vkey: NAME+HASH+KEY.
struct NoteKey {
  enum class Type : uint8_t { kLog = 0x01, kCosigner = 0x04 };
  std::string name;
  Type type = Type::kLog;
  std::string public_key;  // 32 bytes

  uint32_t Id() const;
  std::string ToVkey() const;
  static absl::StatusOr<NoteKey> FromVkey(std::string_view vkey);  // INVALID_ARGUMENT says what is wrong
  bool operator==(const NoteKey&) const = default;
};
bool IsKeyName(std::string_view name);  // not empty, no space, no plus, no control character, at most 255 bytes

struct NoteSignature {
  std::string name;
  uint32_t id = 0;
  std::string signature;
};
struct Note {
  std::string text;  // ends in a line end
  std::vector<NoteSignature> signatures;
  std::string Encode() const;
  static absl::StatusOr<Note> Parse(std::string_view note);
};

struct Checkpoint {
  std::string origin;
  uint64_t size = 0;
  Digest root;
  std::string Text() const;
  static absl::StatusOr<Checkpoint> Parse(std::string_view text);  // lines after the third are ignored
};

// A log's own signature.
NoteSignature SignNote(std::string_view text, const std::string& name, const crypto::SigningKey& key);
// That the cosigner saw this checkpoint, and nothing that contradicts it, up to now.
NoteSignature Cosign(std::string_view text, const std::string& name, const crypto::SigningKey& key, absl::Time now);

// When `key` signed the note: the time of a cosignature, the infinite past for a log's own (it has none). Nothing: it
// did not, or its signature is false.
std::optional<absl::Time> SignedBy(const Note& note, const NoteKey& key);

struct SignedCheckpoint {
  Note note;
  Checkpoint checkpoint;
};
// A checkpoint with a signature of this key, whose origin is the key's name. DATA_LOSS: it is malformed or not signed
// by it.
absl::StatusOr<SignedCheckpoint> OpenCheckpoint(std::string_view note, const NoteKey& log);
// The same without a key: to look at, not to trust.
absl::StatusOr<SignedCheckpoint> ReadCheckpoint(std::string_view note);

}  // namespace bailiwick::audit
