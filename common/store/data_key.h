// The file <dataset>/key: the data key of one dataset, wrapped. A dataset without the file is kept plain.
//   "BWDKEY" format(1) state(1: 1 a key, 2 erased) wrapping key id(32) wrapped data key(60) XXH3-64 of all before(8)
// Private to the store, but for reading what wraps it.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/os/files.h"

namespace bailiwick::store {

struct DataKeyFile {
  std::string wrapping_key;  // id of the key that wraps it, 64 hexadecimal digits
  std::string wrapped;
  bool erased = false;  // the data key was destroyed on purpose
};

// `directory` is the dataset's. nullopt: no file. DATA_LOSS: damaged; FAILED_PRECONDITION: of a newer format.
absl::StatusOr<std::optional<DataKeyFile>> ReadDataKeyFile(os::Files* files, const std::string& directory);
// Old or new, never half; durable on OK.
absl::Status WriteDataKeyFile(os::Files* files, const std::string& directory, const DataKeyFile& key);
// Overwrites the wrapped key where it lies, so that not even the file system's free space holds it. Durable on OK;
// idempotent; also of a damaged file. NOT_FOUND: there is none.
absl::Status EraseDataKeyFile(os::Files* files, const std::string& directory);
// What a data key is wrapped for.
std::string DataKeyPurpose(DatasetId dataset);

}  // namespace bailiwick::store
