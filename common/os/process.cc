#include "common/os/process.h"

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <optional>
#include <string_view>
#include <thread>

#include "absl/base/internal/sysinfo.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

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

void LookUpProcessors() {
  mallopt(M_ARENA_MAX, 8 * static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  absl::base_internal::NumCPUs();  // both are remembered there, and nothing public asks for them
  absl::base_internal::NominalCPUFrequency();
}

void SkipLockOrderChecks() {
#ifdef BAILIWICK_RELEASE
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

void HideArguments(int argc, char** argv, const std::vector<std::string>& options) {
  static auto* const copies = new std::deque<std::string>;  // until the end of the process
  const auto hide = [&](int i, size_t from) {
    const std::string_view argument = argv[i];
    if (argument == "-") return;  // from standard input: no secret
    char* shown = argv[i];
    argv[i] = copies->emplace_back(argument).data();
    std::memset(shown + from, 'x', argument.size() - from);
  };
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    for (const std::string& option : options) {
      const std::string_view argument = argv[i];
      if (argument == option && i + 1 < argc) {
        hide(i + 1, 0);
      } else if (argument.substr(0, option.size() + 1) == option + "=") {
        hide(i, option.size() + 1);
      }
    }
  }
}

void RaiseOpenFiles() {
  SetSoft(open_files, [](const rlimit& limit) { return limit.rlim_max; });
}

absl::Status StartAnew(char** argv) {
  GiveBackLimits(0);
  ::execv("/proc/self/exe", argv);
  return absl::UnavailableError(absl::StrCat("cannot start anew: /proc/self/exe: ", std::strerror(errno)));
}

void GiveBackLimits(pid_t child) {
  for (const Given* given : {&core, &open_files}) {
    if (given->before) ::prlimit(child, given->resource, &*given->before, nullptr);
  }
}

}  // namespace bailiwick::os
