// What somebody who mistyped a word may have meant. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bailiwick {

// The closest of `options` to `text`, or empty when none is near.
std::string Suggest(std::string_view text, const std::vector<std::string>& options);

}  // namespace bailiwick
