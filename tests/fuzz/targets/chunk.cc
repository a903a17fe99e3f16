// A chunk from a peer or a pack: its codec, the length that it claims, its bytes.
#include "common/crypto/digest.h"
#include "common/store/dataset_store.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(chunk) {
  using namespace bailiwick::store;
  const auto codec = static_cast<Codec>(in.Byte() % 3);
  const uint32_t length = in.Byte() == 0 ? in.Number<uint32_t>() : in.Number<uint16_t>();
  const std::string bytes(in.Rest());
  auto raw = Decompress(codec, length, bytes);
  const bailiwick::Digest digest = bailiwick::crypto::Sha256(raw.ok() ? *raw : bytes);
  const std::string_view part = bytes;
  const bool verified = VerifyChunk({.codec = codec, .raw_length = length, .parts = {&part, 1}}, digest).ok();
  REQUIRE(verified == raw.ok());
  REQUIRE(DecodeChunk({.codec = codec, .raw_length = length, .bytes = bytes}, digest).ok() == raw.ok());
  if (raw.ok()) REQUIRE(raw->size() == length && length <= kMaxChunkBytes);
  const StoredChunk stored = EncodeChunk(bytes);
  auto back = DecodeChunk(stored, bailiwick::crypto::Sha256(bytes));
  REQUIRE(back.ok() && *back == bytes);
}
