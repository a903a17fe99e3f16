#include "common/store/version.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "bailiwick/store/v1/store.pb.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::store {
namespace {

constexpr uint32_t kFormat = 1;
constexpr size_t kMaxRecordBytes = 64 << 10;
constexpr int64_t kMaxSeconds = INT64_MAX / 1'000'000'000 - 1;  // what nanoseconds since 1970 can tell

bool IsWritable(const google::protobuf::Timestamp& t) {
  return t.seconds() >= 0 && t.seconds() <= kMaxSeconds && t.nanos() >= 0 && t.nanos() < 1'000'000'000;
}

}  // namespace

std::string EncodeVersionRecord(const VersionRecord& record) {
  v1::VersionRecord r;
  r.set_format(kFormat);
  r.set_dataset_id(record.dataset_id.str());
  r.set_dataset(record.dataset);
  r.set_home_site(record.home_site);
  r.set_home_incarnation(record.home_incarnation.str());
  r.set_home_epoch(record.home_epoch);
  r.set_number(record.number);
  if (!record.parent.empty()) {
    r.mutable_parent()->set_algorithm(record.parent.algorithm);
    r.mutable_parent()->set_value(std::string(record.parent.view()));
  }
  r.mutable_manifest_root()->set_algorithm(record.manifest_root.algorithm);
  r.mutable_manifest_root()->set_value(std::string(record.manifest_root.view()));
  r.set_entries(record.entries);
  r.set_files(record.files);
  r.set_logical_bytes(record.logical_bytes);
  r.set_skipped(record.skipped);
  const int64_t nanos = std::max<int64_t>(0, absl::ToUnixNanos(record.committed_at));
  r.mutable_committed_at()->set_seconds(nanos / 1'000'000'000);
  r.mutable_committed_at()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  r.set_message(record.message);
  return r.SerializeAsString();
}

absl::StatusOr<VersionRecord> DecodeVersionRecord(std::string_view bytes) {
  v1::VersionRecord r;
  if (bytes.size() > kMaxRecordBytes || !r.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("the version record cannot be read");
  }
  if (r.format() != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat("version record format ", r.format(), " is not known here"));
  }
  if (r.number() == 0 || r.number() > INT64_MAX)
    return absl::InvalidArgumentError("the version record has no valid number");
  if (!IsWritable(r.committed_at())) return absl::InvalidArgumentError("the version record has no valid time");
  if (r.dataset().empty() || r.home_site().empty()) {
    return absl::InvalidArgumentError("the version record names no dataset or home");
  }
  VersionRecord record;
  BW_ASSIGN_OR_RETURN(record.dataset_id, DatasetId::From(r.dataset_id()));
  BW_ASSIGN_OR_RETURN(record.home_incarnation, Incarnation::From(r.home_incarnation()));
  record.dataset = r.dataset();
  record.home_site = r.home_site();
  record.home_epoch = r.home_epoch();
  record.number = r.number();
  if (r.has_parent()) {
    BW_ASSIGN_OR_RETURN(record.parent, Digest::From(r.parent().algorithm(), r.parent().value()));
  }
  BW_ASSIGN_OR_RETURN(record.manifest_root, Digest::From(r.manifest_root().algorithm(), r.manifest_root().value()));
  record.entries = r.entries();
  record.files = r.files();
  record.logical_bytes = r.logical_bytes();
  record.skipped = r.skipped();
  record.committed_at = absl::FromUnixSeconds(r.committed_at().seconds()) + absl::Nanoseconds(r.committed_at().nanos());
  record.message = r.message();
  return record;
}

Digest VersionIdentity(const crypto::Envelope& envelope) { return crypto::Sha256(envelope.payload); }

}  // namespace bailiwick::store
