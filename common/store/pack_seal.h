// Packs whose records are sealed. Private to the store.
//   <id>.spack: "BWPACK" format(1: 2) cipher(1: 1 = AES-256-GCM) dataset(16) pack id(8) salt(16), then records
//   record:     "BWSR" stored length(4), then sealed: codec(1) algorithm(1) 0(2) raw length(4) digest(32) 0(12), the
//               stored bytes; then the tag(16)
//   <id>.sidx:  "BWPIDX" format(1: 2) cipher(1) pack id(8) nonce(12), then a plain sidecar, sealed, with its tag
// Keys: HKDF-SHA256 of the dataset's data key; a pack's with its random salt, the dataset and the pack id. The nonce of
// a record is its offset in the pack: a pack is only ever appended to, and never again after it was cut back.
// Associated data: dataset, pack, offset, length. So a record fits in no other place, pack or dataset. What stays
// readable without the key: the number of packs, their sizes and times, the lengths of their records.
#pragma once

#include <memory>
#include <string>

#include "common/crypto/seal.h"
#include "common/store/pack.h"

namespace bailiwick::store {

inline constexpr size_t kPackSaltBytes = 16;
inline constexpr size_t kSealedHeaderBytes = kPackHeaderBytes + kPackSaltBytes;
// Around the stored bytes: as much before them as in a plain pack, and the tag behind.
inline constexpr size_t kSealedTrailerBytes = crypto::kTagSize;
inline constexpr size_t kSidecarClearBytes = 16;
inline constexpr size_t kSealedSidecarExtraBytes = kSidecarClearBytes + crypto::kNonceSize + crypto::kTagSize;

// One pack's. Immutable, thread-safe.
class PackCipher {
 public:
  PackCipher(const crypto::SecretKey& key, DatasetId dataset, PackId pack)
      : key_(key), dataset_(dataset), pack_(pack) {}
  // The whole record whose stored bytes begin at `at.offset`, appended.
  void AppendRecord(const Digest& digest, const ChunkLocation& at, std::string_view stored, std::string* out) const;
  struct Record {
    Digest digest;
    ChunkLocation at;
    std::string stored;
  };
  // `record` lies at `offset`. DATA_LOSS: not what was sealed there.
  absl::StatusOr<Record> OpenRecord(uint64_t offset, std::string_view record) const;

 private:
  std::string Associated(uint64_t offset, uint32_t length) const;
  const crypto::SecretKey key_;
  const DatasetId dataset_;
  const PackId pack_;
};

// One dataset's. Immutable, thread-safe.
class DatasetCipher {
 public:
  DatasetCipher(const crypto::SecretKey& data_key, DatasetId dataset);
  const crypto::SecretKey& data_key() const { return data_key_; }
  std::unique_ptr<PackCipher> ForPack(PackId pack, std::string_view salt) const;
  // The name under which the index knows a chunk.
  Digest Blind(const Digest& digest) const { return crypto::Blind(index_key_, digest); }
  std::string SealSidecar(PackId pack, uint64_t pack_bytes, const PackEntries& entries,
                          const crypto::Nonce& random_nonce) const;
  absl::StatusOr<PackEntries> OpenSidecar(std::string_view bytes, PackId pack, uint64_t* pack_bytes) const;

 private:
  const crypto::SecretKey data_key_;
  const DatasetId dataset_;
  const crypto::SecretKey index_key_;
  const crypto::SecretKey sidecar_key_;
};

std::string EncodeSealedHeader(DatasetId dataset, PackId pack, std::string_view salt);
// The salt in a sealed pack's header. DATA_LOSS: another pack's or dataset's, or of a newer format.
absl::StatusOr<std::string> ReadSalt(os::File& file, DatasetId dataset, PackId pack);

// As ScanPack.
absl::StatusOr<PackEntries> ScanSealedPack(os::File& file, const DatasetCipher& cipher, DatasetId dataset, PackId pack,
                                           PackScan scan, uint64_t* valid_bytes);

}  // namespace bailiwick::store
