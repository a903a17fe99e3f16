// Homes that have other content under a number than what they announced. What is kept of it is the sentence.
#pragma once

#include <string>

#include "absl/strings/match.h"

namespace bailiwick::coordinator {

inline constexpr char kNotTheOne[] = " is not the one known here";

inline bool TellsConflict(const std::string& source_problem) { return absl::StrContains(source_problem, kNotTheOne); }

}  // namespace bailiwick::coordinator
