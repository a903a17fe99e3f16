#include "common/config/when.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace bailiwick::config {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
constexpr size_t kMaxZone = 64;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// `pattern` with 0 for a digit; any other character stands for itself.
bool Shaped(std::string_view text, std::string_view pattern) {
  return text.size() == pattern.size() && std::equal(text.begin(), text.end(), pattern.begin(), [](char c, char p) {
           return p == '0' ? std::isdigit(static_cast<unsigned char>(c)) != 0 : c == p;
         });
}

std::optional<int> DayIndex(absl::string_view word) {
  auto it = std::find(kDays.begin(), kDays.end(), std::string_view(word.data(), word.size()));
  if (it == kDays.end()) return std::nullopt;
  return static_cast<int>(it - kDays.begin());
}

int TwoDigits(std::string_view text, size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); }

// "hh:mm" as minutes; up to 24:00 when `end`.
std::optional<int> ParseMinute(std::string_view text, bool end) {
  if (!Shaped(text, "00:00")) return std::nullopt;
  const int hour = TwoDigits(text, 0), minute = TwoDigits(text, 3);
  if (minute > 59 || hour > 24 || (hour == 24 && (!end || minute != 0))) return std::nullopt;
  return hour * 60 + minute;
}

}  // namespace

std::optional<absl::Time> ParseMoment(std::string_view text) {
  std::string_view rest = text;
  constexpr std::string_view kSeconds = "0000-00-00T00:00:00";
  if (rest.size() < kSeconds.size() || !Shaped(rest.substr(0, kSeconds.size()), kSeconds)) return std::nullopt;
  rest.remove_prefix(kSeconds.size());
  const bool offset = rest == "Z" || Shaped(rest, "+00:00") || Shaped(rest, "-00:00");
  absl::Time time;
  std::string error;
  if (!offset || !absl::ParseTime(absl::RFC3339_sec, View(text), &time, &error)) return std::nullopt;
  return time;
}

std::optional<uint8_t> ParseDays(std::string_view text) {
  if (text.empty()) return uint8_t{0x7f};
  uint8_t days = 0;
  for (absl::string_view part : absl::StrSplit(View(text), ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, '-');
    const std::optional<int> first = DayIndex(ends.front()), last = DayIndex(ends.back());
    if (ends.size() > 2 || !first || !last) return std::nullopt;
    for (int day = *first;; day = (day + 1) % 7) {
      days = static_cast<uint8_t>(days | 1 << day);
      if (day == *last) break;
    }
  }
  return days;
}

std::optional<std::pair<uint16_t, uint16_t>> ParseHours(std::string_view text) {
  if (text.empty()) return std::pair<uint16_t, uint16_t>(0, 24 * 60);
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const std::optional<int> from = ParseMinute(text.substr(0, dash), false);
  const std::optional<int> to = ParseMinute(text.substr(dash + 1), true);
  if (!from || !to || *from == *to || *to == 0) return std::nullopt;
  return std::pair(static_cast<uint16_t>(*from), static_cast<uint16_t>(*to));
}

bool IsZoneShaped(std::string_view text) {
  if (text == "UTC") return true;
  if (text.size() > kMaxZone || absl::StartsWith(View(text), "posix/") || absl::StartsWith(View(text), "right/")) {
    return false;
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(View(text), '/');
  if (parts.size() < 2) return false;
  return std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
    return !part.empty() && std::isalpha(static_cast<unsigned char>(part.front())) != 0 &&
           std::all_of(part.begin(), part.end(), [](char c) {
             return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '+';
           });
  });
}

std::optional<policy::When> ToWhen(const resource::v1::When& when) {
  policy::When out;
  for (const auto& [text, time] :
       {std::pair(&when.not_before(), &out.not_before), std::pair(&when.not_after(), &out.not_after)}) {
    if (text->empty()) continue;
    const std::optional<absl::Time> moment = ParseMoment(*text);
    if (!moment) return std::nullopt;
    *time = *moment;
  }
  for (const auto& daily : when.daily()) {
    const auto days = ParseDays(daily.days());
    const auto hours = ParseHours(daily.hours());
    if (!days || !hours || !IsZoneShaped(daily.tz())) return std::nullopt;
    out.daily.push_back({*days, hours->first, hours->second, daily.tz()});
  }
  return out;
}

}  // namespace bailiwick::config
