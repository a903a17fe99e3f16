#include "services/agent/home/display_path.h"

#include <cstdint>

namespace bailiwick::agent {
namespace {

// Length of the valid UTF-8 sequence at the front, 0 if there is none.
size_t SequenceLength(std::string_view s) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  uint8_t lead = byte(0);
  size_t length = lead < 0x80                   ? 1
                  : lead >= 0xC2 && lead < 0xE0 ? 2
                  : lead >= 0xE0 && lead < 0xF0 ? 3
                  : lead >= 0xF0 && lead < 0xF5 ? 4
                                                : 0;
  if (length == 0 || s.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;   // overlong
  if (lead == 0xED && byte(1) >= 0xA0) return 0;  // surrogates
  if (lead == 0xF0 && byte(1) < 0x90) return 0;   // overlong
  if (lead == 0xF4 && byte(1) >= 0x90) return 0;  // beyond Unicode
  return length;
}

}  // namespace

std::string DisplayPath(std::string_view path) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(path.size());
  for (size_t i = 0; i < path.size();) {
    size_t length = SequenceLength(path.substr(i));
    uint8_t byte = static_cast<uint8_t>(path[i]);
    if (length == 1 && byte >= 0x20 && byte != 0x7F && byte != '\\') {
      out += path[i];
    } else if (length > 1) {
      out += path.substr(i, length);
    } else {
      length = 1;
      if (byte == '\n') {
        out += "\\n";
      } else if (byte == '\\') {
        out += "\\\\";
      } else {
        out += "\\x";
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
      }
    }
    i += length;
  }
  return out;
}

}  // namespace bailiwick::agent
