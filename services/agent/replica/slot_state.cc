#include "services/agent/replica/slot_state.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::agent {
namespace {

// Lines "key value" in this order; the last is the SHA-256 of those before.
constexpr const char* kFirstLine = "bailiwick-slot 1";

std::string DigestText(const Digest& digest) { return absl::StrCat(digest.algorithm, ":", digest.Hex()); }

absl::StatusOr<Digest> ParseDigest(absl::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  uint32_t algorithm = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &algorithm)) return absl::DataLossError("a digest is malformed");
  return Digest::From(algorithm, absl::HexStringToBytes(parts[1]));
}

}  // namespace

std::string EncodeSlotState(const SlotState& state) {
  std::string text =
      absl::StrCat(kFirstLine, "\nversion ", state.version, "\nidentity ", DigestText(state.identity), "\nmanifest ",
                   DigestText(state.manifest), "\nwritable ", state.style.writable ? 1 : 0, "\nowner ",
                   state.style.owner ? 1 : 0, "\nsuspect ", state.suspect ? 1 : 0, "\n");
  return absl::StrCat(text, "sha256 ", crypto::Sha256(text).Hex(), "\n");
}

absl::StatusOr<SlotState> DecodeSlotState(std::string_view bytes) {
  const absl::string_view text(bytes.data(), bytes.size());
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines[0] != kFirstLine) {
    if (lines[0].substr(0, 15) == "bailiwick-slot ") {
      return absl::FailedPreconditionError("the slot's state was written by a newer version of Bailiwick");
    }
    return absl::DataLossError("not a slot state");
  }
  static constexpr const char* kKeys[] = {"version ", "identity ", "manifest ", "writable ",
                                          "owner ",   "suspect ",  "sha256 "};
  if (lines.size() != 9 || !lines[8].empty()) return absl::DataLossError("a slot state has nine lines");
  std::vector<absl::string_view> values;
  for (size_t i = 0; i < 7; ++i) {
    absl::string_view key = kKeys[i];
    if (lines[i + 1].substr(0, key.size()) != key)
      return absl::DataLossError(absl::StrCat("line ", i + 2, " is not ", key));
    values.push_back(lines[i + 1].substr(key.size()));
  }
  size_t signed_length = static_cast<size_t>(lines[7].data() - text.data());
  if (values[6] != crypto::Sha256(bytes.substr(0, signed_length)).Hex())
    return absl::DataLossError("checksum mismatch");
  SlotState state;
  if (!absl::SimpleAtoi(values[0], &state.version)) return absl::DataLossError("the version is no number");
  BW_ASSIGN_OR_RETURN(state.identity, ParseDigest(values[1]));
  BW_ASSIGN_OR_RETURN(state.manifest, ParseDigest(values[2]));
  state.style.writable = values[3] == "1";
  state.style.owner = values[4] == "1";
  state.suspect = values[5] == "1";
  if (EncodeSlotState(state) != bytes) return absl::DataLossError("a line is not as it is written");
  return state;
}

}  // namespace bailiwick::agent
