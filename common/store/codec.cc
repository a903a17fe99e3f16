// Chunks as stored: raw, or zstd where it pays.
#include <zstd.h>

#include <array>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/store/dataset_store.h"

namespace bailiwick::store {
namespace {

constexpr int kLevel = 1;
constexpr size_t kProbeBytes = 4096;
constexpr size_t kWorthwhileBytes = 512;  // a smaller chunk is kept as it is

ZSTD_CCtx* Compressor() {
  thread_local std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  return context.get();
}
ZSTD_DCtx* Decompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  return context.get();
}

// Bytes from all over the chunk that are as evenly spread as chance would have them: encrypted, compressed, random. The
// sum of squares of how often each of 256 values comes in n bytes is n + n (n - 1) / 256 then; a tenth of text adds 6%.
bool LooksRandom(std::string_view raw) {
  constexpr uint32_t kRuns = 16, kRun = 32, kBytes = kRuns * kRun;
  constexpr uint32_t kExpected = kBytes + kBytes * (kBytes - 1) / 256;
  if (raw.size() < 2 * kBytes) return false;
  std::array<uint16_t, 256> counts{};
  for (uint32_t run = 0; run < kRuns; ++run) {
    const char* at = raw.data() + raw.size() / kRuns * run;
    for (uint32_t i = 0; i < kRun; ++i) ++counts[static_cast<uint8_t>(at[i])];
  }
  uint32_t squares = 0;
  for (uint32_t count : counts) squares += count * count;
  return squares < kExpected + kExpected / 12;
}

// What the histogram does not tell, a sample of the middle does: it costs this much and no more.
bool LooksCompressible(std::string_view raw) {
  if (LooksRandom(raw)) return false;
  if (raw.size() <= 2 * kProbeBytes) return true;
  char out[kProbeBytes + 512];
  std::string_view sample = raw.substr((raw.size() - kProbeBytes) / 2, kProbeBytes);
  const size_t n = ZSTD_compressCCtx(Compressor(), out, sizeof out, sample.data(), sample.size(), kLevel);
  return !ZSTD_isError(n) && n < kProbeBytes - kProbeBytes / 16;
}

}  // namespace

size_t ChunkParts::size() const {
  size_t sum = 0;
  for (std::string_view part : parts) sum += part.size();
  return sum;
}

bool CompressChunk(std::string_view raw, std::string* out) {
  if (raw.size() < kWorthwhileBytes || !LooksCompressible(raw)) return false;
  out->resize(ZSTD_compressBound(raw.size()));
  const size_t n = ZSTD_compressCCtx(Compressor(), out->data(), out->size(), raw.data(), raw.size(), kLevel);
  if (ZSTD_isError(n) || n + raw.size() / 20 >= raw.size()) return false;
  out->resize(n);
  // A chunk whose compressed form does not give it back would be lost: look before it counts.
  std::string back(raw.size(), '\0');
  const size_t m = ZSTD_decompressDCtx(Decompressor(), back.data(), back.size(), out->data(), out->size());
  return m == raw.size() && back == raw;
}

StoredChunk EncodeChunk(std::string_view raw) {
  StoredChunk chunk{.codec = Codec::kZstd, .raw_length = static_cast<uint32_t>(raw.size()), .bytes = ""};
  if (CompressChunk(raw, &chunk.bytes)) return chunk;
  chunk.codec = Codec::kRaw;
  chunk.bytes = std::string(raw);
  return chunk;
}

absl::StatusOr<std::string> Decompress(Codec codec, uint32_t raw_length, std::string_view bytes) {
  if (raw_length > kMaxChunkBytes || bytes.size() > kMaxChunkBytes)
    return absl::DataLossError("a chunk larger than a chunk can be");
  if (codec == Codec::kRaw) {
    if (bytes.size() != raw_length) return absl::DataLossError("a chunk of the wrong length");
    return std::string(bytes);
  }
  if (codec != Codec::kZstd) return absl::DataLossError("a chunk in a codec that is not known here");
  std::string raw(raw_length, '\0');
  const size_t n = ZSTD_decompressDCtx(Decompressor(), raw.data(), raw.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(n) || n != raw.size()) return absl::DataLossError("a chunk that does not decompress");
  return raw;
}

namespace {

absl::Status Mismatch(const Digest& expected) {
  return absl::DataLossError(absl::StrCat("chunk ", expected.ShortHex(), " does not match its digest"));
}

}  // namespace

absl::StatusOr<std::string> DecodeChunk(const StoredChunk& chunk, const Digest& expected) {
  BW_ASSIGN_OR_RETURN(std::string raw, Decompress(chunk.codec, chunk.raw_length, chunk.bytes));
  if (crypto::Sha256(raw) != expected) return Mismatch(expected);
  return raw;
}

absl::Status VerifyChunk(const ChunkParts& chunk, const Digest& expected) {
  if (chunk.codec == Codec::kRaw) return VerifyEach({&chunk, 1}, {&expected, 1}).front();
  std::string joined;
  joined.reserve(chunk.size());
  for (std::string_view part : chunk.parts) joined.append(part);
  BW_ASSIGN_OR_RETURN(std::string raw, Decompress(chunk.codec, chunk.raw_length, joined));
  return crypto::Sha256(raw) == expected ? absl::OkStatus() : Mismatch(expected);
}

std::vector<absl::Status> VerifyEach(std::span<const ChunkParts> chunks, std::span<const Digest> expected) {
  std::vector<absl::Status> found(chunks.size());
  std::vector<std::span<const std::string_view>> raw;
  std::vector<size_t> places;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const ChunkParts& chunk = chunks[i];
    if (chunk.codec != Codec::kRaw) {
      found[i] = VerifyChunk(chunk, expected[i]);
    } else if (chunk.raw_length > kMaxChunkBytes || chunk.size() != chunk.raw_length) {
      found[i] = absl::DataLossError("a chunk of the wrong length");
    } else {
      raw.push_back(chunk.parts);
      places.push_back(i);
    }
  }
  std::vector<Digest> digests(raw.size());
  crypto::Sha256Each(raw, digests);
  for (size_t i = 0; i < raw.size(); ++i) {
    if (digests[i] != expected[places[i]]) found[places[i]] = Mismatch(expected[places[i]]);
  }
  return found;
}

}  // namespace bailiwick::store
