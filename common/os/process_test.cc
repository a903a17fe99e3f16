#include "common/os/process.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace bailiwick::os {
namespace {

rlim_t SoftOf(__rlimit_resource resource, pid_t pid = 0) {
  rlimit limit{};
  EXPECT_EQ(::prlimit(pid, resource, nullptr, &limit), 0);
  return limit.rlim_cur;
}

// In a child: limits are of the whole process.
int InChild(void (*body)()) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(ProcessTest, MemoryIsPrivateAndLeavesNoCore) {
  EXPECT_EQ(InChild([] {
              EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 1);
              KeepMemoryPrivate();
              EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 0);
              EXPECT_EQ(SoftOf(RLIMIT_CORE), 0u);
            }),
            0);
}

// Where there is neither /sys nor /proc. More threads at a time than the allocator makes arenas for unasked (eight).
TEST(ProcessTest, AllocationsAndLocksLeaveErrnoAlone) {
  EXPECT_EQ(InChild([] {
              LookUpProcessors();
              if (::geteuid() != 0) {
                ASSERT_EQ(::unshare(CLONE_NEWUSER), 0);
              }
              ASSERT_EQ(::chdir("/tmp"), 0);
              char empty[] = "no-sys.XXXXXX";
              ASSERT_NE(::mkdtemp(empty), nullptr);
              ASSERT_EQ(::chroot(empty), 0);
              ASSERT_EQ(::rmdir(empty), 0);  // the working directory is outside
              constexpr int kThreads = 32;
              std::atomic<int> allocated = 0, changed = 0;
              absl::Mutex contended;
              std::vector<std::thread> threads;
              for (int i = 0; i < kThreads; ++i) {
                threads.emplace_back([&] {
                  errno = EINPROGRESS;
                  void* volatile memory = std::malloc(100);
                  if (errno != EINPROGRESS) ++changed;
                  std::free(memory);
                  {
                    absl::MutexLock lock(&contended);  // a futex has its own to say, but not this
                    if (errno == ENOENT) ++changed;
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                  }
                  for (++allocated; allocated < kThreads;) std::this_thread::yield();
                });
              }
              for (std::thread& thread : threads) thread.join();
              EXPECT_EQ(changed, 0);
            }),
            0);
}

TEST(ProcessTest, SecretArgumentsAreTakenAndNotLeftToBeSeen) {
  std::vector<std::string> shown = {"agent", "join",    "--token", "s3cret", "--token=t0p", "--tokens=kept",
                                    "-",     "--token", "-",       "--",     "--token",     "of the child"};
  std::vector<char*> argv;
  for (std::string& word : shown) argv.push_back(word.data());
  const std::vector<std::string> given = shown;
  HideArguments(static_cast<int>(argv.size()), argv.data(), {"--token", "--join"});
  EXPECT_EQ(std::vector<std::string>(argv.begin(), argv.end()), given);
  std::vector<std::string> hidden = given;
  hidden[3] = "xxxxxx";
  hidden[4] = "--token=xxx";
  EXPECT_EQ(shown, hidden);
  HideArguments(3, argv.data(), {"--token"});
  EXPECT_EQ(shown, hidden) << "an option at the end has no value";
}

TEST(ProcessTest, OpenFilesRiseAndChildrenGetWhatWasThereBefore) {
  EXPECT_EQ(InChild([] {
              rlimit limit{};
              ::getrlimit(RLIMIT_NOFILE, &limit);
              limit.rlim_cur = 100;
              ::setrlimit(RLIMIT_NOFILE, &limit);
              GiveBackLimits(::getpid());  // nothing was taken
              EXPECT_EQ(SoftOf(RLIMIT_NOFILE), 100u);
              RaiseOpenFiles();
              EXPECT_EQ(SoftOf(RLIMIT_NOFILE), limit.rlim_max);
              GiveBackLimits(::getpid());
              EXPECT_EQ(SoftOf(RLIMIT_NOFILE), 100u);
            }),
            0);
}

}  // namespace
}  // namespace bailiwick::os
