#include "common/telemetry/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <memory>

#include "common/os/clock.h"
#include "common/telemetry/line.h"

namespace bailiwick::telemetry {
namespace {

struct Settings {
  std::string process;
  Format format;
  std::unique_ptr<spdlog::logger> logger;
  Settings* replaced;  // kept: another thread may be writing a line with them
};

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

Settings* MakeSettings(std::string_view process, Format format, Level level) {
  auto logger = std::make_unique<spdlog::logger>("bailiwick", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%v");
  logger->set_level(ToSpdlog(level));
  logger->flush_on(spdlog::level::trace);  // a crash must not swallow the line before it
  return new Settings{std::string(process), format, std::move(logger), nullptr};
}

std::atomic<Settings*> g_settings{nullptr};

Settings& Current() {
  Settings* settings = g_settings.load(std::memory_order_acquire);
  if (settings != nullptr) return *settings;
  static Settings* defaults = MakeSettings("bailiwick", Format::kText, Level::kInfo);
  return *defaults;
}

}  // namespace

void InitLogging(std::string_view process, Format format, Level level) {
  Settings* settings = MakeSettings(process, format, level);
  settings->replaced = g_settings.load(std::memory_order_acquire);
  g_settings.store(settings, std::memory_order_release);
}

absl::Status ParseFormat(std::string_view text, Format* out) {
  if (text == "text") {
    *out = Format::kText;
  } else if (text == "json") {
    *out = Format::kJson;
  } else {
    return absl::InvalidArgumentError("unknown log format \"" + std::string(text) + "\"; use text or json");
  }
  return absl::OkStatus();
}

absl::Status ParseLevel(std::string_view text, Level* out) {
  for (Level level : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    if (text == LevelName(level)) {
      *out = level;
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError("unknown log level \"" + std::string(text) +
                                    "\"; use debug, info, warning or error");
}

void Log(Level level, std::string_view event, std::initializer_list<Field> fields) {
  Settings& settings = Current();
  if (!settings.logger->should_log(ToSpdlog(level))) return;
  std::string line = FormatLine(settings.format, os::Clock::System()->Now(), level, settings.process, event, fields);
  settings.logger->log(ToSpdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace bailiwick::telemetry
