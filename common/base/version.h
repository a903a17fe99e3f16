// What this build is and which formats and protocols it speaks. A reader refuses what is newer than it knows.
#pragma once

#include <cstdint>
#include <string_view>

namespace bailiwick {

inline constexpr std::string_view kBuildVersion = BAILIWICK_VERSION;
inline constexpr uint32_t kProtocolMin = 1;  // session and transfer
inline constexpr uint32_t kProtocolMax = 1;
inline constexpr uint32_t kDataFormat = 2;       // of a data directory, the highest that this build reads
inline constexpr uint32_t kPlainDataFormat = 1;  // as long as no dataset in it is encrypted: older builds read it

}  // namespace bailiwick
