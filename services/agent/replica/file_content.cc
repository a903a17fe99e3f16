#include "services/agent/replica/file_content.h"

#include <string>
#include <utility>

namespace bailiwick::agent {

absl::StatusOr<RawChunks> ReadChunks(store::DatasetStore& store, std::span<const store::Reference> pieces) {
  std::vector<Digest> digests;
  digests.reserve(pieces.size());
  for (const store::Reference& piece : pieces) digests.push_back(piece.digest);
  std::vector<absl::StatusOr<store::ChunkView>> stored = store.ReadMany(digests);
  RawChunks raw;
  for (size_t i = 0; i < stored.size(); ++i) {
    BW_RETURN_IF_ERROR(stored[i].status());
    store::ChunkView& chunk = *stored[i];
    if (chunk.codec != store::Codec::kRaw) {
      BW_ASSIGN_OR_RETURN(std::string bytes, store::Decompress(chunk.codec, chunk.raw_length, chunk.bytes));
      auto held = std::make_shared<const std::string>(std::move(bytes));
      chunk.bytes = *held;
      chunk.buffer = held;
    }
    if (chunk.bytes.size() != pieces[i].length) {
      return absl::DataLossError("a chunk has not the length that the manifest says");
    }
    raw.bytes.push_back(chunk.bytes);
    if (raw.buffers.empty() || raw.buffers.back() != chunk.buffer) raw.buffers.push_back(std::move(chunk.buffer));
  }
  return raw;
}

absl::Status WriteChunks(os::TreeFile& file, std::span<const std::string_view> chunks, Placement* placement) {
  std::vector<std::string_view> parts;  // adjacent ones
  uint64_t begin = 0, end = 0;
  auto flush = [&]() -> absl::Status {
    if (parts.empty()) return absl::OkStatus();
    BW_RETURN_IF_ERROR(file.WriteParts(begin, parts));
    parts.clear();
    return absl::OkStatus();
  };
  for (std::string_view chunk : chunks) {
    BW_RETURN_IF_ERROR(placement->Place(chunk.size(), [&](uint64_t at, uint64_t from, uint64_t n) -> absl::Status {
      if (at != end) BW_RETURN_IF_ERROR(flush());
      if (parts.empty()) begin = at;
      parts.push_back(chunk.substr(from, n));
      end = at + n;
      return absl::OkStatus();
    }));
  }
  return flush();
}

}  // namespace bailiwick::agent
