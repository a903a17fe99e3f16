#include "common/audit/merkle.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/escaping.h"
#include "common/audit/tiles.h"

namespace bailiwick::audit {
namespace {

std::string Entry(uint64_t i) { return "entry " + std::to_string(i); }

// RFC 6962, section 2.1, word for word.
Digest Mth(uint64_t begin, uint64_t n) {
  if (n == 0) return EmptyRoot();
  if (n == 1) return LeafHash(Entry(begin));
  uint64_t k = 1;
  while (k * 2 < n) k *= 2;
  return NodeHash(Mth(begin, k), Mth(begin + k, n - k));
}

absl::StatusOr<Digest> Subtree(int level, uint64_t index) { return Mth(index << level, uint64_t{1} << level); }

// Of Certificate Transparency's own test data: the tree of its eight entries.
TEST(Merkle, KnownAnswers) {
  EXPECT_EQ(EmptyRoot().Hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(LeafHash("").Hex(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
  const char* entries[] = {
      "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
  Peaks peaks;
  for (const char* hex : entries) peaks.Add(LeafHash(absl::HexStringToBytes(hex)));
  EXPECT_EQ(peaks.Root().Hex(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
}

TEST(Merkle, RootsAgreeHoweverTheyAreMade) {
  Peaks peaks;
  TileTree tree;
  for (uint64_t n = 0; n <= 600; ++n) {
    if (n < 70 || n % 51 == 0) {
      EXPECT_EQ(peaks.Root(), Mth(0, n)) << n;
      EXPECT_EQ(tree.Root(), Mth(0, n)) << n;
      EXPECT_EQ(*RootOf(n, Subtree), Mth(0, n)) << n;
    }
    peaks.Add(LeafHash(Entry(n)));
    tree.Add(Entry(n));
  }
}

TEST(Merkle, EveryRecordOfEveryTreeIsProvedAndNoOther) {
  for (uint64_t size = 1; size <= 33; ++size) {
    const Digest root = Mth(0, size);
    for (uint64_t i = 0; i < size; ++i) {
      const std::vector<Digest> proof = *InclusionProof(i, size, Subtree);
      EXPECT_TRUE(VerifyInclusion(i, size, LeafHash(Entry(i)), proof, root).ok()) << i << " of " << size;
      EXPECT_FALSE(VerifyInclusion(i, size, LeafHash(Entry(i + 1)), proof, root).ok());
      EXPECT_FALSE(VerifyInclusion(i, size, LeafHash(Entry(i)), proof, Mth(0, size + 1)).ok());
      if (size > 1) {
        EXPECT_FALSE(VerifyInclusion((i + 1) % size, size, LeafHash(Entry(i)), proof, root).ok());
      }
      std::vector<Digest> longer = proof;
      longer.push_back(root);
      EXPECT_FALSE(VerifyInclusion(i, size, LeafHash(Entry(i)), longer, root).ok());
      for (size_t drop = 0; drop < proof.size(); ++drop) {
        std::vector<Digest> shorter = proof;
        shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(drop));
        EXPECT_FALSE(VerifyInclusion(i, size, LeafHash(Entry(i)), shorter, root).ok());
      }
    }
  }
  EXPECT_TRUE(absl::IsInvalidArgument(InclusionProof(3, 3, Subtree).status()));
}

TEST(Merkle, EveryTreeIsProvedToBeginWithTheSmallerOnes) {
  for (uint64_t size = 1; size <= 33; ++size) {
    for (uint64_t old = 1; old <= size; ++old) {
      const std::vector<Digest> proof = *ConsistencyProof(old, size, Subtree);
      EXPECT_TRUE(VerifyConsistency(old, Mth(0, old), size, Mth(0, size), proof).ok()) << old << " of " << size;
      EXPECT_FALSE(VerifyConsistency(old, Mth(1, old), size, Mth(0, size), proof).ok());
      EXPECT_FALSE(VerifyConsistency(old, Mth(0, old), size, Mth(1, size), proof).ok());
      for (size_t i = 0; i < proof.size(); ++i) {
        std::vector<Digest> changed = proof;
        changed[i].bytes[5] ^= 1;
        EXPECT_FALSE(VerifyConsistency(old, Mth(0, old), size, Mth(0, size), changed).ok());
        changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(i));
        EXPECT_FALSE(VerifyConsistency(old, Mth(0, old), size, Mth(0, size), changed).ok());
      }
    }
    EXPECT_TRUE(VerifyConsistency(0, EmptyRoot(), size, Mth(0, size), {}).ok());
    EXPECT_FALSE(VerifyConsistency(size + 1, Mth(0, size + 1), size, Mth(0, size), {}).ok()) << "a log does not shrink";
  }
}

TEST(Tiles, ArePathsAsTheStandardNamesThem) {
  EXPECT_EQ(TilePath(0, 0, 256), "tile/0/000");
  EXPECT_EQ(TilePath(1, 1234067, 256), "tile/1/x001/x234/067");
  EXPECT_EQ(TilePath(kEntries, 5, 17), "tile/entries/005.p/17");
  // Its own example: 70,000 entries.
  EXPECT_EQ(TileWidth(0, 272, 70000), 256u);
  EXPECT_EQ(TileWidth(0, 273, 70000), 112u);
  EXPECT_EQ(TileWidth(1, 0, 70000), 256u);
  EXPECT_EQ(TileWidth(1, 1, 70000), 17u);
  EXPECT_EQ(TileWidth(2, 0, 70000), 1u);
  EXPECT_EQ(TileWidth(2, 1, 70000), 0u);
  EXPECT_EQ(TileWidth(1, 0, 256), 1u);
  EXPECT_EQ(TileWidth(0, 1, 256), 0u);
}

TEST(Tiles, BundlesHoldEntriesOfAnyLength) {
  std::string bundle;
  const std::vector<std::string> entries = {"", "a", std::string(kMaxEntry, 'x')};
  for (const auto& e : entries) bundle += EncodeEntry(e);
  auto split = SplitEntries(bundle, 3);
  ASSERT_TRUE(split.ok());
  EXPECT_EQ(std::vector<std::string>(split->begin(), split->end()), entries);
  EXPECT_FALSE(SplitEntries(bundle, 2).ok());
  EXPECT_FALSE(SplitEntries(bundle, 4).ok());
  EXPECT_FALSE(SplitEntries(bundle.substr(0, bundle.size() - 1), 3).ok());
}

}  // namespace
}  // namespace bailiwick::audit
