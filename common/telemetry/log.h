// Structured logs: one line an event, text or JSON, to standard error. Thread-safe.
//   Log(Level::kInfo, "transfer-done", {{"transfer", id}, {"bytes", n}});
// An event's name is stable and greppable; ids and counts are fields. Never log names of files of a dataset.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

namespace bailiwick::telemetry {

enum class Level { kDebug, kInfo, kWarning, kError };
enum class Format { kText, kJson };

// Call once at start. `process` names the process in every line.
void InitLogging(std::string_view process, Format format, Level level);
absl::Status ParseFormat(std::string_view text, Format* out);  // text | json
absl::Status ParseLevel(std::string_view text, Level* out);    // debug | info | warning | error

struct Field {
  Field(std::string_view k, std::string_view v) : key(k), value(v), quoted(true) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v), quoted(true) {}
  Field(std::string_view k, const char* v) : key(k), value(v), quoted(true) {}
  Field(std::string_view k, const absl::Status& v) : key(k), value(v.message()), quoted(true) {}
  Field(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), quoted(false) {}
  template <typename T>
  requires std::is_arithmetic_v<T> Field(std::string_view k, T v) : key(k), value(std::to_string(v)), quoted(false) {}
  std::string key;
  std::string value;
  bool quoted;
};

void Log(Level level, std::string_view event, std::initializer_list<Field> fields = {});

}  // namespace bailiwick::telemetry
