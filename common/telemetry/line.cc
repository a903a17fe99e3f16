#include "common/telemetry/line.h"

#include <cstdint>
#include <cstdio>

namespace bailiwick::telemetry {
namespace {

// Length of the well-formed UTF-8 sequence at the start of s; 0 if there is none (overlong forms and surrogates
// included).
size_t Utf8Length(std::string_view s) {
  auto byte = [&](size_t i) { return i < s.size() ? static_cast<uint8_t>(s[i]) : uint8_t{0}; };
  auto tail = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xBF) { return byte(i) >= low && byte(i) <= high; };
  uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    uint8_t low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
    return tail(1, low, high) && tail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    uint8_t low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    return tail(1, low, high) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

bool NeedsQuotes(std::string_view value) {
  if (value.empty()) return true;
  for (char c : value) {
    uint8_t b = static_cast<uint8_t>(c);
    if (b <= ' ' || b >= 0x7F || c == '"' || c == '\\' || c == '=') return true;
  }
  return false;
}

// Numbers as std::to_string writes them; it also writes nan and inf, which are no JSON.
bool IsJsonLiteral(std::string_view value) {
  if (value == "true" || value == "false") return true;
  size_t i = !value.empty() && value[0] == '-' ? 1 : 0;
  bool digits = false, point = false;
  for (; i < value.size(); ++i) {
    if (value[i] >= '0' && value[i] <= '9') {
      digits = true;
    } else if (value[i] == '.' && digits && !point) {
      point = true;
    } else {
      return false;
    }
  }
  return digits && value.back() != '.';
}

}  // namespace

std::string_view LevelName(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "error";
}

std::string JsonString(std::string_view bytes) {
  std::string out = "\"";
  while (!bytes.empty()) {
    size_t length = Utf8Length(bytes);
    uint8_t b = static_cast<uint8_t>(bytes[0]);
    if (length == 0) {
      out += "\xEF\xBF\xBD";
      length = 1;
    } else if (b == '"' || b == '\\') {
      out += '\\';
      out += bytes[0];
    } else if (b == '\n') {
      out += "\\n";
    } else if (b == '\t') {
      out += "\\t";
    } else if (b == '\r') {
      out += "\\r";
    } else if (b < 0x20 || b == 0x7F || (b == 0xC2 && static_cast<uint8_t>(bytes[1]) < 0xA0)) {
      // Control characters, also the two-byte ones: a name must not move the cursor of who reads the log.
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", b == 0xC2 ? static_cast<uint8_t>(bytes[1]) : b);
      out += escape;
    } else {
      out.append(bytes.substr(0, length));
    }
    bytes.remove_prefix(length);
  }
  out += '"';
  return out;
}

std::string FormatLine(Format format, absl::Time at, Level level, std::string_view process, std::string_view event,
                       std::initializer_list<Field> fields) {
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", at, absl::UTCTimeZone());
  std::string out;
  if (format == Format::kText) {
    out = time;
    out.append(" ").append(LevelName(level)).append(" ");
    out.append(NeedsQuotes(process) ? JsonString(process) : std::string(process)).append(" ");
    out.append(NeedsQuotes(event) ? JsonString(event) : std::string(event));
    for (const Field& field : fields) {
      out.append(" ").append(NeedsQuotes(field.key) ? JsonString(field.key) : field.key).append("=");
      out.append(NeedsQuotes(field.value) ? JsonString(field.value) : field.value);
    }
    return out;
  }
  out.append("{\"ts\":\"").append(time).append("\",\"level\":\"").append(LevelName(level)).append("\"");
  out.append(",\"process\":").append(JsonString(process)).append(",\"event\":").append(JsonString(event));
  for (const Field& field : fields) {
    bool fixed = field.key == "ts" || field.key == "level" || field.key == "process" || field.key == "event";
    out.append(",").append(JsonString(fixed ? "field_" + field.key : field.key)).append(":");
    out.append(!field.quoted && IsJsonLiteral(field.value) ? field.value : JsonString(field.value));
  }
  out += '}';
  return out;
}

}  // namespace bailiwick::telemetry
