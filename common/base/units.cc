#include "common/base/units.h"

#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace bailiwick {

std::string FormatBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 5) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(bytes, " B");
  return value < 10 ? absl::StrFormat("%.2f %s", value, kUnits[unit]) : absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string FormatAge(absl::Duration age) {
  int64_t s = absl::ToInt64Seconds(age < absl::ZeroDuration() ? absl::ZeroDuration() : age);
  if (s < 60) return absl::StrCat(s, "s");
  if (s < 3600) return absl::StrFormat("%dm%02ds", s / 60, s % 60);
  if (s < 86400) return absl::StrFormat("%dh%02dm", s / 3600, s % 3600 / 60);
  return absl::StrFormat("%dd%02dh", s / 86400, s % 86400 / 3600);
}

absl::StatusOr<uint64_t> ParseBytes(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  uint64_t value;
  if (digits == 0 || !absl::SimpleAtoi(absl::string_view(text.data(), digits), &value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text), "\" is not a size; write 32KiB, 1MiB or 4096"));
  }
  absl::string_view unit = absl::StripAsciiWhitespace(absl::string_view(text.data() + digits, text.size() - digits));
  uint64_t factor;
  if (unit.empty() || unit == "B")
    factor = 1;
  else if (unit == "KiB")
    factor = kKiB;
  else if (unit == "MiB")
    factor = kMiB;
  else if (unit == "GiB")
    factor = kGiB;
  else if (unit == "TiB")
    factor = 1024 * kGiB;
  else
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text), "\": unknown unit; use B, KiB, MiB, GiB or TiB"));
  if (value > UINT64_MAX / factor)
    return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is too large"));
  return value * factor;
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration total = absl::ZeroDuration();
  size_t i = 0;
  bool any = false;
  while (i < text.size()) {
    size_t start = i;
    while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]))) ++i;
    int64_t value;
    if (start == i || !absl::SimpleAtoi(absl::string_view(text.data() + start, i - start), &value))
      any = false, i = text.size() + 1;
    else {
      size_t u = i;
      while (i < text.size() && std::isalpha(static_cast<unsigned char>(text[i]))) ++i;
      std::string_view unit = text.substr(u, i - u);
      any = true;
      if (unit == "ms")
        total += absl::Milliseconds(value);
      else if (unit == "s")
        total += absl::Seconds(value);
      else if (unit == "m")
        total += absl::Minutes(value);
      else if (unit == "h")
        total += absl::Hours(value);
      else if (unit == "d")
        total += absl::Hours(24) * value;
      else
        any = false, i = text.size() + 1;
    }
    if (!any) break;
  }
  if (total > kMaxDuration) return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is too long"));
  if (!any) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text), "\" is not a duration; write 90s, 15m, 1h30m or 30d"));
  }
  return total;
}

}  // namespace bailiwick
