#include "services/cli/commands/output.h"

#include <unistd.h>

#include "absl/time/time.h"

namespace bailiwick::cli {

std::string TimeText(const google::protobuf::Timestamp& t) {
  if (t.seconds() == 0 && t.nanos() == 0) return "";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(t.seconds()), absl::UTCTimeZone());
}

bool IsTerminal(int fd) { return isatty(fd) == 1; }

}  // namespace bailiwick::cli
