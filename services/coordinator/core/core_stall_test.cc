// What the core takes for a slow link, for a stall, and for dead.
#include <set>

#include "services/coordinator/core/core_fixture.h"
#include "services/coordinator/core/rate_meter.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kFrame = 64 << 10;

class CoreStallTest : public CoreTest {
 protected:
  // Version 1 is on its way from factory to core; nothing else runs.
  void Start() {
    Fleet();
    Report("factory", {SignedRecord(Record(1), "factory")});
    SayInstalled();
    core_->Reconcile();
    ASSERT_EQ(core_->Transfers("").transfers_size(), 1);
    id_ = Newest().transfer_id();
  }
  control::v1::Transfer Newest() {
    const auto all = core_->Transfers("");
    return all.transfers(all.transfers_size() - 1);
  }
  control::v1::Transfer First() {
    const auto all = core_->Transfers("");
    for (const auto& transfer : all.transfers()) {
      if (transfer.transfer_id() == id_) return transfer;
    }
    return {};
  }
  void Tell(const std::string& site, uint64_t bytes, const std::string& limit) {
    agent::v1::AgentMessage message;
    auto* report = message.mutable_transfer();
    report->set_transfer_id(id_);
    report->set_state(agent::v1::TRANSFER_STATE_RUNNING);
    report->set_done_bytes(bytes);
    report->set_wire_bytes(bytes);
    report->set_limit(limit);
    Say(site, message);
  }
  // All sites stay connected, the destination says each second that it waits; a frame comes every so many seconds, 0:
  // none does.
  void Pass(int seconds, int apart) {
    for (int i = 1; i <= seconds; ++i) {
      clock_.Advance(absl::Seconds(1));
      if (apart > 0 && i % apart == 0) bytes_ += kFrame;
      Tell(destination_, bytes_, "link");
      SayInstalled();
      core_->Reconcile();
    }
  }
  std::set<std::string> ToldToEnd() {
    std::set<std::string> sites;
    for (const auto& [site, session] : sessions_) {
      const Message* message = session->Last(Message::kCancel);
      if (message != nullptr && message->cancel().transfer_id() == id_) sites.insert(site);
    }
    return sites;
  }

  std::string destination_ = "core";
  std::string id_;
  uint64_t bytes_ = 0;
};

TEST_F(CoreStallTest, WhatComesSlowlyIsNeverGivenUpAndShowsItsPace) {
  Start();
  for (int apart : {2, 8, 20}) {
    Pass(10 * apart, apart);
    EXPECT_EQ(First().state(), "running") << apart;
    EXPECT_EQ(First().rate_bytes(), kFrame / static_cast<uint64_t>(apart));
    clock_.Advance(absl::Seconds(apart));
    Tell("core", bytes_, "link");
    EXPECT_EQ(First().limit(), "link") << "not its source, which says nothing for a while";
  }
  EXPECT_EQ(core_->Transfers("").transfers_size(), 1);
}

TEST_F(CoreStallTest, WhoSaysNothingIsToldToEndToo) {
  Start();
  for (int i = 0; i <= 60; ++i) {
    clock_.Advance(absl::Seconds(1));
    SayInstalled();
    core_->Reconcile();
  }
  EXPECT_EQ(First().state(), "failed");
  EXPECT_THAT(First().message(), HasSubstr("no word of it for a minute"));
  EXPECT_EQ(ToldToEnd(), (std::set<std::string>{"factory", "core"}));
  sessions_.at("core")->sent.clear();
  Tell("core", kFrame, "link");
  EXPECT_EQ(ToldToEnd(), (std::set<std::string>{"factory", "core"})) << "it was out of reach, and still runs";
}

TEST_F(CoreStallTest, ACapIsNoStall) {
  Start();
  for (int i = 0; i < 120; ++i) {
    Tell("factory", bytes_, "cap");
    Pass(1, 0);
  }
  EXPECT_EQ(First().state(), "running");
  Pass(9, 0);  // the cap is lifted
  EXPECT_EQ(First().state(), "running");
}

// --- with another source

class CoreReplaceTest : public CoreStallTest {
 protected:
  // Both of the EU hold it, the third site there does not.
  void Start() {
    Fleet();
    ASSERT_TRUE(Apply(R"(
apiVersion: bailiwick/v1
kind: Site
metadata: {name: late, labels: {tier: edge}}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: everywhere}
spec: {select: {matchLabels: {class: model}}, to: [{site: late}]}
)")
                    .ok());
    ASSERT_TRUE(Join(Token("late"), "late").ok());
    ASSERT_TRUE(Apply(R"(
apiVersion: bailiwick/v1
kind: Site
metadata: {name: late, labels: {tier: edge}}
spec: {region: eu}
)")
                    .ok());
    Connect("late");
    const crypto::Envelope record = SignedRecord(Record(1), "factory");
    Report("factory", {record});
    Report("core", {record});
    SayInstalled();
    core_->Reconcile();
    ASSERT_EQ(core_->Transfers("").transfers_size(), 1);
    id_ = Newest().transfer_id();
    destination_ = "late";
    ASSERT_EQ(Newest().source(), "factory");
  }
};

TEST_F(CoreReplaceTest, OnAFastLinkTenSecondsWithoutAByteAreAStall) {
  Start();
  Pass(20, 1);
  Pass(10, 0);
  EXPECT_EQ(First().state(), "running");
  Pass(1, 0);
  EXPECT_EQ(First().state(), "failed");
  EXPECT_EQ(First().message(), "nothing came from factory for 10s; another source goes on");
  EXPECT_EQ(ToldToEnd(), (std::set<std::string>{"factory", "late"}));
}

TEST_F(CoreReplaceTest, OnASlowOneAFewFramesAre) {
  Start();
  Pass(80, 8);
  EXPECT_EQ(First().state(), "running");
  Pass(31, 0);
  EXPECT_EQ(First().state(), "running");
  Pass(2, 0);
  EXPECT_EQ(First().state(), "failed");
  EXPECT_THAT(First().message(), HasSubstr("nothing came from factory for 3"));
}

TEST_F(CoreReplaceTest, AReceiverThatHangsIsNoFaultOfItsSource) {
  Start();
  Pass(20, 1);
  agent::v1::AgentMessage heartbeat;
  heartbeat.mutable_heartbeat();
  Say("late", heartbeat);  // its last word is not of the transfer
  for (int i = 0; i < 45; ++i) {
    clock_.Advance(absl::Seconds(1));
    Tell("factory", bytes_, "peer");
    core_->Reconcile();
    ASSERT_EQ(First().state(), "running") << i;
  }
  Pass(1, 0);  // it is back, and has not yet said what came
  EXPECT_EQ(First().state(), "running");
  Pass(5, 1);
  EXPECT_EQ(First().state(), "running");
}

TEST(RateMeter, FollowsWhatComesSeldom) {
  RateMeter meter;
  absl::Duration now = absl::Hours(1);
  meter.Add(now, 0);
  for (int i = 1; i <= 4; ++i) {
    for (int quarter = 0; quarter < 4 * 32; ++quarter) {
      now += absl::Milliseconds(250);
      meter.Add(now, static_cast<uint64_t>(i - 1) * 1000);
      EXPECT_NEAR(meter.PerSecond(now), i > 1 ? 31.25 : 0, 1) << i << " " << quarter;
    }
    meter.Add(now, static_cast<uint64_t>(i) * 1000);
  }
  EXPECT_EQ(meter.PerSecond(now + absl::Seconds(65)), 0) << "nothing comes any more";
}

TEST(RateMeter, ForgetsInSecondsWhatComesOften) {
  RateMeter meter;
  absl::Duration now = absl::Hours(1);
  uint64_t count = 0;
  meter.Add(now, count);
  for (uint64_t step : {100, 1000}) {
    for (int i = 0; i < 40; ++i) {
      now += absl::Milliseconds(250);
      meter.Add(now, count += step);
    }
    EXPECT_NEAR(meter.PerSecond(now), static_cast<double>(step) * 4, 1);
  }
  EXPECT_EQ(meter.PerSecond(now + absl::Seconds(6)), 0);
}

}  // namespace
}  // namespace bailiwick::coordinator
