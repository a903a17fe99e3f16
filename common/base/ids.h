// Strong types for identifiers.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace bailiwick {

// 16 bytes that name something; Tag keeps the kinds apart.
template <typename Tag>
struct Id16 {
  std::array<uint8_t, 16> bytes{};

  auto operator<=>(const Id16&) const = default;
  bool empty() const { return *this == Id16{}; }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  std::string str() const { return std::string(view()); }
  std::string Hex() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (uint8_t b : bytes) {
      out += kDigits[b >> 4];
      out += kDigits[b & 15];
    }
    return out;
  }
  static absl::StatusOr<Id16> From(std::string_view value) {
    if (value.size() != 16) return absl::InvalidArgumentError("an id has 16 bytes");
    Id16 id;
    std::memcpy(id.bytes.data(), value.data(), 16);
    return id;
  }
  template <typename H>
  friend H AbslHashValue(H state, const Id16& id) {
    return H::combine(std::move(state), id.bytes);
  }
};

using DatasetId = Id16<struct DatasetIdTag>;
using Incarnation = Id16<struct IncarnationTag>;

using VersionNumber = uint64_t;  // 0: none

}  // namespace bailiwick
