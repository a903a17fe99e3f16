// Version records: what a version is, and its identity.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/crypto/sign.h"

namespace bailiwick::store {

struct VersionRecord {
  DatasetId dataset_id;
  std::string dataset;
  std::string home_site;
  Incarnation home_incarnation;
  uint64_t home_epoch = 0;
  VersionNumber number = 0;
  Digest parent;  // empty for the first
  Digest manifest_root;
  uint64_t entries = 0;
  uint64_t files = 0;
  uint64_t logical_bytes = 0;
  uint64_t skipped = 0;
  absl::Time committed_at;
  std::string message;
};

std::string EncodeVersionRecord(const VersionRecord& record);
absl::StatusOr<VersionRecord> DecodeVersionRecord(std::string_view bytes);  // strict; INVALID_ARGUMENT
// SHA-256 of the envelope's payload.
Digest VersionIdentity(const crypto::Envelope& envelope);

}  // namespace bailiwick::store
