#include "common/os/process.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <optional>

namespace bailiwick::os {
namespace {

struct Given {
  __rlimit_resource resource;
  std::optional<rlimit> before;
};
Given core{RLIMIT_CORE, {}}, open_files{RLIMIT_NOFILE, {}};

void SetSoft(Given& given, rlim_t (*soft)(const rlimit&)) {
  rlimit limit;
  if (::getrlimit(given.resource, &limit) != 0) return;
  if (!given.before) given.before = limit;
  limit.rlim_cur = soft(limit);
  ::setrlimit(given.resource, &limit);
}

}  // namespace

void KeepMemoryPrivate() {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  SetSoft(core, [](const rlimit&) -> rlim_t { return 0; });
}

void RaiseOpenFiles() {
  SetSoft(open_files, [](const rlimit& limit) { return limit.rlim_max; });
}

void GiveBackLimits(pid_t child) {
  for (const Given* given : {&core, &open_files}) {
    if (given->before) ::prlimit(child, given->resource, &*given->before, nullptr);
  }
}

}  // namespace bailiwick::os
