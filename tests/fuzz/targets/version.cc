// A version record: signed by a home, read by everybody.
#include "common/store/version.h"

#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(version) {
  using namespace bailiwick::store;
  auto record = DecodeVersionRecord(in.Rest());
  if (!record.ok()) return;
  REQUIRE(record->number > 0 && !record->dataset.empty() && !record->manifest_root.empty());
  const std::string bytes = EncodeVersionRecord(*record);
  auto again = DecodeVersionRecord(bytes);
  REQUIRE(again.ok() && again->committed_at == record->committed_at && again->parent == record->parent);
  REQUIRE(EncodeVersionRecord(*again) == bytes);
}
