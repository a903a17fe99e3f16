// What a process that holds keys sees to before it reads the first of them. Not thread-safe: called at the start of
// main.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace bailiwick::os {

// Nobody but root gets at this process's memory any more: it leaves no core dump (not on disk, and not with a program
// that the kernel hands dumps to), and processes of the same user can neither trace it nor read /proc/PID/mem or
// environ. What this process executes is not affected, but for the size of its own core dumps: GiveBackLimits.
void KeepMemoryPrivate();

// The values of these options of main ("--token X", "--token=X"; up to "--") are overwritten where lists of processes
// read them, so that they are seen from the start of the process until here only; argv points to copies of them
// afterwards.
void HideArguments(int argc, char** argv, const std::vector<std::string>& options);

// Has what looks at the machine's processors once do so now: the allocator for its number of arenas (its default: eight
// a processor), Abseil for how long its locks spin. Else they do at some later allocation, or lock that is taken, and
// leave in errno what that left there: ENOENT where /sys is not mounted, or tells no frequency. gRPC 1.51 allocates and
// locks before it reads the errno of its connect (grpc/grpc#35064): a coordinator that is there was not found.
void LookUpProcessors();

// In a release no lock looks any more whether locks are taken in an order that could deadlock. Debian's Abseil
// comes with that switched on for everyone, gRPC included: behind one lock of the whole process, at each lock that is
// taken. Tests and the dev build keep it.
void SkipLockOrderChecks();

// As many open files as the system lets this process have. Who opens connections and leaves them lying then does not
// take from the data the few that are left of the default of 1024.
void RaiseOpenFiles();

// This program from its beginning, in this process: `argv` as main got it. Comes back with why it cannot, as where
// /proc is not mounted.
absl::Status StartAnew(char** argv);

// To a child: the limits that this process had at its start. Best effort; no-op before one of the above.
void GiveBackLimits(pid_t child);

}  // namespace bailiwick::os
