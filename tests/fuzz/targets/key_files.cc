// Key files: storage keys as text, data keys in binary, signing keys in PEM.
#include "common/store/key_files.h"

#include "common/store/data_key.h"
#include "common/store/pack.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

FUZZ_TARGET(key_files) {
  using namespace bailiwick;
  const uint8_t mode = in.Byte();
  std::string bytes(in.Rest());
  fuzz::MemoryFiles files;
  store::KeyFiles keys(&files, os::Random::System(), "keys");
  if (auto key = keys.Import(bytes); key.ok()) {
    auto text = keys.Export(key->id);
    REQUIRE(text.ok());
    auto again = keys.Import(*text);
    REQUIRE(again.ok() && again->id == key->id && again->created == key->created);
  }
  if (auto key = crypto::SigningKey::FromPem(bytes); key.ok()) {
    REQUIRE(crypto::SigningKey::FromPem(key->ToPem())->public_key() == key->public_key());
  }
  if (mode & 1) {
    bytes.insert(0, "BWDKEY");
    bytes.resize(8 + 32 + crypto::kWrappedKeySize);
    const uint64_t sum = store::PackChecksum(bytes);
    bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  }
  files.Put("set/key", bytes);
  auto key = store::ReadDataKeyFile(&files, "set");
  if (!key.ok()) return;
  REQUIRE(key->has_value() && (*key)->wrapping_key.size() == 64);
  REQUIRE(store::WriteDataKeyFile(&files, "set", **key).ok());
  REQUIRE((*key)->erased || *files.Find("set/key") == bytes);
}
