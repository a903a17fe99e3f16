#include "services/agent/replica/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/clock.h"
#include "common/os/process.h"
#include "common/telemetry/log.h"
#include "services/agent/home/display_path.h"

extern char** environ;

namespace bailiwick::agent {
namespace {

constexpr int kPollMs = 100;              // how soon the end of a hook is seen whose children keep its output open
constexpr size_t kMaxLine = 4096;         // of output, in one event
constexpr std::string_view kOwnVariable = "GRPC_SSL_CIPHER_SUITES=";  // set by common/rpc for this process alone
constexpr size_t kMaxLoggedLines = 1000;  // a hook cannot fill the log

class HookOutput {
 public:
  explicit HookOutput(const HookContext& context) : context_(context) {}
  ~HookOutput() { Flush(); }

  void Add(std::string_view text) {
    for (char c : text) {
      if (c == '\n' || line_.size() == kMaxLine) Flush();
      if (c != '\n') line_ += c;
    }
  }

 private:
  void Flush() {
    if (line_.empty()) return;
    if (lines_++ < kMaxLoggedLines) {
      telemetry::Log(telemetry::Level::kInfo, "hook-output",
                     {{"dataset", context_.dataset}, {"version", context_.version}, {"line", DisplayPath(line_)}});
    }
    line_.clear();
  }

  const HookContext& context_;
  std::string line_;
  size_t lines_ = 0;
};

bool OthersMayWrite(const struct stat& st) {
  return (st.st_mode & S_IWOTH) != 0 || ((st.st_mode & S_IWGRP) != 0 && st.st_gid != 0 && st.st_gid != ::getegid());
}

absl::Status CheckHook(const std::string& path, bool* present) {
  *present = false;
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, path);
  if (!S_ISREG(st.st_mode)) return absl::FailedPreconditionError(absl::StrCat("hook ", path, " is not a file"));
  if (OthersMayWrite(st)) {
    return absl::PermissionDeniedError(
        absl::StrCat("hook ", path, " can be written by others and is not run: chmod go-w ", path));
  }
  const std::string directory = path.substr(0, path.rfind('/'));
  struct stat above;
  if (::stat(directory.c_str(), &above) != 0) return ErrnoStatus(errno, directory);
  if (OthersMayWrite(above) && (above.st_mode & S_ISVTX) == 0) {  // where each may remove what is another's
    return absl::PermissionDeniedError(absl::StrCat("hook ", path,
                                                    " is in a directory that others can write to and is not "
                                                    "run: chmod go-w ",
                                                    directory));
  }
  if (st.st_uid != 0 && st.st_uid != ::geteuid()) {
    return absl::PermissionDeniedError(
        absl::StrCat("hook ", path, " belongs to another account than the agent's and is not run"));
  }
  if ((st.st_mode & S_IXUSR) == 0) {
    return absl::FailedPreconditionError(absl::StrCat("hook ", path, " is not executable: chmod u+x ", path));
  }
  *present = true;
  return absl::OkStatus();
}

std::vector<std::string> Environment(const HookContext& context) {
  std::vector<std::string> out;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (!text.starts_with("BAILIWICK_") && !text.starts_with(kOwnVariable)) out.emplace_back(text);
  }
  out.push_back(absl::StrCat("BAILIWICK_DATASET=", context.dataset));
  out.push_back(absl::StrCat("BAILIWICK_VERSION=", context.version));
  out.push_back(absl::StrCat("BAILIWICK_TREE=", context.tree));
  return out;
}

// A process group of its own, default signals, no descriptor of ours but the pipe as output.
absl::StatusOr<pid_t> Spawn(const std::string& path, const HookContext& context, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> environment = Environment(context);
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);
  std::string name = path;
  char* argv[] = {name.data(), nullptr};
  pid_t child = -1;
  int error = ::posix_spawn(&child, path.c_str(), &actions, &attributes, argv, envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("running hook ", path));
  os::GiveBackLimits(child);
  return child;
}

// Reads what there is, of a hook that writes without end a pipe's worth; false at the end of the output.
bool Drain(int fd, HookOutput* output) {
  char buffer[4096];
  for (int i = 0; i < 16; ++i) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) output->Add({buffer, static_cast<size_t>(n)});
    if (n == 0) return false;
    if (n < 0 && errno != EINTR) return errno == EAGAIN;
  }
  return true;
}

absl::Status Await(const std::string& path, pid_t child, int fd, HookOutput* output, const std::atomic<bool>& stop,
                   absl::Duration timeout) {
  const os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  bool open = true;
  int status = 0;
  for (;;) {
    pollfd wait{open ? fd : -1, POLLIN, 0};
    ::poll(&wait, 1, kPollMs);
    if (open) open = Drain(fd, output);
    pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR) return ErrnoStatus(errno, absl::StrCat("waiting for hook ", path));
    const bool stopped = stop;
    if (!stopped && clock->BootTime() < deadline) continue;
    ::kill(-child, SIGKILL);
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (stopped) return absl::CancelledError(absl::StrCat("hook ", path, " was killed: the agent is stopping"));
    return absl::DeadlineExceededError(
        absl::StrCat("hook ", path, " ran longer than ", absl::FormatDuration(timeout), " and was killed"));
  }
  if (open) Drain(fd, output);
  if (WIFSIGNALED(status))
    return absl::AbortedError(absl::StrCat("hook ", path, " was ended by signal ", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) {
    return absl::AbortedError(absl::StrCat("hook ", path, " ended with exit code ", WEXITSTATUS(status)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> RunVersionHook(const std::string& hook_path, const HookContext& context,
                                    const std::atomic<bool>& stop, absl::Duration timeout) {
  bool present = false;
  BW_RETURN_IF_ERROR(CheckHook(hook_path, &present));
  if (!present) return false;
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "making a pipe for a hook");
  ::fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);  // our end alone: each end has its own flags
  absl::StatusOr<pid_t> child = Spawn(hook_path, context, pipe_fds[1]);
  ::close(pipe_fds[1]);
  HookOutput output(context);
  absl::Status status = child.status();
  if (child.ok()) status = Await(hook_path, *child, pipe_fds[0], &output, stop, timeout);
  ::close(pipe_fds[0]);
  BW_RETURN_IF_ERROR(status);
  return true;
}

}  // namespace bailiwick::agent
