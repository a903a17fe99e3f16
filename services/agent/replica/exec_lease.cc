#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/status.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "services/agent/replica/replica_tree.h"
#include "services/agent/replica/slot_state.h"

// Plain descriptors here, not common/os: the lease must be inherited by the command, and outlive us if we are killed.

namespace bailiwick::agent {
namespace {

constexpr int kTries = 100;  // swaps between finding the slot and leasing it
// The agent never holds what is shown: whoever does so longer than a change of what is shown takes is somebody else.
constexpr absl::Duration kHeldAtMost = absl::Seconds(3);
constexpr absl::Duration kLookAgain = absl::Milliseconds(20);

volatile sig_atomic_t g_child = 0;

void ForwardSignal(int signal) {
  if (g_child > 0) ::kill(static_cast<pid_t>(g_child), signal);
}

struct Lease {
  int fd = -1;
  std::string tree;  // absolute path of the slot
  VersionNumber version = 0;
};

absl::Status NothingShown(const std::string& root) {
  return absl::NotFoundError(
      absl::StrCat("no version is laid out at ", root, "; wait for the first one, or check the dataset's name"));
}

absl::StatusOr<std::string> ReadCurrent(const std::string& root) {
  std::string target(256, '\0');
  ssize_t n = ::readlink(os::JoinPath(root, "current").c_str(), target.data(), target.size());
  if (n < 0 && errno == ENOENT) return NothingShown(root);
  if (n < 0) return ErrnoStatus(errno, os::JoinPath(root, "current"));
  target.resize(static_cast<size_t>(n));
  if (target.rfind("trees/", 0) != 0)
    return absl::FailedPreconditionError(absl::StrCat(root, "/current is not a replica's link"));
  return target;
}

absl::StatusOr<Lease> TakeLease(const std::string& root) {
  const os::Clock* clock = os::Clock::System();
  const absl::Duration until = clock->BootTime() + kHeldAtMost;
  for (int i = 0; i < kTries;) {
    BW_ASSIGN_OR_RETURN(std::string slot, ReadCurrent(root));
    Lease lease;
    lease.tree = os::JoinPath(root, slot);
    lease.fd =
        ::open(lease.tree.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);  // no O_CLOEXEC: the command inherits it
    if (lease.fd < 0) return ErrnoStatus(errno, lease.tree);
    if (::flock(lease.fd, LOCK_SH | LOCK_NB) != 0) {
      const int error = errno;
      ::close(lease.fd);
      if (error == EINTR) continue;
      if (error != EWOULDBLOCK) return ErrnoStatus(error, absl::StrCat("leasing ", lease.tree));
      if (clock->BootTime() >= until) {
        return absl::UnavailableError(absl::StrCat("another process holds ", lease.tree,
                                                   " under an exclusive lock (flock); end it: lslocks names it"));
      }
      clock->SleepFor(kLookAgain);  // laid out anew just now: current is another one then
      continue;
    }
    ++i;
    absl::StatusOr<std::string> again = ReadCurrent(root);
    if (!again.ok() || *again != slot) {
      ::close(lease.fd);
      BW_RETURN_IF_ERROR(again.status());
      continue;
    }
    std::string state_path = os::JoinPath(root, absl::StrCat("trees/.slot-", slot.substr(std::strlen("trees/"))));
    auto text = os::ReadFile(os::Files::System(), state_path, 4096);
    auto state = text.ok() ? DecodeSlotState(*text) : text.status();
    if (!state.ok()) {
      ::close(lease.fd);
      return Annotate(state.status(), state_path);
    }
    lease.version = state->version;
    return lease;
  }
  return absl::UnavailableError(absl::StrCat(root, " changes faster than it can be leased; try again"));
}

[[noreturn]] void RunChild(const Lease& lease, const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::setenv("BAILIWICK_TREE", lease.tree.c_str(), 1);
  ::setenv("BAILIWICK_VERSION", std::to_string(lease.version).c_str(), 1);
  if (::fchdir(lease.fd) == 0) ::execvp(argv[0], argv.data());
  int error = errno;
  std::string message = absl::StrCat("bailiwick-agent: cannot run ", command[0], ": ", std::strerror(error), "\n");
  if (::write(STDERR_FILENO, message.data(), message.size()) < 0) ::_exit(125);
  ::_exit(error == ENOENT ? 127 : 126);  // as shells do
}

}  // namespace

absl::StatusOr<int> ExecWithLease(const std::string& replicas, const std::string& dataset_name,
                                  const std::vector<std::string>& command) {
  if (command.empty()) return absl::InvalidArgumentError("a command is needed");
  std::string base = replicas;
  if (base.empty() || base.front() != '/') {
    char* here = ::realpath(base.c_str(), nullptr);
    if (here == nullptr && errno == ENOENT) return NothingShown(ReplicaRoot(base, dataset_name));
    if (here == nullptr) return ErrnoStatus(errno, base);
    base = here;
    ::free(here);
  }
  BW_ASSIGN_OR_RETURN(Lease lease, TakeLease(ReplicaRoot(base, dataset_name)));
  struct sigaction forward {
  }, ignore{}, old_term{}, old_hup{}, old_int{}, old_quit{};
  forward.sa_handler = ForwardSignal;
  ignore.sa_handler = SIG_IGN;
  pid_t child = ::fork();
  if (child == 0) RunChild(lease, command);
  int error = errno;
  ::close(lease.fd);  // the command holds it now
  if (child < 0) return ErrnoStatus(error, "fork");
  g_child = child;
  ::sigaction(SIGTERM, &forward, &old_term);
  ::sigaction(SIGHUP, &forward, &old_hup);
  ::sigaction(SIGINT, &ignore, &old_int);  // a terminal sends these to the command too
  ::sigaction(SIGQUIT, &ignore, &old_quit);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  g_child = 0;
  ::sigaction(SIGTERM, &old_term, nullptr);
  ::sigaction(SIGHUP, &old_hup, nullptr);
  ::sigaction(SIGINT, &old_int, nullptr);
  ::sigaction(SIGQUIT, &old_quit, nullptr);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace bailiwick::agent
