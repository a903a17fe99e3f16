// Packs and sidecars as a disk gives them back, plain and sealed. Checksums and seals are made right where the first
// byte says so, so that what lies behind them is reached.
#include "common/store/pack.h"

#include <cstring>

#include "common/store/dataset_store.h"
#include "common/store/pack_seal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

namespace {

using namespace bailiwick;
using namespace bailiwick::store;

constexpr PackId kPack = 7;

// Every record's checksum, where it can have one.
void MendChecksums(std::string* pack) {
  for (size_t at = pack->find("BWCR"); at != pack->npos; at = pack->find("BWCR", at + 1)) {
    uint32_t length;
    if (pack->size() - at < kRecordHeaderBytes) return;
    std::memcpy(&length, pack->data() + at + 8, sizeof length);
    if (length > pack->size() - at - kRecordHeaderBytes) continue;
    const uint64_t sum = PackChecksum(std::string_view(*pack).substr(at + kRecordHeaderBytes, length));
    std::memcpy(pack->data() + at + 16, &sum, sizeof sum);
  }
}

void CheckEntries(const PackEntries& entries, uint64_t size) {
  for (const auto& [digest, at] : entries) {
    REQUIRE(!digest.empty() && at.pack == kPack && at.stored_length <= kMaxChunkBytes &&
            at.raw_length <= kMaxChunkBytes);
    REQUIRE(at.offset <= size && at.stored_length <= size - at.offset);
  }
}

}  // namespace

FUZZ_TARGET(pack) {
  const uint8_t mode = in.Byte();
  std::string bytes(in.Rest());
  const DatasetCipher cipher(*crypto::SecretKey::From(std::string(32, 's')), DatasetId());
  if (mode & 1) {
    bytes.insert(0, EncodePackHeader(DatasetId(), kPack));
    MendChecksums(&bytes);
  }
  for (PackScan scan : {PackScan::kPrefix, PackScan::kWhatIsWhole}) {
    uint64_t valid = 0;
    auto file = fuzz::FileOf(bytes);
    auto entries = ScanPack(*file, DatasetId(), kPack, scan, &valid);
    REQUIRE(valid <= bytes.size());
    if (entries.ok()) CheckEntries(*entries, valid);
    auto sealed = ScanSealedPack(*file, cipher, DatasetId(), kPack, scan, &valid);
    REQUIRE(valid <= bytes.size());
    if (sealed.ok()) CheckEntries(*sealed, valid);
  }
  if (mode & 2) {
    const uint64_t sum = PackChecksum(bytes);
    bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  }
  uint64_t size = 0;
  cipher.OpenSidecar(bytes, kPack, &size).IgnoreError();
  auto sidecar = DecodeSidecar(bytes, kPack, &size);
  if (!sidecar.ok()) return;
  CheckEntries(*sidecar, size);
  auto again = DecodeSidecar(EncodeSidecar(kPack, size, *sidecar), kPack, &size);
  REQUIRE(again.ok() && again->size() == sidecar->size());
}
