#include "common/audit/note.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::audit {
namespace {

constexpr std::string_view kDash = "\xe2\x80\x94 ";  // em dash, space
constexpr absl::string_view kDashText(kDash.data(), kDash.size());
constexpr size_t kMaxKeyName = 255;
constexpr size_t kTimestamp = 8;

std::string BigEndian(uint64_t value, size_t bytes) {
  std::string out(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) out[bytes - 1 - i] = static_cast<char>(value >> (8 * i));
  return out;
}

uint64_t FromBigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// Canonical only: what is decoded encodes to the same text again, so that no two notes mean one.
std::optional<std::string> FromBase64(std::string_view text) {
  std::string out;
  if (!absl::Base64Unescape(absl::string_view(text.data(), text.size()), &out) || absl::Base64Escape(out) != text) {
    return std::nullopt;
  }
  return out;
}

absl::Status Bad(absl::string_view why) { return absl::DataLossError(absl::StrCat("not a signed note: ", why)); }

bool IsNoteText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || static_cast<uint8_t>(c) >= 0x20; });
}

absl::StatusOr<NoteSignature> ParseSignature(std::string_view line) {
  if (line.substr(0, kDash.size()) != kDash) return Bad("a signature begins with a dash");
  line.remove_prefix(kDash.size());
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return Bad("a signature has a name and a value");
  NoteSignature out{.name = std::string(line.substr(0, space))};
  std::optional<std::string> value = FromBase64(line.substr(space + 1));
  if (!IsKeyName(out.name) || !value.has_value() || value->size() <= 4) return Bad("a signature is malformed");
  out.id = static_cast<uint32_t>(FromBigEndian(std::string_view(*value).substr(0, 4)));
  out.signature = value->substr(4);
  return out;
}

std::string CosignedMessage(std::string_view text, uint64_t seconds) {
  return absl::StrCat("cosignature/v1\ntime ", seconds, "\n", absl::string_view(text.data(), text.size()));
}

bool NextLine(std::string_view* text, std::string_view* line) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos) return false;
  *line = text->substr(0, end);
  text->remove_prefix(end + 1);
  return true;
}

}  // namespace

bool IsKeyName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxKeyName && std::none_of(name.begin(), name.end(), [](char c) {
    return static_cast<uint8_t>(c) <= 0x20 || c == '+' || static_cast<uint8_t>(c) >= 0x7f;
  });
}

uint32_t NoteKey::Id() const {
  const std::string type_byte(1, static_cast<char>(type));
  const Digest digest = crypto::Sha256(absl::StrCat(name, "\n", type_byte, public_key));
  return static_cast<uint32_t>(FromBigEndian(digest.view().substr(0, 4)));
}

std::string NoteKey::ToVkey() const {
  return absl::StrCat(name, "+", absl::Hex(Id(), absl::kZeroPad8), "+",
                      absl::Base64Escape(absl::StrCat(std::string(1, static_cast<char>(type)), public_key)));
}

absl::StatusOr<NoteKey> NoteKey::FromVkey(std::string_view vkey) {
  auto bad = [&](const char* why) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(vkey.substr(0, 300)), "\" is not a verifier key: ", why));
  };
  const size_t first = vkey.find('+');
  const size_t second = first == std::string_view::npos ? first : vkey.find('+', first + 1);
  if (second == std::string_view::npos) return bad("it is not NAME+HASH+KEY");
  NoteKey key{.name = std::string(vkey.substr(0, first))};
  std::optional<std::string> value = FromBase64(vkey.substr(second + 1));
  if (!IsKeyName(key.name)) return bad("its name is malformed");
  if (!value.has_value() || value->size() != 1 + crypto::kPublicKeySize) return bad("it is not an Ed25519 key");
  const uint8_t type = static_cast<uint8_t>(value->front());
  if (type != static_cast<uint8_t>(Type::kLog) && type != static_cast<uint8_t>(Type::kCosigner)) {
    return bad("its kind is not known");
  }
  key.type = static_cast<Type>(type);
  key.public_key = value->substr(1);
  if (absl::StrCat(absl::Hex(key.Id(), absl::kZeroPad8)) != vkey.substr(first + 1, second - first - 1)) {
    return bad("its hash does not match name and key");
  }
  return key;
}

std::string Note::Encode() const {
  std::string out = text + "\n";
  for (const NoteSignature& s : signatures) {
    absl::StrAppend(&out, kDashText, s.name, " ", absl::Base64Escape(absl::StrCat(BigEndian(s.id, 4), s.signature)),
                    "\n");
  }
  return out;
}

absl::StatusOr<Note> Note::Parse(std::string_view note) {
  if (note.size() > kMaxNote) return Bad("it is too long");
  if (!IsNoteText(note)) return Bad("it has control characters");
  const size_t blank = note.rfind("\n\n");
  if (blank == std::string_view::npos) return Bad("it has no signatures");
  Note out{.text = std::string(note.substr(0, blank + 1))};
  std::string_view rest = note.substr(blank + 2), line;
  while (!rest.empty()) {
    if (!NextLine(&rest, &line)) return Bad("its last line has no end");
    if (out.signatures.size() == kMaxSignatures) return Bad("it has too many signatures");
    BW_ASSIGN_OR_RETURN(NoteSignature signature, ParseSignature(line));
    out.signatures.push_back(std::move(signature));
  }
  if (out.signatures.empty()) return Bad("it has no signatures");
  return out;
}

std::string Checkpoint::Text() const {
  return absl::StrCat(origin, "\n", size, "\n", absl::Base64Escape(std::string(root.view())), "\n");
}

absl::StatusOr<Checkpoint> Checkpoint::Parse(std::string_view text) {
  auto bad = [] { return absl::DataLossError("not a checkpoint: it has no origin, size and root hash"); };
  std::string_view origin, size, root;
  if (!NextLine(&text, &origin) || !NextLine(&text, &size) || !NextLine(&text, &root)) return bad();
  Checkpoint out{.origin = std::string(origin)};
  std::optional<std::string> hash = FromBase64(root);
  if (!IsKeyName(origin) || !hash.has_value() ||
      !absl::SimpleAtoi(absl::string_view(size.data(), size.size()), &out.size) || absl::StrCat(out.size) != size ||
      out.size > (uint64_t{1} << 62)) {
    return bad();
  }
  absl::StatusOr<Digest> digest = Digest::From(Digest::kSha256, *hash);
  if (!digest.ok()) return bad();
  out.root = *digest;
  return out;
}

NoteSignature SignNote(std::string_view text, const std::string& name, const crypto::SigningKey& key) {
  return {name, NoteKey{name, NoteKey::Type::kLog, key.public_key()}.Id(), key.Sign(text)};
}

NoteSignature Cosign(std::string_view text, const std::string& name, const crypto::SigningKey& key, absl::Time now) {
  const uint64_t seconds = static_cast<uint64_t>(std::max<int64_t>(0, absl::ToUnixSeconds(now)));
  return {name, NoteKey{name, NoteKey::Type::kCosigner, key.public_key()}.Id(),
          BigEndian(seconds, kTimestamp) + key.Sign(CosignedMessage(text, seconds))};
}

std::optional<absl::Time> SignedBy(const Note& note, const NoteKey& key) {
  for (const NoteSignature& s : note.signatures) {
    if (s.name != key.name || s.id != key.Id()) continue;
    if (key.type == NoteKey::Type::kLog) {
      if (crypto::VerifySignature(key.public_key, note.text, s.signature)) return absl::InfinitePast();
      continue;
    }
    if (s.signature.size() != kTimestamp + crypto::kSignatureSize) continue;
    const uint64_t seconds = FromBigEndian(std::string_view(s.signature).substr(0, kTimestamp));
    if (seconds >> 63 != 0) continue;
    if (crypto::VerifySignature(key.public_key, CosignedMessage(note.text, seconds), s.signature.substr(kTimestamp))) {
      return absl::FromUnixSeconds(static_cast<int64_t>(seconds));
    }
  }
  return std::nullopt;
}

absl::StatusOr<SignedCheckpoint> ReadCheckpoint(std::string_view note) {
  SignedCheckpoint out;
  BW_ASSIGN_OR_RETURN(out.note, Note::Parse(note));
  BW_ASSIGN_OR_RETURN(out.checkpoint, Checkpoint::Parse(out.note.text));
  return out;
}

absl::StatusOr<SignedCheckpoint> OpenCheckpoint(std::string_view note, const NoteKey& log) {
  BW_ASSIGN_OR_RETURN(SignedCheckpoint out, ReadCheckpoint(note));
  if (out.checkpoint.origin != log.name) {
    return absl::DataLossError(
        absl::StrCat("the checkpoint is of the log ", out.checkpoint.origin, ", not of ", log.name));
  }
  if (!SignedBy(out.note, log).has_value()) {
    return absl::DataLossError(absl::StrCat("the checkpoint is not signed by the key of ", log.name));
  }
  return out;
}

}  // namespace bailiwick::audit
