#include "common/chunk/fastcdc.h"

#include <bit>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/crypto/digest.h"

namespace bailiwick::chunk {
namespace {

constexpr uint32_t kMinAverage = 16 * 1024;
constexpr uint32_t kMaxAverage = 4 * 1024 * 1024;
constexpr int kNormalization = 2;  // level of the paper: mask bits added before, removed after the average

// The judgement bits are the hash's top ones: with a left-shifting gear they depend on the most bytes. All of them are
// zero where the hash is below this.
uint64_t Limit(int bits) { return uint64_t{1} << (64 - bits); }

using Gear = std::array<uint64_t, 256>;

constexpr size_t kWindow = 64;   // the hash depends on that many bytes: each shifts those before it by a bit
constexpr size_t kStride = 512;  // more than a window, little beside a chunk

inline uint64_t Roll(const Gear& gear, uint64_t hash, uint8_t byte) { return (hash << 1) + gear[byte]; }

// The length of `bytes` up to the first place in [begin, end) at which the hash falls below the limit, 0 if there is
// none. `hash` is that before `begin`, then that before `end`. Each step waits for the one before it, which leaves a
// core half idle: so two strides are rolled through at once, the second from the bytes that lie before it.
size_t FindCut(const Gear& gear, const uint8_t* bytes, size_t begin, size_t end, uint64_t limit, uint64_t* hash) {
  uint64_t near = *hash;
  size_t i = begin;
  for (; i + 2 * kStride <= end; i += 2 * kStride) {
    const uint8_t* first = bytes + i;
    const uint8_t* second = first + kStride;
    uint64_t far = 0;
    for (const uint8_t* byte = second - kWindow; byte < second; ++byte) far = Roll(gear, far, *byte);
    size_t cut = 0;  // in the second stride; one in the first comes before it
    for (size_t at = 0; at < kStride; at += 4) {
#pragma GCC unroll 4
      for (size_t step = at; step < at + 4; ++step) {
        near = Roll(gear, near, first[step]);
        if (near < limit) [[unlikely]]
          return i + step + 1;
        far = Roll(gear, far, second[step]);
        if (far < limit && cut == 0) [[unlikely]]
          cut = i + kStride + step + 1;
      }
    }
    if (cut != 0) return cut;
    near = far;
  }
  for (; i < end; ++i) {
    near = Roll(gear, near, bytes[i]);
    if (near < limit) return i + 1;
  }
  *hash = near;
  return 0;
}

}  // namespace

absl::StatusOr<Chunker> Chunker::Create(Parameters parameters, std::string_view key) {
  if (!std::has_single_bit(parameters.average) || parameters.average < kMinAverage ||
      parameters.average > kMaxAverage) {
    return absl::InvalidArgumentError(
        absl::StrCat("the average chunk size must be a power of two from 16KiB to 4MiB, not ", parameters.average));
  }
  Chunker chunker;
  chunker.parameters_ = parameters;
  const int bits = std::countr_zero(parameters.average);
  chunker.limit_small_ = Limit(bits + kNormalization);
  chunker.limit_large_ = Limit(bits - kNormalization);
  for (uint32_t block = 0; block < 64; ++block) {  // 64 digests of 4 words each
    std::string input = "bailiwick-gear-v1";
    input.push_back(static_cast<char>(block));
    input.append(key);
    Digest digest = crypto::Sha256(input);
    for (int word = 0; word < 4; ++word) {
      uint64_t value = 0;
      for (int i = 0; i < 8; ++i) value |= uint64_t{digest.bytes[word * 8 + i]} << (8 * i);
      chunker.gear_[block * 4 + word] = value;
    }
  }
  return chunker;
}

size_t Chunker::Next(std::string_view data) const {
  size_t n = data.size();
  if (n <= parameters_.min()) return n;
  if (n > parameters_.max()) n = parameters_.max();
  const size_t normal = n < parameters_.average ? n : parameters_.average;
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  uint64_t hash = 0;
  size_t cut = FindCut(gear_, bytes, parameters_.min(), normal, limit_small_, &hash);
  if (cut == 0) cut = FindCut(gear_, bytes, normal, n, limit_large_, &hash);
  return cut == 0 ? n : cut;
}

}  // namespace bailiwick::chunk
