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

std::vector<std::string> TakeArguments(int argc, char** argv, const std::vector<std::string>& secrets) {
  std::vector<std::string> taken(argv, argv + argc);
  const auto hide = [&](int i, size_t from) {
    if (taken[i] == "-") return;  // from standard input: no secret
    for (size_t at = from; at < taken[i].size(); ++at) argv[i][at] = 'x';
  };
  for (int i = 1; i < argc && taken[i] != "--"; ++i) {
    for (const std::string& option : secrets) {
      if (taken[i] == option && i + 1 < argc) hide(i + 1, 0);
      if (taken[i].compare(0, option.size() + 1, option + "=") == 0) hide(i, option.size() + 1);
    }
  }
  return taken;
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
