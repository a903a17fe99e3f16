#include "common/base/digest.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace bailiwick {

std::string Digest::Hex() const { return absl::BytesToHexString({view().data(), view().size()}); }
std::string Digest::ShortHex() const { return Hex().substr(0, 12); }

absl::StatusOr<Digest> Digest::From(uint32_t algorithm, std::string_view value) {
  if (algorithm != kSha256) return absl::InvalidArgumentError(absl::StrCat("unknown digest algorithm ", algorithm));
  if (value.size() != kSize) {
    return absl::InvalidArgumentError(absl::StrCat("a SHA-256 digest has 32 bytes, not ", value.size()));
  }
  Digest d;
  d.algorithm = kSha256;
  std::memcpy(d.bytes.data(), value.data(), kSize);
  return d;
}

}  // namespace bailiwick
