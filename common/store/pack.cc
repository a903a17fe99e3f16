#include "common/store/pack.h"

#include <xxhash.h>
#ifdef BAILIWICK_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>  // has XXH3_64bits mean the fastest that this processor can
#endif

#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/dataset_store.h"
#include "common/store/fixed_bytes.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kPackMagic = "BWPACK";
constexpr std::string_view kRecordMagic = "BWCR";
constexpr std::string_view kSidecarMagic = "BWPIDX";
constexpr char kFormat = 1;
constexpr size_t kSidecarHeaderBytes = 32;
constexpr size_t kSidecarEntryBytes = 64;

}  // namespace

uint64_t PackChecksum(std::string_view stored) { return XXH3_64bits(stored.data(), stored.size()); }

std::string EncodePackHeader(DatasetId dataset, PackId pack) {
  std::string out(kPackMagic);
  out.push_back(kFormat);
  out.push_back(0);
  out.append(dataset.view());
  Put(out, pack);
  return out;
}

std::string EncodeRecordHeader(const Digest& digest, const ChunkLocation& location) {
  std::string out(kRecordMagic);
  out.push_back(static_cast<char>(location.codec));
  out.push_back(static_cast<char>(digest.algorithm));
  Put<uint16_t>(out, 0);
  Put(out, location.stored_length);
  Put(out, location.raw_length);
  Put(out, location.checksum);
  out.append(digest.view());
  out.append(kRecordHeaderBytes - out.size(), '\0');
  return out;
}

namespace {

// The record at `offset`, or nullopt when there is none that is whole.
absl::StatusOr<std::optional<std::pair<Digest, ChunkLocation>>> ReadRecord(os::File& file, PackId pack, uint64_t offset,
                                                                           uint64_t size, std::string& stored) {
  char header[kRecordHeaderBytes];
  if (size - offset < sizeof header) return std::nullopt;
  BW_ASSIGN_OR_RETURN(size_t n, file.ReadAt(offset, header, sizeof header));
  std::string_view in(header, n);
  if (n < sizeof header || in.substr(0, kRecordMagic.size()) != kRecordMagic) return std::nullopt;
  in.remove_prefix(kRecordMagic.size());
  ChunkLocation at;
  at.pack = pack;
  at.offset = offset + kRecordHeaderBytes;
  at.codec = Take<uint8_t>(in);
  const uint8_t algorithm = Take<uint8_t>(in);
  in.remove_prefix(2);
  at.stored_length = Take<uint32_t>(in);
  at.raw_length = Take<uint32_t>(in);
  at.checksum = Take<uint64_t>(in);
  auto digest = Digest::From(algorithm, in.substr(0, Digest::kSize));
  if (!digest.ok() || at.stored_length > kMaxChunkBytes || at.raw_length > kMaxChunkBytes ||
      at.stored_length > size - at.offset) {
    return std::nullopt;
  }
  stored.resize(at.stored_length);
  BW_ASSIGN_OR_RETURN(n, file.ReadAt(at.offset, stored.data(), stored.size()));
  if (n < stored.size() || PackChecksum(stored) != at.checksum) return std::nullopt;
  return std::make_pair(*digest, at);
}

}  // namespace

absl::StatusOr<uint64_t> FindMagic(os::File& file, std::string_view magic, uint64_t offset, uint64_t size) {
  std::string window(256 << 10, '\0');
  while (offset < size && size - offset >= kRecordHeaderBytes) {
    BW_ASSIGN_OR_RETURN(size_t n, file.ReadAt(offset, window.data(), window.size()));
    const size_t at = std::string_view(window).substr(0, n).find(magic);
    if (at != std::string_view::npos) return offset + at;
    if (n < window.size()) break;
    offset += n - (magic.size() - 1);  // the magic may lie across two windows
  }
  return size;
}

absl::StatusOr<PackEntries> ScanPack(os::File& file, DatasetId dataset, PackId pack, PackScan scan,
                                     uint64_t* valid_bytes) {
  BW_ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  std::string header(kPackHeaderBytes, '\0');
  BW_ASSIGN_OR_RETURN(size_t n, file.ReadAt(0, header.data(), header.size()));
  *valid_bytes = 0;
  PackEntries entries;
  const bool whole = n == kPackHeaderBytes && header == EncodePackHeader(dataset, pack);
  if (!whole) {
    if (n == kPackHeaderBytes && header.compare(0, kPackMagic.size(), kPackMagic) == 0) {
      return absl::DataLossError(absl::StrCat("pack ", pack, " is not a pack of this dataset or of a newer format"));
    }
    return entries;  // cut off, or never written, before anything was in it
  }
  *valid_bytes = kPackHeaderBytes;
  std::string stored;
  uint64_t offset = kPackHeaderBytes;
  bool sought = false;  // what looks like a record may be something that a chunk's content says
  while (offset < size) {
    BW_ASSIGN_OR_RETURN(auto record, ReadRecord(file, pack, offset, size, stored));
    if (sought && record.has_value()) {
      const std::string_view part = stored;
      const ChunkLocation& at = record->second;
      if (at.codec > static_cast<uint8_t>(Codec::kZstd) ||
          !VerifyChunk({static_cast<Codec>(at.codec), at.raw_length, {&part, 1}}, record->first).ok()) {
        record.reset();
      }
    }
    if (record.has_value()) {
      offset = record->second.offset + record->second.stored_length;
      *valid_bytes = offset;
      entries.push_back(*record);
    } else if (scan == PackScan::kPrefix) {
      break;
    } else {
      sought = true;
      BW_ASSIGN_OR_RETURN(offset, FindMagic(file, kRecordMagic, offset + 1, size));
    }
  }
  return entries;
}

uint64_t ChunksOfSidecar(uint64_t sidecar_bytes) {
  constexpr uint64_t kAround = kSidecarHeaderBytes + 8;
  return sidecar_bytes < kAround ? 0 : (sidecar_bytes - kAround) / kSidecarEntryBytes;
}

std::string EncodeSidecar(PackId pack, uint64_t pack_bytes, const PackEntries& unsorted) {
  PackEntries entries = unsorted;
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out(kSidecarMagic);
  out.push_back(kFormat);
  out.push_back(0);
  Put(out, pack);
  Put(out, pack_bytes);
  Put<uint64_t>(out, entries.size());
  for (const auto& [digest, l] : entries) {
    out.append(digest.view());
    out.push_back(static_cast<char>(digest.algorithm));
    out.push_back(static_cast<char>(l.codec));
    Put<uint16_t>(out, 0);
    Put(out, l.stored_length);
    Put(out, l.raw_length);
    Put<uint32_t>(out, 0);
    Put(out, l.offset);
    Put(out, l.checksum);
  }
  Put(out, PackChecksum(out));
  return out;
}

absl::StatusOr<PackEntries> DecodeSidecar(std::string_view bytes, PackId pack, uint64_t* pack_bytes) {
  const absl::Status bad = absl::DataLossError(absl::StrCat("the sidecar of pack ", pack, " is damaged"));
  if (bytes.size() < kSidecarHeaderBytes + 8 || bytes.substr(0, kSidecarMagic.size()) != kSidecarMagic ||
      bytes[6] != kFormat) {
    return bad;
  }
  std::string_view trailer = bytes.substr(bytes.size() - 8);
  std::string_view body = bytes.substr(0, bytes.size() - 8);
  if (Take<uint64_t>(trailer) != PackChecksum(body)) return bad;
  std::string_view in = body.substr(8);
  if (Take<PackId>(in) != pack) return bad;
  *pack_bytes = Take<uint64_t>(in);
  const uint64_t count = Take<uint64_t>(in);
  if (in.size() % kSidecarEntryBytes != 0 || in.size() / kSidecarEntryBytes != count) return bad;
  PackEntries entries;
  entries.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view value = in.substr(0, Digest::kSize);
    in.remove_prefix(Digest::kSize);
    auto digest = Digest::From(Take<uint8_t>(in), value);
    if (!digest.ok()) return bad;
    ChunkLocation l;
    l.pack = pack;
    l.codec = Take<uint8_t>(in);
    in.remove_prefix(2);
    l.stored_length = Take<uint32_t>(in);
    l.raw_length = Take<uint32_t>(in);
    in.remove_prefix(4);
    l.offset = Take<uint64_t>(in);
    l.checksum = Take<uint64_t>(in);
    if (l.stored_length > kMaxChunkBytes || l.raw_length > kMaxChunkBytes || l.offset > *pack_bytes ||
        l.stored_length > *pack_bytes - l.offset) {
      return bad;
    }
    entries.emplace_back(*digest, l);
  }
  return entries;
}

}  // namespace bailiwick::store
