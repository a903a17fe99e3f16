// Runs of the chunk index, and their list, as a disk gives them back. The first byte says what is made right, so that
// what lies behind checks is reached: a run is written by our own hand from entries of the input, then bytes of it
// change.
#include "common/store/index_run.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "common/store/index_runs.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

namespace {

using namespace bailiwick;
using namespace bailiwick::store;

IndexEntry EntryOf(fuzz::Input& in) {
  IndexEntry entry;
  entry.key.digest.algorithm = Digest::kSha256;
  for (uint8_t& byte : entry.key.digest.bytes) byte = in.Byte();
  entry.key.dataset.bytes[0] = in.Byte() % 4;
  entry.value.at.pack = in.Byte();
  entry.value.removed = in.Byte() % 8 == 0;
  return entry;
}

// As much as a reader of the index does with a run.
void ReadAll(const IndexRun& run) {
  run.LoadFilter().status().IgnoreError();
  IndexRun::Cursor cursor(&run);
  IndexEntry entry;
  for (auto more = cursor.Next(&entry); more.ok() && *more; more = cursor.Next(&entry)) {
    run.Find(entry.key).status().IgnoreError();
  }
}

}  // namespace

FUZZ_TARGET(index_run) {
  const uint8_t mode = in.Byte() % 3;
  fuzz::MemoryFiles files;
  if (mode == 0) {  // a run of any bytes
    files.Put("run", in.Rest());
    if (auto run = IndexRun::Open(&files, "run"); run.ok()) ReadAll(**run);
    return;
  }
  if (mode == 1) {  // a list of any bytes
    files.Put("index/RUNS", in.Rest());
    IndexRuns::Open(&files, "index", 1 << 20).status().IgnoreError();
    return;
  }
  std::map<IndexKey, IndexValue> entries;
  for (size_t n = in.Byte() % 128; n > 0; --n) {
    const IndexEntry entry = EntryOf(in);
    entries[entry.key] = entry.value;
  }
  auto writer = IndexRunWriter::Create(&files, "run", IndexFilter::BytesFor(entries.size()));
  REQUIRE(writer.ok());
  for (const auto& [key, value] : entries) REQUIRE((*writer)->Add({key, value}).ok());
  REQUIRE((*writer)->Finish().ok());
  auto run = IndexRun::Open(&files, "run");
  REQUIRE(run.ok());
  for (const auto& [key, value] : entries) {
    auto found = (*run)->Find(key);
    REQUIRE(found.ok() && found->has_value() && (*found)->removed == value.removed &&
            (*found)->at.pack == value.at.pack);
  }
  std::string bytes = *files.Find("run");
  while (!in.done()) bytes[in.Number<uint32_t>() % bytes.size()] = static_cast<char>(in.Byte());
  files.Put("changed", bytes);
  auto changed = IndexRun::Open(&files, "changed");
  if (!changed.ok()) return;
  ReadAll(**changed);
  for (const auto& [key, value] : entries) {
    auto found = (*changed)->Find(key);
    if (found.ok()) REQUIRE(found->has_value() && (*found)->at.pack == value.at.pack);
  }
}
