// What an agent reports of its audit log, as the coordinator takes it: entries, and the proof that they lead to what
// was signed. Whatever is reported, only the true log gets in, and nothing keeps it out afterwards.
#include "common/audit/mirror.h"

#include "bailiwick/agent/v1/audit.pb.h"
#include "common/audit/tiles.h"
#include "common/rpc/audit.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"
#include "tests/fuzz/memory_files.h"

namespace {

using namespace bailiwick;
using namespace bailiwick::audit;

constexpr uint64_t kSize = 20;
std::string EntryAt(uint64_t n) { return "entry " + std::to_string(n); }

struct TrueLog {
  TrueLog() {
    std::vector<Digest> leaves;
    for (uint64_t n = 0; n < kSize; ++n) leaves.push_back(LeafHash(EntryAt(n)));
    read = [leaves](int level, uint64_t index) -> absl::StatusOr<Digest> {
      Peaks peaks;
      for (uint64_t n = index << level; n < (index + 1) << level && n < kSize; ++n) peaks.Add(leaves[n]);
      return peaks.Root();
    };
    const Checkpoint checkpoint{.origin = "log", .size = kSize, .root = *RootOf(kSize, read)};
    note.text = checkpoint.Text();
    note.signatures = {SignNote(note.text, "log", fuzz::Key())};
  }
  SubtreeReader read;
  Note note;
};

}  // namespace

FUZZ_TARGET(mirror) {
  static const auto* log = new TrueLog;
  const NoteKey key{"log", NoteKey::Type::kLog, fuzz::Key().public_key()};
  const SignedCheckpoint newest = *OpenCheckpoint(log->note.Encode(), key);
  fuzz::MemoryFiles files;
  auto mirror = *Mirror::Open(&files, "mirror");
  for (int report = 0; report < 4 && !in.done(); ++report) {
    const uint64_t first = in.Byte() % 32;
    std::vector<std::string> entries;
    for (int i = in.Byte() % 32; i > 0; --i) {
      const uint8_t what = in.Byte();
      entries.push_back(what < 240 ? EntryAt(first + entries.size()) : std::string(in.Bytes(what % 16)));
    }
    std::vector<Digest> proof;
    const uint64_t end = first + entries.size();
    if (in.Byte() % 4 != 0 && end > 0 && end < kSize) proof = *ConsistencyProof(end, kSize, log->read);
    agent::v1::AuditReport more;  // hashes as they come off the wire
    const std::string_view wire = in.Chunk();
    if (!wire.empty() && more.ParseFromArray(wire.data(), static_cast<int>(wire.size()))) {
      auto digests = rpc::DigestsOf(more.proof());
      if (digests.ok()) proof.insert(proof.end(), digests->begin(), digests->end());
      OpenCheckpoint(more.checkpoint(), key).IgnoreError();
    }
    const uint64_t before = mirror->size();
    Mirror::Report said = {first, entries, proof, std::nullopt, {}};
    if (auto wired = rpc::ReportOf(more); wired.ok()) {
      said.first_root = wired->first_root;
      said.first_proof = wired->first_proof;
    }
    const absl::Status taken = mirror->Extend(newest, said);
    REQUIRE(!absl::IsDataLoss(taken));  // there is one checkpoint only: nothing contradicts it
    REQUIRE(mirror->size() <= kSize && mirror->size() >= before);
    REQUIRE(taken.ok() || mirror->size() == before);
  }
  std::vector<std::string> all;
  for (uint64_t n = 0; n < kSize; ++n) all.push_back(EntryAt(n));
  REQUIRE(mirror->Extend(newest, {.entries = all}).ok() && mirror->size() == kSize);
  REQUIRE((*Mirror::Open(&files, "mirror"))->size() == kSize);
}
