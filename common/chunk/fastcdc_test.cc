#include "common/chunk/fastcdc.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/crypto/digest.h"

namespace bailiwick::chunk {
namespace {

std::string RandomBytes(size_t n, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::string s(n, '\0');
  for (size_t i = 0; i + 8 <= n; i += 8) {
    uint64_t v = rng();
    memcpy(&s[i], &v, 8);
  }
  return s;
}

std::vector<size_t> Cuts(const Chunker& chunker, std::string_view data) {
  std::vector<size_t> cuts;
  size_t at = 0;
  while (at < data.size()) {
    at += chunker.Next(data.substr(at));
    cuts.push_back(at);
  }
  return cuts;
}

std::set<std::string> Chunks(const Chunker& chunker, const std::string& data) {
  std::set<std::string> chunks;
  size_t at = 0;
  for (size_t cut : Cuts(chunker, data)) {
    chunks.insert(data.substr(at, cut - at));
    at = cut;
  }
  return chunks;
}

TEST(FastCdc, CutsAreAFormat) {
  // These numbers may never change: other cuts would store and send every dataset anew.
  auto chunker = Chunker::Create({.average = 32 * 1024}, "dataset");
  ASSERT_TRUE(chunker.ok());
  std::string data(1 << 20, '\0');
  uint32_t x = 12345;
  for (char& c : data) {
    x = x * 1664525 + 1013904223;
    c = static_cast<char>(x >> 24);
  }
  std::vector<size_t> cuts = Cuts(*chunker, data);
  ASSERT_GE(cuts.size(), 3u);
  EXPECT_EQ(std::vector<size_t>(cuts.begin(), cuts.begin() + 3), (std::vector<size_t>{46993, 60185, 101037}));
}

// The format once more, byte by byte.
size_t PlainNext(const Parameters& parameters, std::string_view key, std::string_view data) {
  std::vector<uint64_t> gear;
  for (uint8_t block = 0; block < 64; ++block) {
    std::string input = "bailiwick-gear-v1";
    input.push_back(static_cast<char>(block));
    input.append(key);
    const Digest digest = crypto::Sha256(input);
    for (int word = 0; word < 4; ++word) {
      uint64_t value = 0;
      for (int i = 7; i >= 0; --i) value = value << 8 | digest.bytes[word * 8 + i];
      gear.push_back(value);
    }
  }
  const int bits = std::countr_zero(parameters.average);
  uint64_t hash = 0;
  for (size_t i = parameters.min(); i < data.size(); ++i) {
    if (i >= parameters.max()) return parameters.max();
    hash = (hash << 1) + gear[static_cast<uint8_t>(data[i])];
    if (hash >> (64 - (i < parameters.average ? bits + 2 : bits - 2)) == 0) return i + 1;
  }
  return data.size();
}

TEST(FastCdc, CutsWhereThePlainLoopDoes) {
  const Parameters parameters{.average = 16 * 1024};
  std::mt19937_64 rng(7);
  for (int round = 0; round < 60; ++round) {
    const std::string key = absl::StrCat("key ", round);
    auto chunker = Chunker::Create(parameters, key);
    std::string data = RandomBytes(rng() % (96 << 10), rng());
    if (round % 3 == 1) {  // few values
      for (char& c : data) c = static_cast<char>(c & 3);
    } else if (round % 3 == 2) {  // what repeats: where one place is a cut, many are
      for (size_t i = 200; i < data.size(); ++i) data[i] = data[i - 200];
    }
    for (std::string_view rest = data; !rest.empty();) {
      const size_t length = chunker->Next(rest);
      ASSERT_EQ(length, PlainNext(parameters, key, rest)) << "round " << round << ", " << rest.size() << " bytes left";
      rest.remove_prefix(length);
    }
  }
}

TEST(FastCdc, BoundsAndAverage) {
  auto chunker = Chunker::Create({.average = 32 * 1024}, "k");
  std::string data = RandomBytes(32 << 20, 1);
  std::vector<size_t> cuts = Cuts(*chunker, data);
  size_t at = 0;
  for (size_t i = 0; i < cuts.size(); ++i) {
    const size_t length = cuts[i] - at;
    EXPECT_LE(length, chunker->parameters().max());
    if (i + 1 < cuts.size()) {
      EXPECT_GE(length, chunker->parameters().min());
    }
    at = cuts[i];
  }
  EXPECT_EQ(at, data.size());
  const double average = static_cast<double>(data.size()) / static_cast<double>(cuts.size());
  EXPECT_GT(average, 24 * 1024);
  EXPECT_LT(average, 48 * 1024);
}

TEST(FastCdc, AnInsertionChangesAFewChunks) {
  auto chunker = Chunker::Create({.average = 32 * 1024}, "k");
  std::string data = RandomBytes(8 << 20, 2);
  std::string changed = data;
  changed.insert(data.size() / 3, RandomBytes(1024, 3));
  std::set<std::string> before = Chunks(*chunker, data);
  int fresh = 0;
  for (const auto& chunk : Chunks(*chunker, changed)) fresh += before.count(chunk) == 0;
  EXPECT_LE(fresh, 4);
}

TEST(FastCdc, AnotherKeyCutsElsewhere) {
  std::string data = RandomBytes(4 << 20, 4);
  EXPECT_NE(Cuts(*Chunker::Create({}, "a"), data), Cuts(*Chunker::Create({}, "b"), data));
}

TEST(FastCdc, CuttingFromABufferEqualsCuttingTheWhole) {
  auto chunker = Chunker::Create({.average = 16 * 1024}, "k");
  std::string data = RandomBytes(2 << 20, 5);
  std::vector<size_t> windowed;
  size_t at = 0;
  while (at < data.size()) {
    std::string_view window = std::string_view(data).substr(at, chunker->parameters().max());
    at += chunker->Next(window);
    windowed.push_back(at);
  }
  EXPECT_EQ(windowed, Cuts(*chunker, data));
}

TEST(FastCdc, RefusesAveragesOutOfRange) {
  for (uint32_t bad : {0u, 8u * 1024, 33u * 1024, 8u << 20})
    EXPECT_FALSE(Chunker::Create({.average = bad}, "").ok()) << bad;
}

}  // namespace
}  // namespace bailiwick::chunk
