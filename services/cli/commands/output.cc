#include "services/cli/commands/output.h"

#include <unistd.h>

#include "absl/time/time.h"
#include "common/base/utc_text.h"

namespace bailiwick::cli {

std::string TimeText(const google::protobuf::Timestamp& t) {
  if (t.seconds() == 0 && t.nanos() == 0) return "";
  return UtcText(absl::FromUnixSeconds(t.seconds()));
}

bool IsTerminal(int fd) { return isatty(fd) == 1; }

}  // namespace bailiwick::cli
