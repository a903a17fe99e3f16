// Memory does not follow the data: a million files and chunks here, a hundred million with BAILIWICK_SCALE=100000000
// (the long test).
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/crypto/digest.h"
#include "common/store/chunk_index.h"
#include "common/store/manifest.h"
#include "common/store/store_fixture.h"

namespace bailiwick::store {
namespace {

uint64_t Scale() {
  uint64_t scale = 1'000'000;
  const char* text = std::getenv("BAILIWICK_SCALE");
  EXPECT_TRUE(text == nullptr || absl::SimpleAtoi(text, &scale));
  return scale;
}

// Resident now, and at most since the last Reset.
struct Resident {
  static uint64_t Peak() { return Kib("VmHWM:") << 10; }
  static void Reset() { std::ofstream("/proc/self/clear_refs") << 5; }

 private:
  static uint64_t Kib(std::string_view field) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      uint64_t kib = 0;
      if (word == field && status >> kib) return kib;
    }
    ADD_FAILURE() << "no " << field;
    return 0;
  }
};

Digest Name(uint64_t n) { return crypto::Sha256(absl::StrCat(n)); }

TEST(ScaleTest, AManifestIsBuiltInBoundedMemory) {
  const uint64_t files = Scale(), folders = files / 1000;
  Resident::Reset();
  const uint64_t before = Resident::Peak();
  uint64_t nodes = 0, bytes = 0;
  ManifestBuilder builder([&](const Digest&, std::string_view encoded) {
    ++nodes;
    bytes += encoded.size();
    return absl::OkStatus();
  });
  for (uint64_t d = 0; d < folders; ++d) {
    const std::string folder = absl::StrFormat("d%07d", d);
    ASSERT_TRUE(builder.Add({.path = folder, .type = EntryType::kDirectory, .mode = 0755}).ok());
    for (uint64_t f = 0; f < 1000; ++f) {
      ASSERT_TRUE(builder
                      .Add({.path = absl::StrFormat("%s/f%03d", folder, f),
                            .mode = 0644,
                            .size = 8192,
                            .chunks = {{Name(d * 1000 + f), 8192}}})
                      .ok());
    }
  }
  auto summary = builder.Finish();
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->entries, folders * 1001);
  EXPECT_LT(bytes / files, 150u) << "bytes a file";
  EXPECT_LT(Resident::Peak() - before, 32u << 20);
  std::cout << files << " files: " << nodes << " nodes, " << bytes << " bytes, " << ((Resident::Peak() - before) >> 20)
            << " MiB resident\n";
}

TEST(ScaleTest, AnIndexGrowsAndAnswersInBoundedMemory) {
  constexpr uint64_t kPack = 10'000, kFilters = 24 << 20;
  const uint64_t packs = Scale() / kPack;
  const TempDir directory;
  Resident::Reset();
  const uint64_t before = Resident::Peak();
  {
    auto index = ChunkIndex::Open(directory.path() + "/index", kFilters);
    ASSERT_TRUE(index.ok()) << index.status();
    std::vector<std::pair<Digest, ChunkLocation>> chunks(kPack);
    for (uint64_t pack = 0; pack < packs; ++pack) {
      for (uint64_t n = 0; n < kPack; ++n) {
        chunks[n] = {Name(pack * kPack + n),
                     {.pack = pack + 1, .offset = n * 32, .stored_length = 32, .raw_length = 32}};
      }
      ASSERT_TRUE((*index)->PutPack({}, pack + 1, chunks).ok());
    }
    ASSERT_TRUE((*index)->Flush().ok());
    std::vector<Digest> asked(256);
    for (uint64_t round = 0; round < 100; ++round) {
      for (uint64_t i = 0; i < asked.size(); ++i) {
        const uint64_t n = (round * 256 + i) * 7919 % (packs * kPack);
        asked[i] = Name(i % 2 == 0 ? n : n + packs * kPack);  // every other one is not there
      }
      auto found = (*index)->GetMany({}, asked);
      ASSERT_TRUE(found.ok()) << found.status();
      for (uint64_t i = 0; i < asked.size(); ++i) {
        const uint64_t n = (round * 256 + i) * 7919 % (packs * kPack);
        ASSERT_EQ((*found)[i].has_value(), i % 2 == 0) << n;
        ASSERT_EQ((*found)[i].value_or(ChunkLocation{}).pack, i % 2 == 0 ? n / kPack + 1 : 0);
      }
    }
    EXPECT_LT(Resident::Peak() - before, 160u << 20);
    std::cout << packs * kPack << " chunks: " << ((Resident::Peak() - before) >> 20) << " MiB resident\n";
  }
}

}  // namespace
}  // namespace bailiwick::store
