// For libraries that wait until a moment of the system's wall clock: from now, whatever Clock says the time is.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace bailiwick::os {

std::chrono::system_clock::time_point DeadlineIn(absl::Duration wait);

}  // namespace bailiwick::os
