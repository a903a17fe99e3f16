#include "services/agent/transfer/pacer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>

namespace bailiwick::agent {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class PacerTest : public ::testing::Test {
 protected:
  struct Flow {
    std::unique_ptr<Pacer::Place> place;
    std::string region;
    uint64_t sent = 0;
  };
  Flow& Add(const std::string& region) {
    flows_.push_back({std::make_unique<Pacer::Place>(&pacer_), region, 0});
    return flows_.back();
  }
  // All flows send frames of 1 MiB as fast as they may, each looking every few milliseconds.
  void Run(absl::Duration span) {
    const absl::Duration end = clock_.BootTime() + span;
    while (clock_.BootTime() < end) {
      for (Flow& flow : flows_) {
        if (flow.place->Ask(flow.region, kMiB) == absl::ZeroDuration()) flow.sent += kMiB;
      }
      clock_.Advance(absl::Milliseconds(2));
    }
  }

  os::FakeClock clock_;
  Pacer pacer_{&clock_};
  std::list<Flow> flows_;
};

TEST_F(PacerTest, WithoutCapsNothingWaits) {
  Pacer::Place place(&pacer_);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(place.Ask("eu", kMiB), absl::ZeroDuration());
}

TEST_F(PacerTest, AFlowKeepsToItsCap) {
  pacer_.Set({{"p/0", "", 4 * kMiB}});
  Flow& flow = Add("eu");
  Run(absl::Seconds(10));
  EXPECT_GE(flow.sent, 39 * kMiB);
  EXPECT_LE(flow.sent, 42 * kMiB);
}

TEST_F(PacerTest, OneThatBeginsWithSmallFramesGetsItsPartToo) {
  pacer_.Set({{"p/0", "", 4 * kMiB}});
  Flow& large = Add("eu");
  Flow& small = Add("us");
  EXPECT_EQ(small.place->MostNow("us"), SIZE_MAX) << "nobody waits";
  std::map<Flow*, uint64_t> frame = {{&large, 2 * kMiB}, {&small, kMiB / 16}};
  for (const absl::Duration end = clock_.BootTime() + absl::Seconds(10); clock_.BootTime() < end;) {
    for (Flow& flow : flows_) {
      if (flow.place->Ask(flow.region, frame[&flow]) > absl::ZeroDuration()) continue;
      flow.sent += frame[&flow];
      // As FrameSize has it: grows while it may.
      frame[&flow] = std::min({frame[&flow] * 2, 2 * kMiB, uint64_t{flow.place->MostNow(flow.region)}});
    }
    clock_.Advance(absl::Milliseconds(2));
  }
  EXPECT_GE(large.sent + small.sent, 38 * kMiB);
  EXPECT_NEAR(static_cast<double>(large.sent), static_cast<double>(small.sent), 6 * kMiB);
}

TEST_F(PacerTest, FlowsShareACapAlike) {
  pacer_.Set({{"p/0", "", 4 * kMiB}});
  Flow& a = Add("eu");
  Flow& b = Add("us");
  Run(absl::Seconds(10));
  EXPECT_LE(a.sent + b.sent, 42 * kMiB);
  EXPECT_GE(a.sent + b.sent, 39 * kMiB);
  EXPECT_NEAR(static_cast<double>(a.sent), static_cast<double>(b.sent), kMiB);
}

TEST_F(PacerTest, OneThatASlowerCapHoldsBackDoesNotHoldUpOthers) {
  pacer_.Set({{"all", "", 8 * kMiB}, {"us", "us", kMiB}});
  Flow& slow = Add("us/east");
  Flow& fast = Add("eu");
  Run(absl::Seconds(10));
  EXPECT_LE(slow.sent, 12 * kMiB);
  EXPECT_GE(slow.sent, 9 * kMiB);
  EXPECT_GE(fast.sent, 66 * kMiB);
  EXPECT_LE(slow.sent + fast.sent, 84 * kMiB);
}

TEST_F(PacerTest, WhatNobodyUsedIsNotSaved) {
  pacer_.Set({{"p/0", "", 16 * kMiB}});
  clock_.Advance(absl::Hours(1));
  Flow& flow = Add("eu");
  Run(absl::Seconds(1));
  EXPECT_LE(flow.sent, 22 * kMiB) << "a second, a quarter and a frame";
}

TEST_F(PacerTest, AChangeTakesEffectWhileAFlowWaits) {
  pacer_.Set({{"p/0", "", 64 * 1024}});
  Flow& flow = Add("eu");
  Run(absl::Seconds(2));
  EXPECT_EQ(flow.sent, kMiB) << "the next in 16 seconds";
  pacer_.Set({{"p/0", "", 8 * kMiB}});
  Run(absl::Seconds(1));
  EXPECT_GE(flow.sent, 7 * kMiB);
  pacer_.Set({{"p/0", "", 64 * 1024}});
  Run(absl::Milliseconds(100));
  const uint64_t before = flow.sent;
  pacer_.Set({});
  Run(absl::Milliseconds(100));
  EXPECT_GE(flow.sent, before + 40 * kMiB);
}

TEST_F(PacerTest, WhoLeavesHoldsNobodyUp) {
  pacer_.Set({{"p/0", "", kMiB}});
  {
    Pacer::Place gone(&pacer_);
    EXPECT_EQ(gone.Ask("eu", kMiB), absl::ZeroDuration());
    EXPECT_GT(gone.Ask("eu", kMiB), absl::ZeroDuration());
  }
  Flow& flow = Add("eu");
  Run(absl::Seconds(5));
  EXPECT_GE(flow.sent, 4 * kMiB);
}

TEST_F(PacerTest, WhoYieldsDoesNotHoldUpTheLine) {
  pacer_.Set({{"a", "", kMiB}});
  Flow& first = Add("eu");
  while (first.place->Ask("eu", kMiB) == absl::ZeroDuration()) continue;  // now it stands in line
  first.place->Leave();
  flows_.erase(flows_.begin(), flows_.end());
  Flow& second = Add("eu");
  Run(absl::Seconds(10));
  EXPECT_GE(second.sent, 9 * kMiB);
}

TEST_F(PacerTest, KnowsWhoYields) {
  EXPECT_FALSE(pacer_.Yields("1"));
  pacer_.SetYielding({"1", "2"});
  EXPECT_TRUE(pacer_.Yields("1"));
  pacer_.SetYielding({"2"});
  EXPECT_FALSE(pacer_.Yields("1"));
  EXPECT_TRUE(pacer_.Yields("2"));
}

}  // namespace
}  // namespace bailiwick::agent
