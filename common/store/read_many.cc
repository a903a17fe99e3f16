// Reading many chunks: what lies side by side in a pack comes with one read.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "common/base/status.h"
#include "common/store/store_impl.h"

namespace bailiwick::store {
namespace {

constexpr uint64_t kMaxGap = 4 << 10;  // read over: record headers, and a chunk that is not wanted
constexpr uint64_t kMaxRun = 4 << 20;  // one buffer; a view of a single chunk keeps all of it

}  // namespace

absl::StatusOr<ChunkView> StoreImpl::ReadAlone(const Digest& digest) {
  BW_ASSIGN_OR_RETURN(StoredChunk chunk, Read(digest));
  auto held = std::make_shared<const std::string>(std::move(chunk.bytes));
  return ChunkView{.codec = chunk.codec, .raw_length = chunk.raw_length, .bytes = *held, .buffer = held};
}

bool StoreImpl::ReadRun(PackId pack, std::span<const ChunkLocation> run, std::vector<ChunkView>* out) {
  auto opened = OpenPackFile(pack);
  if (!opened.ok() || (*opened)->cipher != nullptr) return false;
  const uint64_t begin = run.front().offset;
  const uint64_t size = run.back().offset + run.back().stored_length - begin;
  auto buffer = std::make_shared_for_overwrite<char[]>(size);
  auto n = (*opened)->file->ReadAt(begin, buffer.get(), size);
  if (!n.ok() || *n != size) return false;
  for (const ChunkLocation& at : run) {
    const std::string_view bytes(buffer.get() + (at.offset - begin), at.stored_length);
    if (PackChecksum(bytes) != at.checksum) return false;
    out->push_back(
        {.codec = static_cast<Codec>(at.codec), .raw_length = at.raw_length, .bytes = bytes, .buffer = buffer});
  }
  return true;
}

std::vector<absl::StatusOr<ChunkView>> StoreImpl::ReadMany(std::span<const Digest> digests) {
  std::vector<absl::StatusOr<ChunkView>> out;
  out.reserve(digests.size());
  auto located = Locate(digests);
  if (located.ok()) {
    // Whatever is not plainly there is left to Read, which knows every other case.
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < digests.size(); ++i) {
      std::optional<ChunkLocation>& at = (*located)[i];
      if (at.has_value() &&
          (!packs_.contains(at->pack) || quarantined_.contains(digests[i]) || Redacted(digests[i]) != nullptr)) {
        at.reset();
      }
    }
  }
  auto at = [&](size_t i) { return located.ok() ? (*located)[i] : std::nullopt; };
  std::vector<ChunkLocation> run;
  std::vector<ChunkView> views;
  for (size_t i = 0; i < digests.size(); i += run.size()) {
    run.clear();
    views.clear();
    while (i + run.size() < digests.size()) {
      const std::optional<ChunkLocation> next = at(i + run.size());
      if (!next.has_value()) break;
      if (!run.empty()) {
        const uint64_t end = run.back().offset + run.back().stored_length;
        if (next->pack != run.front().pack || next->offset < end || next->offset - end > kMaxGap ||
            next->offset + next->stored_length - run.front().offset > kMaxRun) {
          break;
        }
      }
      run.push_back(*next);
    }
    if (!run.empty() && ReadRun(run.front().pack, run, &views)) {
      for (ChunkView& view : views) out.emplace_back(std::move(view));
      continue;
    }
    run.resize(std::max<size_t>(run.size(), 1));
    for (size_t k = 0; k < run.size(); ++k) out.push_back(ReadAlone(digests[i + k]));
  }
  return out;
}

}  // namespace bailiwick::store
