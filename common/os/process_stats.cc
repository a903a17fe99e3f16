#include "common/os/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace bailiwick::os {
namespace {

uint64_t CountOpenFiles() {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  uint64_t count = 0;
  while (const dirent* entry = ::readdir(directory)) count += entry->d_name[0] != '.';
  ::closedir(directory);
  return count == 0 ? 0 : count - 1;  // the directory itself
}

}  // namespace

absl::StatusOr<ProcessStats> ReadProcessStats() {
  char text[1024];
  FILE* file = std::fopen("/proc/self/stat", "re");
  if (file == nullptr) return absl::UnavailableError("there is no /proc/self/stat here");
  const size_t n = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  text[n] = '\0';
  // proc(5): the name in parentheses may hold anything; fields 3 on follow its last ')'.
  const char* after = std::strrchr(text, ')');
  uint64_t user = 0, system = 0, threads = 0, started = 0, virtual_bytes = 0;
  int64_t resident_pages = 0;
  if (after == nullptr || std::sscanf(after + 1,
                                      " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                                      " %*d %*d %*d %*d %" SCNu64 " %*d %" SCNu64 " %" SCNu64 " %" SCNd64,
                                      &user, &system, &threads, &started, &virtual_bytes, &resident_pages) != 6) {
    return absl::UnavailableError("/proc/self/stat does not look as it must");
  }
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return ProcessStats{
      .cpu_time = absl::Seconds(static_cast<double>(user + system) / ticks),
      .resident_bytes = static_cast<uint64_t>(resident_pages) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)),
      .virtual_bytes = virtual_bytes,
      .threads = threads,
      .open_files = CountOpenFiles(),
      .max_files = limit.rlim_cur,
      .started = absl::Seconds(static_cast<double>(started) / ticks)};
}

}  // namespace bailiwick::os
