// The file formats of packs: append-only records in <id>.pack, and the sorted sidecar <id>.idx of a finished one.
// Private to the store. Numbers are little-endian. Those of an encrypted dataset: pack_seal.h.
//   pack:    "BWPACK" format(1) cipher(1: 0 = none) dataset(16) pack id(8), then records
//   record:  "BWCR" codec(1) algorithm(1) 0(2) stored length(4) raw length(4) xxh3(8) digest(32) 0(4), then the stored
//   bytes sidecar: "BWPIDX" format(1) 0(1) pack id(8) pack size(8) count(8), entries(digest 32, algorithm 1, codec 1, 0
//   2,
//            stored length 4, raw length 4, offset 8, xxh3 8), XXH3-64 of all before
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/os/files.h"
#include "common/store/chunk_index.h"

namespace bailiwick::store {

inline constexpr size_t kPackHeaderBytes = 32;
inline constexpr size_t kRecordHeaderBytes = 60;

using PackEntries = std::vector<std::pair<Digest, ChunkLocation>>;

std::string EncodePackHeader(DatasetId dataset, PackId pack);
// The record's header; the stored bytes follow it.
std::string EncodeRecordHeader(const Digest& digest, const ChunkLocation& location);
uint64_t PackChecksum(std::string_view stored);  // XXH3-64

enum class PackScan {
  kPrefix,       // an unfinished pack: up to the first record that is cut short or wrong
  kWhatIsWhole,  // a sealed pack whose sidecar is lost: over damage to the next whole record whose digest is right
};
// The records of a pack file whose checksums are right. `valid_bytes` is where the last one ends, 0 when not even the
// header is whole. DATA_LOSS: a pack of another dataset or of a newer format.
absl::StatusOr<PackEntries> ScanPack(os::File& file, DatasetId dataset, PackId pack, PackScan scan,
                                     uint64_t* valid_bytes);

// Where `magic` lies next from `offset` on; `size`, the file's, when nowhere.
absl::StatusOr<uint64_t> FindMagic(os::File& file, std::string_view magic, uint64_t offset, uint64_t size);

// How many chunks a sidecar of so many bytes names, as EncodeSidecar writes it; 0 for one that is none.
uint64_t ChunksOfSidecar(uint64_t sidecar_bytes);
std::string EncodeSidecar(PackId pack, uint64_t pack_bytes, const PackEntries& entries);
absl::StatusOr<PackEntries> DecodeSidecar(std::string_view bytes, PackId pack, uint64_t* pack_bytes);  // DATA_LOSS

}  // namespace bailiwick::store
