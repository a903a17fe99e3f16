// Content addresses. The algorithm byte travels with the value everywhere, so that a successor of SHA-256 fits.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace bailiwick {

struct Digest {
  static constexpr size_t kSize = 32;
  static constexpr uint8_t kSha256 = 1;

  uint8_t algorithm = 0;  // 0: no digest
  std::array<uint8_t, kSize> bytes{};

  bool empty() const { return algorithm == 0; }
  auto operator<=>(const Digest&) const = default;

  std::string Hex() const;       // 64 lower-case digits
  std::string ShortHex() const;  // the first 12, for people
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), kSize}; }
  // INVALID_ARGUMENT unless the algorithm is known and the value has its length.
  static absl::StatusOr<Digest> From(uint32_t algorithm, std::string_view value);

  template <typename H>
  friend H AbslHashValue(H state, const Digest& d) {
    uint64_t head;
    std::memcpy(&head, d.bytes.data(), sizeof head);
    return H::combine(std::move(state), head);
  }
};

}  // namespace bailiwick
