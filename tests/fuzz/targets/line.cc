// Whatever a peer or a file name holds: log lines stay lines of valid JSON, displayed paths stay on one line of UTF-8.
#include "common/telemetry/line.h"

#include "absl/time/time.h"
#include "common/audit/json.h"
#include "services/agent/home/display_path.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(line) {
  using namespace bailiwick;
  const std::string text(in.Rest());
  for (telemetry::Format format : {telemetry::Format::kJson, telemetry::Format::kText}) {
    const std::string line = telemetry::FormatLine(format, absl::UnixEpoch(), telemetry::Level::kInfo, "agent", "event",
                                                   {{"reason", text}, {"count", 7}});
    REQUIRE(line.find_first_of(std::string("\n\r\0", 3)) == std::string::npos);
    if (format == telemetry::Format::kJson) REQUIRE(audit::CompactObject(line) == line);
  }
  const std::string shown = agent::DisplayPath(text);
  REQUIRE(shown.find_first_of(std::string("\n\r\0\x1b", 4)) == std::string::npos);
  const std::string quoted = telemetry::JsonString(shown);
  REQUIRE(quoted.find("\xef\xbf\xbd") == std::string::npos || text.find("\xef\xbf\xbd") != std::string::npos);
}
