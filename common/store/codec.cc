// Chunks as stored: raw, or zstd where it pays.
#include <zstd.h>

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

// A sample of the middle: random or already compressed bytes cost this much and no more.
bool LooksCompressible(std::string_view raw) {
  if (raw.size() <= 2 * kProbeBytes) return true;
  char out[kProbeBytes + 512];
  std::string_view sample = raw.substr((raw.size() - kProbeBytes) / 2, kProbeBytes);
  const size_t n = ZSTD_compressCCtx(Compressor(), out, sizeof out, sample.data(), sample.size(), kLevel);
  return !ZSTD_isError(n) && n < kProbeBytes - kProbeBytes / 16;
}

}  // namespace

StoredChunk EncodeChunk(std::string_view raw) {
  StoredChunk chunk;
  chunk.raw_length = static_cast<uint32_t>(raw.size());
  if (raw.size() >= kWorthwhileBytes && LooksCompressible(raw)) {
    std::string packed(ZSTD_compressBound(raw.size()), '\0');
    const size_t n = ZSTD_compressCCtx(Compressor(), packed.data(), packed.size(), raw.data(), raw.size(), kLevel);
    if (!ZSTD_isError(n) && n + raw.size() / 20 < raw.size()) {
      packed.resize(n);
      // A chunk whose compressed form does not give it back would be lost: look before it counts.
      std::string back(raw.size(), '\0');
      const size_t m = ZSTD_decompressDCtx(Decompressor(), back.data(), back.size(), packed.data(), packed.size());
      if (m == raw.size() && back == raw) {
        chunk.codec = Codec::kZstd;
        chunk.bytes = std::move(packed);
        return chunk;
      }
    }
  }
  chunk.bytes = std::string(raw);
  return chunk;
}

absl::StatusOr<std::string> Decompress(const StoredChunk& chunk) {
  if (chunk.raw_length > kMaxChunkBytes || chunk.bytes.size() > kMaxChunkBytes)
    return absl::DataLossError("a chunk larger than a chunk can be");
  if (chunk.codec == Codec::kRaw) {
    if (chunk.bytes.size() != chunk.raw_length) return absl::DataLossError("a chunk of the wrong length");
    return chunk.bytes;
  }
  if (chunk.codec != Codec::kZstd) return absl::DataLossError("a chunk in a codec that is not known here");
  std::string raw(chunk.raw_length, '\0');
  const size_t n = ZSTD_decompressDCtx(Decompressor(), raw.data(), raw.size(), chunk.bytes.data(), chunk.bytes.size());
  if (ZSTD_isError(n) || n != raw.size()) return absl::DataLossError("a chunk that does not decompress");
  return raw;
}

absl::StatusOr<std::string> DecodeChunk(const StoredChunk& chunk, const Digest& expected) {
  BW_ASSIGN_OR_RETURN(std::string raw, Decompress(chunk));
  if (crypto::Sha256(raw) != expected) {
    return absl::DataLossError(absl::StrCat("chunk ", expected.ShortHex(), " does not match its digest"));
  }
  return raw;
}

}  // namespace bailiwick::store
