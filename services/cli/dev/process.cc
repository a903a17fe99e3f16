#include "services/cli/dev/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/clock.h"
#include "common/os/process.h"
#include "common/os/random.h"

namespace bailiwick::cli {
namespace {

constexpr int kLowestPort = 20000;  // few services are registered above it
constexpr int kEnoughPorts = 1000;
constexpr int kPortTries = 500;

int TcpSocket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

bool ReuseAddress(int fd) {
  const int on = 1;
  return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
}

bool BindLoopback(int fd, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

// Of /proc/PID/stat; nothing of it when there is no such process.
struct ProcessStat {
  char state = '?';
  int threads = 0;
  uint64_t start_ticks = 0;
};

ProcessStat StatOf(int pid) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/stat"));
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const size_t end = text.rfind(')');  // the name may hold anything
  ProcessStat stat;
  if (end == std::string::npos) return stat;
  std::istringstream fields(text.substr(end + 2));
  std::string field;
  for (int i = 3; i <= 22 && fields >> field; ++i) {
    if (i == 3) stat.state = field[0];
    if (i == 20) stat.threads = std::atoi(field.c_str());
    if (i == 22) stat.start_ticks = std::strtoull(field.c_str(), nullptr, 10);
  }
  return stat;
}

std::vector<char*> Argv(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  return argv;
}

}  // namespace

bool Alive(const Process& process) {
  if (process.pid <= 0) return false;
  const ProcessStat stat = StatOf(process.pid);
  if (stat.start_ticks == 0 || stat.start_ticks != process.start_ticks) return false;
  // Its first thread can be dead already while others, on their way out, still hold its port and its lock.
  return stat.state != 'Z' || stat.threads > 1;
}

absl::StatusOr<Process> StartDaemon(const std::vector<std::string>& command, const std::string& log) {
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (out < 0) return ErrnoStatus(errno, log);
  int channel[2];
  if (pipe2(channel, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  std::vector<char*> argv = Argv(command);
  const pid_t child = fork();
  if (child < 0) return ErrnoStatus(errno, "fork");
  if (child == 0) {
    setsid();
    const pid_t daemon = fork();
    if (daemon != 0) {
      (void)!write(channel[1], &daemon, sizeof daemon);
      _exit(0);
    }
    if (chdir("/") != 0) _exit(127);  // the shell's directory may be unmounted while the daemon runs
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(out, 1);
    dup2(out, 2);
    for (int fd = 3; fd < 256; ++fd) close(fd);
    os::GiveBackLimits(::getpid());
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out);
  close(channel[1]);
  Process process;
  const bool told = read(channel[0], &process.pid, sizeof process.pid) == sizeof process.pid;
  close(channel[0]);
  waitpid(child, nullptr, 0);
  if (!told || process.pid <= 0) return absl::InternalError(absl::StrCat("cannot start ", command[0]));
  process.start_ticks = StatOf(process.pid).start_ticks;
  return process;
}

void AskToStop(const Process& process) {
  if (Alive(process)) kill(process.pid, SIGTERM);
}

absl::Status StopProcess(const Process& process, absl::Duration patience) {
  if (!Alive(process)) return absl::OkStatus();
  os::Clock* clock = os::Clock::System();
  if (patience > absl::ZeroDuration()) {
    kill(process.pid, SIGTERM);
    const absl::Duration deadline = clock->BootTime() + patience;
    while (clock->BootTime() < deadline) {
      if (!Alive(process)) return absl::OkStatus();
      clock->SleepFor(absl::Milliseconds(20));
    }
  }
  kill(process.pid, SIGKILL);
  for (int i = 0; i < 500; ++i) {
    if (!Alive(process)) return absl::OkStatus();
    clock->SleepFor(absl::Milliseconds(10));
  }
  return absl::InternalError(absl::StrCat("process ", process.pid, " does not end"));
}

absl::Status RunToEnd(const std::vector<std::string>& command) {
  int channel[2];
  if (pipe2(channel, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  std::vector<char*> argv = Argv(command);
  const pid_t child = fork();
  if (child < 0) return ErrnoStatus(errno, "fork");
  if (child == 0) {
    dup2(channel[1], 1);
    dup2(channel[1], 2);
    os::GiveBackLimits(::getpid());
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(channel[1]);
  std::string said;
  char buffer[4096];
  ssize_t n;
  while ((n = read(channel[0], buffer, sizeof buffer)) > 0 && said.size() < 65536)
    said.append(buffer, static_cast<size_t>(n));
  close(channel[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  while (!said.empty() && said.back() == '\n') said.pop_back();
  return absl::InternalError(said.empty() ? absl::StrCat(command[0], " failed") : said);
}

std::string LastLines(const std::string& path, int lines) {
  std::ifstream in(path);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) {
    all.push_back(line);
    if (all.size() > static_cast<size_t>(lines)) all.erase(all.begin());
  }
  std::string out;
  for (const auto& line : all) absl::StrAppend(&out, "\n  ", line);
  return out;
}

absl::StatusOr<HeldPort> FreePort(const std::set<int>& taken) {
  int first = 32768, last = 60999;  // Linux's default
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first >> last;
  // Below the range where there is room, else above it, else anywhere that is not for the system.
  int from = kLowestPort, to = first - 1;
  if (to - from < kEnoughPorts) from = last + 1, to = 65535;
  if (to - from < kEnoughPorts) from = kLowestPort, to = 65535;
  for (int i = 0; i < kPortTries; ++i) {
    const std::string bytes = os::Random::System()->Bytes(4);
    uint32_t number = 0;
    std::memcpy(&number, bytes.data(), sizeof number);
    const int port = from + static_cast<int>(number % static_cast<uint32_t>(to - from + 1));
    if (taken.count(port) != 0) continue;
    const int fd = TcpSocket();
    if (fd < 0) continue;
    HeldPort held(port, fd);
    // Bound alone first, so that what another one holds counts as taken, too; shared with its daemon only then.
    if (BindLoopback(fd, port) && ReuseAddress(fd)) return held;
  }
  return absl::UnavailableError("no free port on the loopback interface");
}

HeldPort::~HeldPort() {
  if (fd_ >= 0) close(fd_);
}

bool PortIsTaken(int port) {
  const int fd = TcpSocket();
  if (fd < 0) return true;
  // As servers do: what a closed connection leaves behind is no obstacle.
  const bool taken = !ReuseAddress(fd) || !BindLoopback(fd, port) || listen(fd, 1) != 0;
  close(fd);
  return taken;
}

std::string BinaryDirectory() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

}  // namespace bailiwick::cli
