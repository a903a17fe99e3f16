// How moments, days and hours of a rule's `when` are written. Nothing for any other text. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "bailiwick/resource/v1/resource.pb.h"
#include "common/policy/model.h"

namespace bailiwick::config {

// RFC 3339 with an offset: 2026-07-01T08:00:00+02:00, 2026-07-01T06:00:00Z.
std::optional<absl::Time> ParseMoment(std::string_view text);
// "mon-fri", "sat,sun", "mon-wed,fri", "fri-mon"; bit 0 is Monday. Empty: every day.
std::optional<uint8_t> ParseDays(std::string_view text);
// "08:00-18:00", "22:00-06:00", "18:00-24:00": minutes of the day. Empty: the whole day.
std::optional<std::pair<uint16_t, uint16_t>> ParseHours(std::string_view text);
// Whether the text may be the name of a zone: "UTC" or Area/Location. Not whether there is one.
bool IsZoneShaped(std::string_view text);

// Nothing when any part of it cannot be read.
std::optional<policy::When> ToWhen(const resource::v1::When& when);

}  // namespace bailiwick::config
