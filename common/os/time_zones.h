// The system's time zone data: the only way to it. Only who signs policy reads it; agents use what the policy carries.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bailiwick::os {

// NOT_FOUND: the system has no zone of this name (an IANA name such as Europe/Berlin, or UTC). Thread-safe.
absl::StatusOr<absl::TimeZone> LoadTimeZone(const std::string& name);

}  // namespace bailiwick::os
