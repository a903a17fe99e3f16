// Makes an audit log for the second opinion: tlog-sample DIR; prints the vkeys of the log and of its witness.
#include <iostream>

#include "common/audit/log.h"
#include "common/base/status.h"

namespace bailiwick::audit {
namespace {

absl::Status Make(const std::string& directory) {
  const crypto::SigningKey key = *crypto::SigningKey::FromSeed(std::string(32, 'k'));
  const crypto::SigningKey other = *crypto::SigningKey::FromSeed(std::string(32, 'w'));
  BW_ASSIGN_OR_RETURN(auto log, Log::Open(os::Files::System(), os::Clock::System(), os::Random::System(), directory));
  BW_RETURN_IF_ERROR(log->SignAs("acme.example/site/core", key));
  std::string cosigned;
  for (int i = 0; i < 300; ++i) {
    BW_RETURN_IF_ERROR(
        log->Append("grant-accepted", "telemetry/\"quoted\" \xc3\xbc", "{\"n\": [1, {\"a\": null}]}").status());
    if (i % 20 != 0) continue;
    BW_RETURN_IF_ERROR(log->Sign());
    if (i == 260) cosigned = log->checkpoint();
    if (i != 280) continue;  // a newer one is signed already when the signatures of others come
    BW_ASSIGN_OR_RETURN(Note note, Note::Parse(cosigned));
    note.signatures.push_back(Cosign(note.text, "acme.example/site/away", other, os::Clock::System()->Now()));
    BW_RETURN_IF_ERROR(log->PutWitnessed(note));
  }
  BW_RETURN_IF_ERROR(log->Sign());
  std::cout << NoteKey{log->origin(), NoteKey::Type::kLog, key.public_key()}.ToVkey() << "\n"
            << NoteKey{"acme.example/site/away", NoteKey::Type::kCosigner, other.public_key()}.ToVkey() << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace bailiwick::audit

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const absl::Status made = bailiwick::audit::Make(argv[1]);
  if (!made.ok()) std::cerr << made << "\n";
  return made.ok() ? 0 : 1;
}
