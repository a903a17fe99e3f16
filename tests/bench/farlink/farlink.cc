// A far link on one machine: a TCP proxy between loopback ports that delays what it carries and lets no more through a
// second than the link has, both directions alike and each on its own; all connections share it. For tests and
// benchmarks: neither netem nor privileges are needed.
//
//   farlink TARGET_PORT [--listen PORT] [--rtt-ms 100] [--mbit 1000 | --kbit N] [--queue-kib 1024]
//
// Says `listening PORT` once it does, and `carried UP DOWN` (bytes to and from the target) when SIGTERM or SIGINT ends
// it.
//
// The model: bytes wait in the link's queue, which takes --queue-kib and then makes the sender wait (nothing is lost),
// leave it at the link's pace, and arrive half a round trip later. What it leaves out: loss, slow start, and the round
// trip that a TCP handshake takes. What is on its way to one that does not read is bounded for each connection by what
// the link itself holds, so that it slows nobody else.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "common/os/clock.h"

namespace bailiwick {
namespace {

constexpr size_t kPiece = 64 << 10;       // of one read at most
constexpr int kSocketBuffer = 512 << 10;  // the kernel's own queues at most: small beside the link's
constexpr int kMaxEvents = 64;
constexpr absl::Duration kTick = absl::Milliseconds(1);  // what epoll's timeout can tell apart

struct Options {
  int target = 0;
  int listen = 0;
  absl::Duration rtt = absl::Milliseconds(100);
  double bytes_per_second = 125e6;
  double queue_bytes = 1 << 20;
  int socket_buffer() const { return static_cast<int>(std::min<double>(kSocketBuffer, queue_bytes)); }
  double held_bytes() const { return bytes_per_second * absl::ToDoubleSeconds(rtt) / 2 + queue_bytes; }
};

[[noreturn]] void Die(const std::string& what) {
  std::cerr << "farlink: " << what << ": " << std::strerror(errno) << "\n";
  std::exit(1);
}

struct Connection;

// One direction of one connection: from where it is read to where it is written.
struct Way {
  Connection* connection = nullptr;
  int from = -1, to = -1;
  bool up = false;
  bool ended = false;           // no more will be read
  double held = 0;              // bytes on the link or waiting to be written
  std::deque<std::string> due;  // arrived; an empty one is the end
  size_t written = 0;           // of the first of them
  bool readable = false, writable = true;
};

struct Connection {
  Way up, down;
  bool broken = false;
};

struct OnItsWay {
  absl::Duration arrives;
  std::weak_ptr<Connection> connection;
  bool up = false;
  std::string bytes;
};

// One direction of the link.
struct Lane {
  absl::Duration free_at = absl::ZeroDuration();  // the last byte leaves the queue
  std::deque<OnItsWay> pieces;
  uint64_t carried = 0;
};

class FarLink {
 public:
  explicit FarLink(const Options& options) : options_(options) {}
  void Run();

 private:
  double Backlog(const Lane& lane) const {
    return std::max(0.0, absl::ToDoubleSeconds(lane.free_at - now_) * options_.bytes_per_second);
  }
  void Listen();
  void Accept();
  void Watch(int fd);
  void Note(const epoll_event& event);
  void Turn();
  bool Read(Way& way);
  void Write(Way& way);
  void Deliver(Lane& lane);
  void Close(Connection& connection);
  int Wait() const;
  Lane& LaneOf(const Way& way) { return way.up ? up_ : down_; }

  const Options options_;
  const os::Clock* const clock_ = os::Clock::System();
  absl::Duration now_;
  int epoll_ = -1, listener_ = -1;
  Lane up_, down_;
  std::unordered_map<int, std::shared_ptr<Connection>> by_socket_;
};

void FarLink::Listen() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1, buffer = options_.socket_buffer();
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(listener_, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  setsockopt(listener_, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(options_.listen));
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 64) != 0) Die("listen");
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  std::cout << "listening " << ntohs(address.sin_port) << std::endl;
}

void FarLink::Watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.fd = fd;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) Die("epoll");
}

void FarLink::Accept() {
  int near;
  while ((near = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    const int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int buffer = options_.socket_buffer();
    setsockopt(far, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(far, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(options_.target));
    if (connect(far, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      close(far);  // nobody is there: the one who dialled sees its connection end
      close(near);
      continue;
    }
    fcntl(far, F_SETFL, O_NONBLOCK);
    const int on = 1;
    for (int fd : {near, far}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto connection = std::make_shared<Connection>();
    connection->up = {.connection = connection.get(), .from = near, .to = far, .up = true};
    connection->down = {.connection = connection.get(), .from = far, .to = near};
    by_socket_[near] = by_socket_[far] = connection;
    Watch(near);
    Watch(far);
  }
}

// One piece, when there is one and the link takes it. True: there may be more.
bool FarLink::Read(Way& way) {
  Lane& lane = LaneOf(way);
  if (!way.readable || way.ended || Backlog(lane) >= options_.queue_bytes || way.held >= options_.held_bytes()) {
    return false;
  }
  std::string bytes(std::min(kPiece, static_cast<size_t>(options_.queue_bytes)), '\0');
  const ssize_t n = read(way.from, bytes.data(), bytes.size());
  if (n < 0) {
    way.readable = false;
    if (errno != EAGAIN && errno != EINTR) way.connection->broken = true;
    return false;
  }
  if (n == 0) way.ended = true;
  bytes.resize(static_cast<size_t>(n));
  lane.free_at = std::max(lane.free_at, now_) + absl::Seconds(static_cast<double>(n) / options_.bytes_per_second);
  lane.carried += static_cast<uint64_t>(n);
  way.held += static_cast<double>(n);
  lane.pieces.push_back({lane.free_at + options_.rtt / 2, by_socket_[way.from], way.up, std::move(bytes)});
  return n > 0;
}

void FarLink::Write(Way& way) {
  while (way.writable && !way.due.empty()) {
    const std::string& first = way.due.front();
    if (first.empty()) {
      shutdown(way.to, SHUT_WR);
      way.due.pop_front();
      Connection& both = *way.connection;
      both.broken = both.broken || (both.up.ended && both.down.ended && both.up.due.empty() && both.down.due.empty());
      return;
    }
    const ssize_t n = send(way.to, first.data() + way.written, first.size() - way.written, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN)
        way.writable = false;
      else if (errno != EINTR)
        way.connection->broken = true;
      if (errno != EINTR) return;
      continue;
    }
    way.written += static_cast<size_t>(n);
    way.held -= static_cast<double>(n);
    if (way.written < first.size()) continue;
    way.written = 0;
    way.due.pop_front();
  }
}

void FarLink::Deliver(Lane& lane) {
  while (!lane.pieces.empty() && lane.pieces.front().arrives <= now_) {
    OnItsWay piece = std::move(lane.pieces.front());
    lane.pieces.pop_front();
    auto connection = piece.connection.lock();
    if (connection == nullptr) continue;
    Way& way = piece.up ? connection->up : connection->down;
    way.due.push_back(std::move(piece.bytes));
    Write(way);
  }
}

void FarLink::Close(Connection& connection) {
  for (int fd : {connection.up.from, connection.up.to}) {
    close(fd);
    by_socket_.erase(fd);
  }
}

// Milliseconds until something is due without any event: a piece arrives, or the queue has room again.
int FarLink::Wait() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const Lane* lane : {&up_, &down_}) {
    if (!lane->pieces.empty()) next = std::min(next, lane->pieces.front().arrives - now_);
    if (Backlog(*lane) >= options_.queue_bytes) next = std::min(next, kTick);
  }
  if (next == absl::InfiniteDuration()) return -1;
  return static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(std::max(next, absl::ZeroDuration()), kTick)));
}

void FarLink::Note(const epoll_event& event) {
  auto it = by_socket_.find(event.data.fd);
  if (it == by_socket_.end()) return;
  Connection& connection = *it->second;
  const bool near = event.data.fd == connection.up.from;
  if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    (near ? connection.up : connection.down).readable = true;
  }
  if ((event.events & (EPOLLOUT | EPOLLERR)) != 0) (near ? connection.down : connection.up).writable = true;
}

// All that can be done now.
void FarLink::Turn() {
  Deliver(up_);
  Deliver(down_);
  std::vector<std::shared_ptr<Connection>> all;
  for (const auto& [fd, connection] : by_socket_) {
    if (fd == connection->up.from) all.push_back(connection);
  }
  for (const auto& connection : all) {
    Write(connection->up);
    Write(connection->down);
  }
  for (bool more = true; more;) {  // a piece of each in turn: they share the link alike
    more = false;
    for (const auto& connection : all) {
      if (connection->broken) continue;
      if (Read(connection->up)) more = true;
      if (Read(connection->down)) more = true;
    }
  }
  for (const auto& connection : all) {
    if (connection->broken) Close(*connection);
  }
}

void FarLink::Run() {
  Listen();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int stop = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  for (int fd : {listener_, stop}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) Die("epoll");
  }
  epoll_event events[kMaxEvents];
  while (true) {
    now_ = clock_->BootTime();
    const int n = epoll_wait(epoll_, events, kMaxEvents, Wait());
    now_ = clock_->BootTime();
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd == stop) {
        std::cout << "carried " << up_.carried << " " << down_.carried << std::endl;
        return;
      }
      if (events[i].data.fd == listener_) {
        Accept();
      } else {
        Note(events[i]);
      }
    }
    Turn();
  }
}

Options Parse(int argc, char** argv) {
  Options options;
  int rtt_ms = 100, mbit = 1000, kbit = 0, queue_kib = 1024;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    int* value = argument == "--listen"      ? &options.listen
                 : argument == "--rtt-ms"    ? &rtt_ms
                 : argument == "--mbit"      ? &mbit
                 : argument == "--kbit"      ? &kbit
                 : argument == "--queue-kib" ? &queue_kib
                                             : &options.target;
    if (value != &options.target && ++i == argc) break;
    if (!absl::SimpleAtoi(argv[i], value) || *value < 0) options.target = -1;
  }
  if (options.target <= 0 || options.target > 65535 || options.listen > 65535 || mbit == 0 || queue_kib == 0) {
    std::cerr << "usage: farlink TARGET_PORT [--listen PORT] [--rtt-ms 100] [--mbit 1000 | --kbit N] [--queue-kib 1024]\n";
    std::exit(2);
  }
  options.rtt = absl::Milliseconds(rtt_ms);
  options.bytes_per_second = kbit > 0 ? kbit * 125.0 : mbit * 125e3;
  options.queue_bytes = queue_kib * 1024.0;
  return options;
}

}  // namespace
}  // namespace bailiwick

int main(int argc, char** argv) {
  bailiwick::FarLink(bailiwick::Parse(argc, argv)).Run();
  return 0;
}
