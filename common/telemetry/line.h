// What one log line looks like; pure, so that tests can look at it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "common/telemetry/log.h"

namespace bailiwick::telemetry {

std::string_view LevelName(Level level);

// JSON string body with its quotes. Bytes that are not UTF-8 become U+FFFD: a log reader gets valid JSON whatever a
// peer sent.
std::string JsonString(std::string_view bytes);

// Without a line end; never contains one, whatever the fields hold.
//   2026-11-23T12:00:00.123Z info agent transfer-done transfer=42 reason="link lost"
//   {"ts":"2026-11-23T12:00:00.123Z","level":"info","process":"agent","event":"transfer-done","transfer":42,...}
// A field named like one of the four fixed keys gets "field_" in front in JSON.
std::string FormatLine(Format format, absl::Time at, Level level, std::string_view process, std::string_view event,
                       std::initializer_list<Field> fields);

}  // namespace bailiwick::telemetry
