#include "common/store/data_key.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/seal.h"
#include "common/store/pack.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kMagic = "BWDKEY";
constexpr char kFormat = 1;
constexpr char kKey = 1;
constexpr char kErased = 2;
constexpr size_t kIdBytes = 32;
constexpr size_t kIdOffset = 8;
constexpr size_t kWrappedOffset = kIdOffset + kIdBytes;
constexpr size_t kChecksumOffset = kWrappedOffset + crypto::kWrappedKeySize;
constexpr size_t kFileBytes = kChecksumOffset + 8;

std::string PathIn(const std::string& directory) { return os::JoinPath(directory, "key"); }

std::string Encode(const DataKeyFile& key) {
  std::string out(kMagic);
  out.push_back(kFormat);
  out.push_back(key.erased ? kErased : kKey);
  out += absl::HexStringToBytes(key.wrapping_key);
  out.resize(kWrappedOffset, '\0');
  if (!key.erased) out += key.wrapped;
  out.resize(kChecksumOffset, '\0');
  const uint64_t checksum = PackChecksum(out);
  out.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
  return out;
}

}  // namespace

std::string DataKeyPurpose(DatasetId dataset) { return absl::StrCat("bailiwick data key 1 of ", dataset.Hex()); }

absl::StatusOr<std::optional<DataKeyFile>> ReadDataKeyFile(os::Files* files, const std::string& directory) {
  const std::string path = PathIn(directory);
  auto bytes = os::ReadFile(files, path, 4096);
  if (absl::IsNotFound(bytes.status())) return std::nullopt;
  BW_RETURN_IF_ERROR(bytes.status());
  const absl::Status damaged = absl::DataLossError(absl::StrCat("the data key in ", path, " is damaged"));
  if (bytes->size() < kIdOffset || bytes->compare(0, kMagic.size(), kMagic) != 0) return damaged;
  if (const int format = static_cast<uint8_t>((*bytes)[6]); format > kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " was written by a newer Bailiwick (key format ", format, "); use that version"));
  }
  if (bytes->size() != kFileBytes || (*bytes)[6] != kFormat) return damaged;
  uint64_t checksum;
  std::memcpy(&checksum, bytes->data() + kChecksumOffset, sizeof checksum);
  if (checksum != PackChecksum(std::string_view(*bytes).substr(0, kChecksumOffset))) return damaged;
  if ((*bytes)[7] != kKey && (*bytes)[7] != kErased) return damaged;
  DataKeyFile key;
  key.wrapping_key = absl::BytesToHexString(bytes->substr(kIdOffset, kIdBytes));
  key.wrapped = bytes->substr(kWrappedOffset, crypto::kWrappedKeySize);
  key.erased = (*bytes)[7] == kErased;
  return key;
}

absl::Status WriteDataKeyFile(os::Files* files, const std::string& directory, const DataKeyFile& key) {
  return os::WriteFileAtomically(files, PathIn(directory), Encode(key));
}

absl::Status EraseDataKeyFile(os::Files* files, const std::string& directory) {
  auto known = ReadDataKeyFile(files, directory);
  DataKeyFile erased;
  if (known.ok() && known->has_value()) erased.wrapping_key = (*known)->wrapping_key;
  erased.erased = true;
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, files->OpenReadWrite(PathIn(directory), false));
  BW_RETURN_IF_ERROR(file->WriteAt(0, Encode(erased)));
  BW_RETURN_IF_ERROR(file->Truncate(kFileBytes));
  return file->Sync();
}

}  // namespace bailiwick::store
