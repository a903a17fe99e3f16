#include "common/os/tcp_listener.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/os/network.h"
#include "common/os/raw_fd.h"

namespace bailiwick::os {
namespace {

// What came in and how much was turned away.
class Door {
 public:
  explicit Door(const std::string& address) {
    auto listener = TcpListener::Listen(address);
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    listener_->Start(
        [this](int, int fd) {
          absl::MutexLock lock(&mutex_);
          taken_.emplace_back(fd);
        },
        [this] {
          absl::MutexLock lock(&mutex_);
          ++turned_away_;
        });
  }
  ~Door() { listener_->Stop(); }
  int port() const { return listener_->port(); }
  bool Saw(size_t taken, size_t turned_away) {
    auto saw = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return taken_.size() == taken && turned_away_ == turned_away;
    };
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&saw), absl::Seconds(20));
  }
  size_t taken() {
    absl::MutexLock lock(&mutex_);
    return taken_.size();
  }
  void HangUp() {
    absl::MutexLock lock(&mutex_);
    taken_.clear();
  }
  bool SawAll(size_t knocks) {
    auto saw = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return taken_.size() + turned_away_ == knocks; };
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&saw), absl::Seconds(20));
  }

 private:
  absl::Mutex mutex_;
  std::vector<internal::UniqueFd> taken_ ABSL_GUARDED_BY(mutex_);
  size_t turned_away_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<TcpListener> listener_;
};

internal::UniqueFd Connect(int port) {
  internal::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!fd.ok() || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return internal::UniqueFd();
  return fd;
}

TEST(TcpListener, TakesConnectionsOnEachAddress) {
  for (const char* address : {"127.0.0.1:0", "0.0.0.0:0", "localhost:0", "[::]:0"}) {
    SCOPED_TRACE(address);
    Door door(address);
    ASSERT_NE(door.port(), 0);
    EXPECT_TRUE(TryConnect("127.0.0.1", static_cast<uint16_t>(door.port()), absl::Seconds(5)).ok());
    EXPECT_TRUE(door.Saw(1, 0));
    EXPECT_TRUE(absl::IsUnavailable(TcpListener::Listen(absl::StrCat("127.0.0.1:", door.port())).status())) << "taken";
  }
  EXPECT_TRUE(absl::IsInvalidArgument(TcpListener::Listen("127.0.0.1").status()));
  EXPECT_TRUE(absl::IsUnavailable(TcpListener::Listen("192.0.2.1:0").status())) << "no address of this machine";
}

TEST(TcpListener, ClosesItsPortWhenItStops) {
  auto listener = TcpListener::Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const auto port = static_cast<uint16_t>((*listener)->port());
  (*listener)->Stop();
  EXPECT_FALSE(TryConnect("127.0.0.1", port, absl::Seconds(5)).ok());
}

TEST(TcpListener, KeepsTheLastDescriptorsForOthersAndTakesAgainLater) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  Door door("127.0.0.1:0");
  const rlimit few{400, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  std::vector<internal::UniqueFd> knocks;
  for (int i = 0; i < 190; ++i) {  // each takes one at either end
    knocks.push_back(Connect(door.port()));
    ASSERT_TRUE(knocks.back().ok()) << i;
    ASSERT_TRUE(door.SawAll(knocks.size()));
  }
  EXPECT_LT(door.taken(), 160u);
  internal::UniqueFd own(::dup(0));
  EXPECT_TRUE(own.ok());
  EXPECT_LT(own.get(), 400 - 1);
  const size_t turned_away = knocks.size() - door.taken();
  EXPECT_GT(turned_away, 30u);
  knocks.clear();
  door.HangUp();
  internal::UniqueFd later = Connect(door.port());
  EXPECT_TRUE(door.Saw(1, turned_away));
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace bailiwick::os
