// Signed notes, checkpoints, verifier keys.
#include "common/audit/note.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(note) {
  using namespace bailiwick;
  using audit::NoteKey;
  const std::string_view text = in.Rest();
  if (auto key = NoteKey::FromVkey(text); key.ok()) REQUIRE(key->ToVkey() == text);
  if (auto checkpoint = audit::Checkpoint::Parse(text); checkpoint.ok()) {
    REQUIRE(text.starts_with(checkpoint->Text()));
    // Signed it can be opened; by nobody else's key.
    audit::Note note{.text = std::string(text.substr(0, text.rfind('\n') + 1))};
    note.signatures.push_back(audit::SignNote(note.text, checkpoint->origin, fuzz::Key()));
    const NoteKey log{checkpoint->origin, NoteKey::Type::kLog, fuzz::Key().public_key()};
    auto opened = audit::OpenCheckpoint(note.Encode(), log);
    if (opened.ok()) REQUIRE(opened->checkpoint.size == checkpoint->size && opened->note.text == note.text);
    REQUIRE(!audit::OpenCheckpoint(note.Encode(), {log.name, log.type, fuzz::Key('x').public_key()}).ok());
  }
  auto note = audit::Note::Parse(text);
  if (!note.ok()) return;
  REQUIRE(note->Encode() == text && !note->signatures.empty() && note->text.back() == '\n');
  for (const auto& signature : note->signatures) {
    for (NoteKey::Type type : {NoteKey::Type::kLog, NoteKey::Type::kCosigner}) {
      audit::SignedBy(*note, {signature.name, type, fuzz::Key().public_key()});
    }
  }
}
