// The directory of an audit log as a disk gives it back: records, tiles, checkpoint, the chain of an older build. Flips
// of bytes are found, whatever they are; what is found damaged is not written over.
#include "common/audit/chain.h"
#include "common/audit/log.h"
#include "common/audit/mirror.h"
#include "common/audit/verify.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"
#include "tests/fuzz/memory_files.h"

namespace {

using namespace bailiwick;
using namespace bailiwick::audit;

struct Zeros : os::Random {
  void Fill(std::span<uint8_t> out) override { std::fill(out.begin(), out.end(), uint8_t{7}); }
};

struct Example {
  Example() {
    auto log = *Log::Open(&files, &clock, &random, "audit");
    REQUIRE(log->SignAs("acme/site/core", fuzz::Key()).ok());
    for (int i = 0; i < 300; ++i) {
      REQUIRE(log->Append("grant-accepted", "dataset", "{\"n\":1}").ok());
      if (i == 200) REQUIRE(log->Sign().ok());
    }
    REQUIRE(log->Sign().ok());
    origin = log->origin();
    log.reset();
    for (const char* name : {"checkpoint", "payload/000", "tile/0/000", "tile/0/001.p/45", "tile/1/000.p/1",
                             "tile/entries/000", "tile/entries/001.p/45"}) {
      names.push_back(std::string("audit/") + name);
      REQUIRE(files.Find(names.back()) != nullptr);
      content.push_back(*files.Find(names.back()));
    }
    trust = *Trust::Parse(
        "log " + NoteKey{origin, NoteKey::Type::kLog, fuzz::Key().public_key()}.ToVkey() + "\nquorum none\n", "trust");
  }
  fuzz::MemoryFiles files;
  os::FakeClock clock;
  Zeros random;
  std::string origin;
  std::vector<std::string> names, content;
  Trust trust;
};

}  // namespace

FUZZ_TARGET(audit_log) {
  static auto* example = new Example;
  fuzz::MemoryFiles files;
  std::vector<std::string> content = example->content;
  bool only_flips = true;
  const uint8_t extra = in.Byte();
  for (int i = 0; i < 8 && !in.done(); ++i) {
    std::string& file = content[in.Byte() % content.size()];
    const uint8_t what = in.Byte();
    const size_t at = file.empty() ? 0 : in.Number<uint16_t>() % file.size();
    only_flips = only_flips && what < 192;
    if (what < 192 && !file.empty()) {
      file[at] = static_cast<char>(file[at] ^ what);
    } else if (what < 224) {
      file.resize(at);
    } else {
      file.insert(at, in.Bytes(what % 32));
    }
  }
  for (size_t i = 0; i < content.size(); ++i) files.Put(example->names[i], content[i]);
  if (extra & 1) files.Put("audit/before.log", in.Rest());
  VerifyChain(&files, "audit/before.log").IgnoreError();
  auto verdict = VerifyLog(&files, "audit", example->trust);
  if (only_flips && content != example->content) REQUIRE(!verdict.ok() || verdict->finding != Finding::kTrue);
  auto log = Log::Open(&files, &example->clock, &example->random, "audit");
  if (!log.ok() && (extra & 1) == 0) {
    for (size_t i = 0; i < content.size(); ++i) REQUIRE(*files.Find(example->names[i]) == content[i]);
  }
  if (log.ok()) REQUIRE((*log)->size() <= 301 || !only_flips);
  files.Put("audit/head", content[0]);
  Mirror::Open(&files, "audit").IgnoreError();
}
