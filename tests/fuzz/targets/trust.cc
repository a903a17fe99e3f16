// Trust files that people write, and which signatures they are content with.
#include "common/audit/trust.h"

#include "absl/strings/str_replace.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(trust) {
  using namespace bailiwick;
  using audit::NoteKey;
  // LOG0.. and WIT0.. stand for keys: a mutation does not find one by itself.
  std::vector<std::pair<std::string, std::string>> words;
  for (char seed = '0'; seed < '4'; ++seed) {
    const std::string& key = fuzz::Key(seed).public_key();
    words.emplace_back(std::string("LOG") + seed,
                       NoteKey{std::string("log") + seed, NoteKey::Type::kLog, key}.ToVkey());
    words.emplace_back(std::string("WIT") + seed,
                       NoteKey{std::string("wit") + seed, NoteKey::Type::kCosigner, key}.ToVkey());
  }
  const std::string text = absl::StrReplaceAll(std::string(in.Rest()), words);
  auto trust = audit::Trust::Parse(text, "trust");
  if (!trust.ok()) return;
  audit::Note note{.text = "log0\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"};
  REQUIRE(trust->Suffices(trust->Witnesses(note)) == !trust->wants_witnesses());
  std::vector<std::string> all;
  for (char seed = '0'; seed < '4'; ++seed) {
    note.signatures.push_back(audit::Cosign(note.text, std::string("wit") + seed, fuzz::Key(seed), fuzz::Now()));
    const NoteKey* log = trust->FindLog(std::string("log") + seed);
    if (log != nullptr) REQUIRE(log->type == NoteKey::Type::kLog);
  }
  trust->Suffices(trust->Witnesses(note));
}
