// Moments as everything here writes them (RFC 3339, UTC, whole seconds): 2026-03-01T12:00:00Z.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace bailiwick {

inline std::string UtcText(absl::Time at) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", at, absl::UTCTimeZone()); }

}  // namespace bailiwick
