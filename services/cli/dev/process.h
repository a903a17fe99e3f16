// Daemons of a local fleet: started so that they survive the shell, recognized by pid and start time so that a reused
// pid is never signalled.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bailiwick::cli {

struct Process {
  int pid = 0;
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
};

bool Alive(const Process& process);
// Detached (own session, no terminal), output appended to the log.
absl::StatusOr<Process> StartDaemon(const std::vector<std::string>& command, const std::string& log);
// SIGTERM, and no waiting. Nothing when it is not running.
void AskToStop(const Process& process);
// SIGTERM, then SIGKILL after `patience`; only SIGKILL when it is zero. OK when it is not running.
absl::Status StopProcess(const Process& process, absl::Duration patience);
// Runs to the end. The exit code is 0 or this is an error with what it said.
absl::Status RunToEnd(const std::vector<std::string>& command);
std::string LastLines(const std::string& path, int lines);
// A port that no other command chooses while this lives: bound and not listened at, which is no obstacle to the daemon
// that it is for (os::TcpListener binds with SO_REUSEADDR).
class HeldPort {
 public:
  HeldPort(int number, int fd) : number_(number), fd_(fd) {}
  HeldPort(HeldPort&& other) noexcept : number_(other.number_), fd_(std::exchange(other.fd_, -1)) {}
  HeldPort& operator=(HeldPort&&) = delete;
  ~HeldPort();
  int number() const { return number_; }

 private:
  int number_;
  int fd_;
};
// A port of 127.0.0.1 that nobody has now, none of `taken`, and outside the range that the kernel gives to outgoing
// connections: so that it is still free when its daemon comes back after a while. UNAVAILABLE.
absl::StatusOr<HeldPort> FreePort(const std::set<int>& taken);
bool PortIsTaken(int port);     // listened at, on 127.0.0.1
std::string BinaryDirectory();  // of this executable

}  // namespace bailiwick::cli
