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

// The judgement bits are the hash's top ones: with a left-shifting gear they depend on the most bytes (64 of them).
uint64_t TopMask(int bits) { return ~uint64_t{0} << (64 - bits); }

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
  chunker.mask_small_ = TopMask(bits + kNormalization);
  chunker.mask_large_ = TopMask(bits - kNormalization);
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

size_t Chunker::Next(std::string_view data, bool last) const {
  size_t n = data.size();
  if (n <= parameters_.min()) return n;
  (void)last;  // a caller without `last` passes at least max() bytes, so the end of data is never a cut by accident
  if (n > parameters_.max()) n = parameters_.max();
  const size_t normal = n < parameters_.average ? n : parameters_.average;
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  uint64_t hash = 0;
  size_t i = parameters_.min();
  for (; i < normal; ++i) {
    hash = (hash << 1) + gear_[bytes[i]];
    if ((hash & mask_small_) == 0) return i + 1;
  }
  for (; i < n; ++i) {
    hash = (hash << 1) + gear_[bytes[i]];
    if ((hash & mask_large_) == 0) return i + 1;
  }
  return n;
}

}  // namespace bailiwick::chunk
