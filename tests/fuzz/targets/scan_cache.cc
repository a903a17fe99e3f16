// The scan cache and the changes beside it: damaged they cost reading, never more.
#include "services/agent/home/scan_cache.h"

#include <cstring>

#include "common/crypto/digest.h"
#include "common/store/manifest.h"
#include "services/agent/home/scan_cache_changes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

namespace {

using namespace bailiwick;

std::string Checked(std::string bytes, size_t sum) { return bytes.append(crypto::Sha256(bytes).view().substr(0, sum)); }

// A block with its length and its checksum before it.
std::string Block(std::string_view payload) {
  const auto length = static_cast<uint32_t>(payload.size());
  std::string out(reinterpret_cast<const char*>(&length), sizeof length);
  return out.append(crypto::Sha256(payload).view().substr(0, 8)).append(payload);
}

// A commit's body among the changes.
std::string Frame(const std::string& body) {
  const auto length = static_cast<uint32_t>(body.size());
  const std::string number(reinterpret_cast<const char*>(&length), sizeof length);
  return number + Checked(body, 32) + number;
}

}  // namespace

FUZZ_TARGET(scan_cache) {
  fuzz::MemoryFiles files;
  const uint8_t mode = in.Byte();
  const std::string root = std::string(1, '\1') + std::string(32, 'r');
  std::string cache(in.Chunk()), changes(in.Chunk());
  if (mode & 1) cache = Checked(std::string(mode & 4 ? "BWSCAN\0\1" : "BWSCAN\0\2", 8) + root, 8) + Block(cache) + Block(in.Chunk()) + Block("");
  if (mode & 8) changes = Checked(std::string("BWSCHG\0\1", 8) + root + root + changes, 32);
  if (mode & 2) changes = std::string("BWSCHG\0\2", 8) + root + Frame(root + root + changes) + Frame(root + root);
  files.Put("cache", cache);
  files.Put("cache.changes", changes);
  auto reader = agent::ScanCacheReader::Open(&files, "cache");
  agent::ScanRecord record;
  size_t records = 0;
  while (reader != nullptr && reader->Next(&record)) REQUIRE(++records <= cache.size() + changes.size());
  const Digest before = reader != nullptr ? reader->root() : Digest(), after = crypto::Sha256("after");
  agent::ScanCacheChanges more;
  more.Set("n", agent::ScanRecord{.path = "n", .size = 2});
  more.Save(&files, "cache", before, after);
  reader = agent::ScanCacheReader::Open(&files, "cache");
  REQUIRE(before.empty() || (reader != nullptr && (reader->root() == after || reader->root() == before)));
  // A commit over it ends, and leaves a cache that can be read.
  agent::ScanCache commit(&files, "cache", *Digest::From(1, std::string(32, 'r')));
  commit.Unchanged("m", {});
  commit.Keep({.path = "m", .size = 1});
  commit.Finish(crypto::Sha256("next"));
  reader = agent::ScanCacheReader::Open(&files, "cache");
  REQUIRE(reader != nullptr && reader->root() == crypto::Sha256("next"));
  REQUIRE(reader->Next(&record) && record.path == "m" && !reader->Next(&record) && reader->intact());
}
