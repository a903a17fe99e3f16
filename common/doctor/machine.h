// What of a machine has to be right for a process of Bailiwick that keeps data: disk, file system, owners, limits,
// clock. Each function looks at one thing and adds its rows; none stops at what it finds. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/units.h"
#include "common/doctor/report.h"
#include "common/os/host.h"

namespace bailiwick::doctor {

// With less free there is no room to work in, whatever smaller reserve an agent was given; so many files are what a
// lay-out may make at once.
inline constexpr uint64_t kDiskReserve = kGiB, kSmallDiskReserve = 128 * kMiB;
inline constexpr uint64_t kInodeReserve = 10'000;
// Below these a busy agent runs into the wall: a connection, a pack and a file being read each take one.
inline constexpr uint64_t kFewFiles = 4096, kTooFewFiles = 512;
inline constexpr uint64_t kFewPids = 512, kTooFewPids = 128;
inline constexpr uint64_t kLittleMemory = kGiB, kTooLittleMemory = 256 * kMiB;
inline constexpr uint64_t kFewWatches = 65'536, kFewInstances = 16;

// The judgement of a number alone: pure.
// `reserve`: what an agent leaves free; below it, and below kDiskReserve or a tenth of a smaller disk, it is a failure.
void JudgeSpace(Report& report, const std::string& directory, const os::Space& space, const std::string& of = "",
                uint64_t reserve = 0);
void JudgeOpenFiles(Report& report, uint64_t limit);
void JudgeProcesses(Report& report, uint64_t limit);
void JudgeMemory(Report& report, uint64_t bytes);
void JudgeWatches(Report& report, uint64_t watches, uint64_t instances);

// "disk", "inodes", "file system", "reflink", each with `of` behind it: of the file system under a directory that
// exists. Writes there and cleans up.
void CheckDisk(Report& report, const std::string& directory, const std::string& of = "", uint64_t reserve = 0);
// "open files", "processes", "memory" of the process (0: this one).
void CheckLimits(Report& report, pid_t pid);
void CheckWatches(Report& report);      // "inotify"
void CheckClockSource(Report& report);  // "time source"

// "owner": `paths` belong to who owns the first of them, and nobody else may write there. Those that are missing are
// passed over.
void CheckOwners(Report& report, const std::vector<std::string>& paths);
// "key NAME": readable by its owner alone. One that is missing is a failure unless `optional`.
void CheckKeyFile(Report& report, const std::string& name, const std::string& path, bool optional = false);

}  // namespace bailiwick::doctor
