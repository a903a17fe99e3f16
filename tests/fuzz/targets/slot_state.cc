// The state file of a slot; its checksum is made right where the first byte says so.
#include "services/agent/replica/slot_state.h"

#include "absl/strings/str_cat.h"
#include "common/crypto/digest.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(slot_state) {
  using namespace bailiwick;
  const bool mend = (in.Byte() & 1) != 0;
  std::string text(in.Rest());
  if (mend) absl::StrAppend(&text, "sha256 ", crypto::Sha256(text).Hex(), "\n");
  auto state = agent::DecodeSlotState(text);
  if (state.ok()) REQUIRE(agent::EncodeSlotState(*state) == text);
}
