// Records of an audit log: lines of JSON and their entries. The hash is made right where the first byte says so.
#include "common/audit/record.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/json.h"
#include "common/audit/merkle.h"
#include "common/crypto/digest.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(record) {
  using namespace bailiwick;
  using namespace bailiwick::audit;
  const bool mend = (in.Byte() & 1) != 0;
  std::string line(in.Rest());
  if (auto object = CompactObject(line)) {
    REQUIRE(CompactObject(*object) == *object && object->find('\n') == std::string::npos);
    for (const auto& [name, value] : ObjectMembers(*object)) REQUIRE(!value.empty());
  }
  ObjectMembers(line);
  if (auto text = StringValue(line)) REQUIRE(text->size() <= 2 * line.size());
  if (auto entry = DecodeEntry(line); entry.ok()) REQUIRE(!entry->kind.empty() && !entry->hash.empty());
  if (mend) {
    const std::string salt(kSaltBytes, 's');
    const std::string hash =
        crypto::Sha256(absl::StrCat(absl::string_view("bailiwick-audit-v2\0", 19), salt, line)).Hex();
    absl::StrAppend(&line, ",\"salt\":\"", absl::BytesToHexString(salt), "\",\"hash\":\"", hash, "\"}");
  }
  auto entry = EntryOf(line, 7);
  auto decoded = Decode(line, 7);
  REQUIRE(!entry.ok() || IsSomeRecord(line));
  if (!decoded.ok()) return;
  REQUIRE(entry.ok() && *entry == decoded->entry && CheckNames(decoded->record.kind, "").ok());
  auto read = DecodeEntry(*entry);
  REQUIRE(read.ok() && read->kind == decoded->record.kind && read->at == decoded->record.at);
}
