#include "services/agent/replica/hooks.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/os/clock.h"
#include "common/os/process.h"
#include "services/agent/home/dataset_fixture.h"

namespace bailiwick::agent {
namespace {

class HooksTest : public ::testing::Test {
 protected:
  void WriteHook(const std::string& script, mode_t mode = 0755) {
    WriteText(hook_, "#!/bin/sh\n" + script);
    ASSERT_EQ(::chmod(hook_.c_str(), mode), 0);
  }
  absl::Status Run(absl::Duration timeout = absl::Seconds(30)) {
    return RunVersionHook(hook_, {.dataset = "planner", .version = 7, .tree = "/replicas/planner/current"}, stop_,
                          timeout)
        .status();
  }
  std::atomic<bool> stop_{false};
  TempDir temp_;
  const std::string hook_ = temp_ / "on-version";
};

TEST_F(HooksTest, NoHookIsFine) { EXPECT_TRUE(Run().ok()); }

TEST_F(HooksTest, GetsItsContext) {
  WriteHook("echo \"$BAILIWICK_DATASET $BAILIWICK_VERSION $BAILIWICK_TREE\" > " + (temp_ / "out") +
            "; echo to the log >&2");
  absl::Status status = Run();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(ReadText(temp_ / "out"), "planner 7 /replicas/planner/current\n");
}

TEST_F(HooksTest, GetsNoVariableAndNoLimitOfThisProcess) {
  ::setenv("BAILIWICK_JOIN", "secret", 1);
  ::setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 321;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  os::RaiseOpenFiles();
  WriteHook("until [ \"$(ulimit -n)\" = 321 ]; do :; done; env > " + (temp_ / "out"));
  absl::Status status = Run();
  ::unsetenv("BAILIWICK_JOIN");
  ::unsetenv("GRPC_SSL_CIPHER_SUITES");
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_NE(ReadText(temp_ / "out").find("BAILIWICK_TREE="), std::string::npos);
  EXPECT_EQ(ReadText(temp_ / "out").find("BAILIWICK_JOIN"), std::string::npos);
  EXPECT_EQ(ReadText(temp_ / "out").find("GRPC_SSL_CIPHER_SUITES"), std::string::npos);
}

TEST_F(HooksTest, DoesNotKeepAnAgentThatStops) {
  WriteHook("sleep 600");
  stop_ = true;
  EXPECT_TRUE(absl::IsCancelled(Run()));
}

TEST_F(HooksTest, FailureIsReported) {
  WriteHook("exit 3");
  EXPECT_EQ(Run().code(), absl::StatusCode::kAborted);
}

TEST_F(HooksTest, RefusesUnsafeOrUnrunnableFiles) {
  WriteHook("exit 0", 0757);
  EXPECT_EQ(Run().code(), absl::StatusCode::kPermissionDenied);
  WriteHook("exit 0", 0644);
  EXPECT_EQ(Run().code(), absl::StatusCode::kFailedPrecondition);
  WriteHook("exit 0");
  ::chmod(temp_.str().c_str(), 0777);
  EXPECT_EQ(Run().code(), absl::StatusCode::kPermissionDenied);
  ::chmod(temp_.str().c_str(), 01777);
  EXPECT_TRUE(Run().ok());
}

TEST_F(HooksTest, KillsWhatRunsTooLongWithItsChildren) {
  WriteHook("sleep 1000 & echo $! > " + (temp_ / "child") + "; wait");
  EXPECT_EQ(Run(absl::Seconds(2)).code(), absl::StatusCode::kDeadlineExceeded);  // enough to begin on a busy machine
  std::string child = ReadText(temp_ / "child");
  ASSERT_FALSE(child.empty());
  // Dead, or a zombie that init has not reaped yet; a busy machine takes a moment to end what was killed.
  std::string stat;
  for (int i = 0; i < 1000; ++i) {
    stat = ReadText("/proc/" + std::to_string(std::stoi(child)) + "/stat");
    if (stat.empty() || stat.find(") Z") != std::string::npos) return;
    os::Clock::System()->SleepFor(absl::Milliseconds(20));
  }
  ADD_FAILURE() << "still there: " << stat;
}

TEST_F(HooksTest, OneThatWritesWithoutEndIsKilledAllTheSame) {
  WriteHook("exec yes");
  EXPECT_EQ(Run(absl::Seconds(1)).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(HooksTest, AChildThatKeepsTheOutputOpenHoldsNothingUp) {
  WriteHook("sleep 1000 & echo $! > " + (temp_ / "child"));
  EXPECT_TRUE(Run(absl::Seconds(60)).ok());
  ::kill(std::stoi(ReadText(temp_ / "child")), SIGKILL);
}

}  // namespace
}  // namespace bailiwick::agent
