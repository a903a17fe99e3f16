// Proofs of one record, and proofs in trees of any shape: none convinces of what is not so.
#include "common/audit/proof.h"

#include "common/audit/merkle.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

namespace {

using namespace bailiwick;
using namespace bailiwick::audit;

std::vector<Digest> Hashes(std::string_view bytes) {
  std::vector<Digest> out;
  for (; bytes.size() >= Digest::kSize; bytes.remove_prefix(Digest::kSize)) {
    out.push_back(*Digest::From(Digest::kSha256, bytes.substr(0, Digest::kSize)));
  }
  return out;
}

}  // namespace

FUZZ_TARGET(proof) {
  const uint64_t a = in.Number<uint64_t>(), b = in.Number<uint64_t>();
  const std::string_view rest = in.Rest();
  const std::vector<Digest> hashes = Hashes(rest);
  const Digest root = LeafHash("root");
  REQUIRE(!VerifyInclusion(a, b, LeafHash("leaf"), hashes, root).ok());
  REQUIRE(!VerifyConsistency(a == 0 ? 1 : a, LeafHash("old"), b, root, hashes).ok());
  auto proof = RecordProof::Parse(rest);
  static const auto* trust = new Trust(*Trust::Parse(
      "log " + NoteKey{"log", NoteKey::Type::kLog, fuzz::Key().public_key()}.ToVkey() + "\nquorum none\n", "trust"));
  auto verdict = VerifyProof(rest, *trust);
  if (!proof.ok()) {
    REQUIRE(!verdict.ok() || verdict->finding == Finding::kTampered);
    return;
  }
  auto again = RecordProof::Parse(proof->Encode());
  REQUIRE(again.ok() && again->line == proof->line && again->hashes == proof->hashes);
  REQUIRE(again->sequence == proof->sequence && again->checkpoint == proof->checkpoint);
}
