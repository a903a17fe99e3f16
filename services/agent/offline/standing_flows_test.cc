#include "services/agent/offline/standing_flows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/agent/transfer/flow_control.h"

namespace bailiwick::agent {
namespace {

constexpr absl::Duration kLife = absl::Minutes(5);

Digest Of(char c) { return *Digest::From(Digest::kSha256, std::string(32, c)); }

store::CatalogVersion Version(VersionNumber number) {
  store::CatalogVersion version;
  version.record.number = number;
  version.identity = Of(static_cast<char>('a' + number));
  return version;
}

class StandingFlowsTest : public ::testing::Test {
 protected:
  void Send(const std::string& id, VersionNumber number) {
    flows_.BeganToSend(key_, {id, Version(number), "spiffe://acme/x", "care", std::make_shared<FlowControl>()}, kLife,
                       now_);
  }
  bool Due(VersionNumber number) { return flows_.Due(key_, Version(number).identity, now_); }

  const StandingFlows::Key key_{*DatasetId::From(std::string(16, 'd')), "core"};
  absl::Duration now_ = absl::Hours(1);
  StandingFlows flows_;
};

TEST_F(StandingFlowsTest, EachVersionOnceAndOneAtATime) {
  EXPECT_TRUE(Due(1));
  Send("t1", 1);
  EXPECT_FALSE(Due(1));
  EXPECT_FALSE(Due(2));
  EXPECT_FALSE(flows_.Ended("another", true, "", now_));
  EXPECT_TRUE(flows_.Ended("t1", true, "", now_));
  EXPECT_FALSE(flows_.Ended("t1", true, "", now_));
  EXPECT_FALSE(Due(1));  // arrived
  EXPECT_TRUE(Due(2));
  ASSERT_EQ(flows_.Views().size(), 1u);
  EXPECT_EQ(flows_.Views()[0].arrived, 1u);
}

TEST_F(StandingFlowsTest, FailuresWaitLongerEachTimeUpToABound) {
  absl::Duration waited;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Due(1));
    Send("t", 1);
    flows_.Ended("t", false, "the peer is away", now_);
    EXPECT_FALSE(Due(1));
    EXPECT_EQ(flows_.Views()[0].problem, "the peer is away");
    for (waited = absl::ZeroDuration(); !Due(1); waited += absl::Seconds(1)) now_ += absl::Seconds(1);
    EXPECT_GE(waited, i == 0 ? StandingFlows::kRetryMin : 2 * StandingFlows::kRetryMin);
  }
  EXPECT_EQ(waited, StandingFlows::kRetryMax);
  Send("t", 1);
  flows_.Ended("t", true, "", now_);
  EXPECT_TRUE(Due(2));
  EXPECT_EQ(flows_.Views()[0].problem, "");
  flows_.Refused(key_, "not delegated", now_);
  EXPECT_FALSE(Due(2));
  EXPECT_EQ(flows_.Views()[0].problem, "not delegated");
}

TEST_F(StandingFlowsTest, GrantsAreRenewedAtHalfOfTheirLife) {
  Send("t1", 1);
  now_ += kLife / 2 - absl::Seconds(1);
  EXPECT_TRUE(flows_.RenewalsDue(kLife, now_).empty());
  now_ += absl::Seconds(1);
  ASSERT_EQ(flows_.RenewalsDue(kLife, now_).size(), 1u);
  EXPECT_TRUE(flows_.RenewalsDue(kLife, now_).empty());
  now_ += kLife / 2;
  const auto due = flows_.RenewalsDue(kLife, now_);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].transfer_id, "t1");
  EXPECT_EQ(due[0].purpose, "care");
}

TEST_F(StandingFlowsTest, WhoOnlyDialsOutAsksNowAndThen) {
  EXPECT_TRUE(flows_.DueToAsk(key_, now_));
  flows_.BeganToAsk(key_, "q1", std::make_shared<FlowControl>());
  EXPECT_FALSE(flows_.DueToAsk(key_, now_));
  now_ += kLife;
  EXPECT_TRUE(flows_.RenewalsDue(kLife, now_).empty());  // the other side grants
  flows_.Ended("q1", true, "", now_);
  EXPECT_FALSE(flows_.DueToAsk(key_, now_));
  now_ += StandingFlows::kAskEvery;
  EXPECT_TRUE(flows_.DueToAsk(key_, now_));
}

TEST_F(StandingFlowsTest, WithTheCoordinatorBackNothingStands) {
  Send("t1", 1);
  EXPECT_EQ(flows_.Clear().size(), 1u);
  EXPECT_TRUE(flows_.Views().empty());
  EXPECT_FALSE(flows_.Ended("t1", true, "", now_));
  EXPECT_TRUE(Due(1));
}

}  // namespace
}  // namespace bailiwick::agent
