// Sizes and durations as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bailiwick {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

std::string FormatBytes(uint64_t bytes);                        // "512 B", "1.5 MiB"
std::string FormatAge(absl::Duration age);                      // "8s", "3m12s", "2h05m", "4d"
absl::StatusOr<uint64_t> ParseBytes(std::string_view text);      // "32KiB", "1 MiB", "4096"; binary units only
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);  // "90s", "15m", "1h30m", "30d", "250ms"; no negatives
inline constexpr absl::Duration kMaxDuration = absl::Seconds(315'576'000'000);  // google.protobuf.Duration's, 10,000 years

}  // namespace bailiwick
