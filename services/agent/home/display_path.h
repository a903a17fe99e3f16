// A path as it may stand in messages, logs and protobuf strings: valid UTF-8 on one line. Names are any bytes; what is
// not printable text is escaped C-style.
#pragma once

#include <string>
#include <string_view>

namespace bailiwick::agent {

std::string DisplayPath(std::string_view path);

}  // namespace bailiwick::agent
