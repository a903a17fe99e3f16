#include "common/store/pack.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/dataset_store.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kPackMagic = "BWPACK";
constexpr std::string_view kRecordMagic = "BWCR";
constexpr std::string_view kSidecarMagic = "BWPIDX";
constexpr char kFormat = 1;
constexpr size_t kSidecarHeaderBytes = 32;
constexpr size_t kSidecarEntryBytes = 64;

template <typename T>
void Put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}
template <typename T>
T Take(std::string_view& in) {
  T value;
  std::memcpy(&value, in.data(), sizeof value);
  in.remove_prefix(sizeof value);
  return value;
}

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

absl::StatusOr<PackEntries> ScanPack(os::File& file, DatasetId dataset, PackId pack, uint64_t* valid_bytes) {
  BW_ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  std::string header(kPackHeaderBytes, '\0');
  BW_ASSIGN_OR_RETURN(size_t n, file.ReadAt(0, header.data(), header.size()));
  *valid_bytes = 0;
  if (n < kPackHeaderBytes) return PackEntries{};  // cut off before anything was in it
  if (header != EncodePackHeader(dataset, pack)) {
    return absl::DataLossError(absl::StrCat("pack ", pack, " is not a pack of this dataset or of a newer format"));
  }
  *valid_bytes = kPackHeaderBytes;
  PackEntries entries;
  std::string stored;
  while (*valid_bytes + kRecordHeaderBytes <= size) {
    std::string record(kRecordHeaderBytes, '\0');
    BW_ASSIGN_OR_RETURN(n, file.ReadAt(*valid_bytes, record.data(), record.size()));
    std::string_view in = record;
    if (n < kRecordHeaderBytes || in.substr(0, kRecordMagic.size()) != kRecordMagic) break;
    in.remove_prefix(kRecordMagic.size());
    ChunkLocation location;
    location.pack = pack;
    location.codec = Take<uint8_t>(in);
    const uint8_t algorithm = Take<uint8_t>(in);
    in.remove_prefix(2);
    location.stored_length = Take<uint32_t>(in);
    location.raw_length = Take<uint32_t>(in);
    location.checksum = Take<uint64_t>(in);
    auto digest = Digest::From(algorithm, in.substr(0, Digest::kSize));
    location.offset = *valid_bytes + kRecordHeaderBytes;
    if (!digest.ok() || location.stored_length > kMaxChunkBytes || location.raw_length > kMaxChunkBytes ||
        location.offset + location.stored_length > size) {
      break;
    }
    stored.resize(location.stored_length);
    BW_ASSIGN_OR_RETURN(n, file.ReadAt(location.offset, stored.data(), stored.size()));
    if (n < stored.size() || PackChecksum(stored) != location.checksum) break;
    entries.emplace_back(*digest, location);
    *valid_bytes = location.offset + location.stored_length;
  }
  return entries;
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
  if (bytes.size() < kSidecarHeaderBytes + 8 || bytes.substr(0, kSidecarMagic.size()) != kSidecarMagic || bytes[6] != kFormat) {
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
