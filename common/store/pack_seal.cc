#include "common/store/pack_seal.h"

#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/dataset_store.h"
#include "common/store/fixed_bytes.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kPackMagic = "BWPACK";
constexpr std::string_view kRecordMagic = "BWSR";
constexpr std::string_view kSidecarMagic = "BWPIDX";
constexpr char kSealedFormat = 2;
constexpr char kAes256Gcm = 1;
constexpr size_t kClearBytes = 8;  // of a record: magic and length

std::string Purpose(std::string_view what, DatasetId dataset) {
  return absl::StrCat(absl::string_view(what.data(), what.size()), dataset.str());
}

std::string SidecarClear(PackId pack) {
  std::string out(kSidecarMagic);
  out.push_back(kSealedFormat);
  out.push_back(kAes256Gcm);
  Put(out, pack);
  return out;
}

absl::Status Changed() { return absl::DataLossError("a sealed record was changed, or is not where it was written"); }

}  // namespace

std::string PackCipher::Associated(uint64_t offset, uint32_t length) const {
  std::string out = dataset_.str();
  Put(out, pack_);
  Put(out, offset);
  Put(out, length);
  return out;
}

void PackCipher::AppendRecord(const Digest& digest, const ChunkLocation& at, std::string_view stored,
                              std::string* out) const {
  const uint64_t offset = at.offset - kRecordHeaderBytes;
  std::string plain;
  plain.reserve(kRecordHeaderBytes - kClearBytes + stored.size());
  plain.push_back(static_cast<char>(at.codec));
  plain.push_back(static_cast<char>(digest.algorithm));
  Put<uint16_t>(plain, 0);
  Put(plain, at.raw_length);
  plain.append(digest.view());
  plain.resize(kRecordHeaderBytes - kClearBytes, '\0');
  plain.append(stored);
  out->append(kRecordMagic);
  Put(*out, at.stored_length);
  crypto::Seal(key_, crypto::CounterNonce(offset), Associated(offset, at.stored_length), plain, out);
}

absl::StatusOr<PackCipher::Record> PackCipher::OpenRecord(uint64_t offset, std::string_view record) const {
  if (record.size() < kRecordHeaderBytes + kSealedTrailerBytes || record.substr(0, 4) != kRecordMagic) return Changed();
  std::string_view in = record.substr(4);
  const uint32_t length = Take<uint32_t>(in);
  if (record.size() != kRecordHeaderBytes + length + kSealedTrailerBytes) return Changed();
  auto plain = crypto::Open(key_, crypto::CounterNonce(offset), Associated(offset, length), in);
  if (!plain.ok()) return Changed();
  in = *plain;
  Record out;
  out.at.pack = pack_;
  out.at.offset = offset + kRecordHeaderBytes;
  out.at.stored_length = length;
  out.at.codec = Take<uint8_t>(in);
  const uint8_t algorithm = Take<uint8_t>(in);
  in.remove_prefix(2);
  out.at.raw_length = Take<uint32_t>(in);
  auto digest = Digest::From(algorithm, in.substr(0, Digest::kSize));
  if (!digest.ok() || out.at.raw_length > kMaxChunkBytes) return Changed();
  out.digest = *digest;
  out.stored = std::move(*plain);
  out.stored.erase(0, kRecordHeaderBytes - kClearBytes);
  return out;
}

DatasetCipher::DatasetCipher(const crypto::SecretKey& data_key, DatasetId dataset)
    : data_key_(data_key),
      dataset_(dataset),
      index_key_(crypto::DeriveKey(data_key.view(), "", Purpose("bailiwick index 1", dataset))),
      sidecar_key_(crypto::DeriveKey(data_key.view(), "", Purpose("bailiwick sidecar 1", dataset))) {}

std::unique_ptr<PackCipher> DatasetCipher::ForPack(PackId pack, std::string_view salt) const {
  std::string info = Purpose("bailiwick pack 1", dataset_);
  Put(info, pack);
  return std::make_unique<PackCipher>(crypto::DeriveKey(data_key_.view(), salt, info), dataset_, pack);
}

std::string DatasetCipher::SealSidecar(PackId pack, uint64_t pack_bytes, const PackEntries& entries,
                                       const crypto::Nonce& random_nonce) const {
  std::string out = SidecarClear(pack);
  out.append(reinterpret_cast<const char*>(random_nonce.data()), random_nonce.size());
  crypto::Seal(sidecar_key_, random_nonce, Purpose(SidecarClear(pack), dataset_),
               EncodeSidecar(pack, pack_bytes, entries), &out);
  return out;
}

absl::StatusOr<PackEntries> DatasetCipher::OpenSidecar(std::string_view bytes, PackId pack,
                                                       uint64_t* pack_bytes) const {
  const std::string clear = SidecarClear(pack);
  if (bytes.size() < kSidecarClearBytes + crypto::kNonceSize || bytes.substr(0, kSidecarClearBytes) != clear) {
    return absl::DataLossError(absl::StrCat("the sidecar of pack ", pack, " is damaged"));
  }
  crypto::Nonce nonce;
  std::memcpy(nonce.data(), bytes.data() + kSidecarClearBytes, nonce.size());
  BW_ASSIGN_OR_RETURN(std::string plain, crypto::Open(sidecar_key_, nonce, Purpose(clear, dataset_),
                                                      bytes.substr(kSidecarClearBytes + crypto::kNonceSize)));
  return DecodeSidecar(plain, pack, pack_bytes);
}

std::string EncodeSealedHeader(DatasetId dataset, PackId pack, std::string_view salt) {
  std::string out(kPackMagic);
  out.push_back(kSealedFormat);
  out.push_back(kAes256Gcm);
  out.append(dataset.view());
  Put(out, pack);
  out.append(salt);
  return out;
}

absl::StatusOr<std::string> ReadSalt(os::File& file, DatasetId dataset, PackId pack) {
  std::string header(kSealedHeaderBytes, '\0');
  BW_ASSIGN_OR_RETURN(size_t n, file.ReadAt(0, header.data(), header.size()));
  std::string salt = header.substr(kPackHeaderBytes);
  if (n < header.size() || header != EncodeSealedHeader(dataset, pack, salt)) {
    return absl::DataLossError(absl::StrCat("pack ", pack, " is not a pack of this dataset or of a newer format"));
  }
  return salt;
}

namespace {

// The record at `offset`, or nullopt when there is none that is whole.
absl::StatusOr<std::optional<PackCipher::Record>> ReadSealedRecord(os::File& file, const PackCipher& cipher,
                                                                   uint64_t offset, uint64_t size) {
  char clear[kClearBytes];
  if (size - offset < kRecordHeaderBytes + kSealedTrailerBytes) return std::nullopt;
  BW_ASSIGN_OR_RETURN(size_t n, file.ReadAt(offset, clear, sizeof clear));
  std::string_view in(clear, n);
  if (n < sizeof clear || in.substr(0, kRecordMagic.size()) != kRecordMagic) return std::nullopt;
  in.remove_prefix(kRecordMagic.size());
  const uint32_t length = Take<uint32_t>(in);
  const uint64_t whole = kRecordHeaderBytes + uint64_t{length} + kSealedTrailerBytes;
  if (length > kMaxChunkBytes || whole > size - offset) return std::nullopt;
  std::string bytes(whole, '\0');
  BW_ASSIGN_OR_RETURN(n, file.ReadAt(offset, bytes.data(), bytes.size()));
  if (n < bytes.size()) return std::nullopt;
  auto record = cipher.OpenRecord(offset, bytes);
  if (!record.ok()) return std::nullopt;
  return *std::move(record);
}

}  // namespace

absl::StatusOr<PackEntries> ScanSealedPack(os::File& file, const DatasetCipher& dataset_cipher, DatasetId dataset,
                                           PackId pack, PackScan scan, uint64_t* valid_bytes) {
  *valid_bytes = 0;
  PackEntries entries;
  BW_ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  if (size < kSealedHeaderBytes) return entries;  // cut off before anything was in it
  auto salt = ReadSalt(file, dataset, pack);
  if (!salt.ok()) {
    char first = '\0';
    BW_RETURN_IF_ERROR(file.ReadAt(0, &first, 1).status());
    if (first == '\0') return entries;  // never written
    return salt.status();
  }
  const std::unique_ptr<PackCipher> cipher = dataset_cipher.ForPack(pack, *salt);
  *valid_bytes = kSealedHeaderBytes;
  uint64_t offset = kSealedHeaderBytes;
  while (offset < size) {
    BW_ASSIGN_OR_RETURN(auto record, ReadSealedRecord(file, *cipher, offset, size));
    if (record.has_value()) {
      offset = record->at.offset + record->at.stored_length + kSealedTrailerBytes;
      *valid_bytes = offset;
      entries.emplace_back(record->digest, record->at);
    } else if (scan == PackScan::kPrefix) {
      break;
    } else {
      BW_ASSIGN_OR_RETURN(offset, FindMagic(file, kRecordMagic, offset + 1, size));
    }
  }
  return entries;
}

}  // namespace bailiwick::store
