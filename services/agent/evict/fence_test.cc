#include "services/agent/evict/fence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/crypto/digest.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

Digest Identity(VersionNumber n) { return crypto::Sha256(std::to_string(n)); }

class FenceTest : public ::testing::Test {
 protected:
  FenceTest() {
    facts_.now = facts_.known = kNow;
    facts_.new_receipt_id = std::string(16, 'r');
    Hold({1, 2});
    facts_.parts = true;
  }
  void Hold(std::vector<VersionNumber> numbers) {
    facts_.versions.clear();
    for (VersionNumber n : numbers) facts_.versions.push_back({{n, Identity(n)}, kNow - absl::Hours(24) * (10 - n)});
  }
  void Forbid() {
    facts_.verdict = {.lawful = false,
                      .judged = true,
                      .reason = "FORBIDDEN",
                      .rule = "p/r",
                      .sentence = "no",
                      .revision = 7,
                      .digest = "d"};
  }
  void Limit(absl::Duration retention) {
    facts_.verdict.max_retention = retention;
    facts_.verdict.retention_rule = "p/limit";
  }
  Step Next() {
    Step step = Decide(state_, facts_);
    state_ = step.fence;
    return step;
  }
  static std::vector<VersionNumber> Numbers(const Erasure& erasure) {
    std::vector<VersionNumber> out;
    for (const auto& v : erasure.versions) out.push_back(v.number);
    return out;
  }

  Facts facts_;
  std::optional<Fence> state_;
};

TEST_F(FenceTest, ALawfulCopyIsLeftAlone) {
  Step step = Next();
  EXPECT_FALSE(step.record || step.close || step.open || step.erase);
  EXPECT_FALSE(step.fence.has_value());
}

TEST_F(FenceTest, FencedAtOnceAndErasedOnlyWhatLiesElsewhere) {
  Forbid();
  Step step = Next();
  EXPECT_TRUE(step.record && step.close);
  EXPECT_FALSE(step.erase);
  EXPECT_EQ(step.alarm, "no");
  EXPECT_EQ(state_->stage, FenceStage::kFenced);
  EXPECT_EQ(state_->rule, "p/r");
  step = Next();
  EXPECT_FALSE(step.record || step.close || step.erase) << "nothing new";
  EXPECT_EQ(step.alarm, "");

  facts_.now += absl::Minutes(1);
  facts_.safe = {Identity(1)};
  step = Next();
  EXPECT_TRUE(step.record && step.erase);
  EXPECT_EQ(state_->stage, FenceStage::kErasing);
  EXPECT_THAT(Numbers(state_->erasure), ElementsAre(1));
  EXPECT_FALSE(state_->erasure.everything);
  state_ = AfterErasure(*state_);
  EXPECT_EQ(state_->stage, FenceStage::kFenced);
  EXPECT_EQ(state_->since, kNow);

  Hold({2});
  facts_.safe = {Identity(1), Identity(2)};
  EXPECT_TRUE(Next().erase);
  EXPECT_TRUE(state_->erasure.everything);
  state_ = AfterErasure(*state_);
  EXPECT_EQ(state_->stage, FenceStage::kErased);
  Hold({});
  facts_.parts = false;
  step = Next();
  EXPECT_FALSE(step.record || step.erase || step.close);
  facts_.verdict = {};
  step = Next();
  EXPECT_TRUE(step.record && step.open);
  EXPECT_FALSE(state_.has_value());
}

TEST_F(FenceTest, LawfulAgainBeforeTheOrder) {
  Forbid();
  Next();
  facts_.verdict = {};
  Step step = Next();
  EXPECT_TRUE(step.record && step.open);
  EXPECT_FALSE(state_.has_value());
}

TEST_F(FenceTest, ThereIsNoWayBackFromErasing) {
  Forbid();
  facts_.safe = {Identity(1), Identity(2)};
  Next();
  const std::string receipt = state_->erasure.receipt_id;
  facts_.verdict = {};
  facts_.new_receipt_id = std::string(16, 's');
  Step step = Next();
  EXPECT_TRUE(step.erase);
  EXPECT_FALSE(step.record);
  EXPECT_EQ(state_->erasure.receipt_id, receipt);
}

TEST_F(FenceTest, PartsNeedNoOrder) {
  Forbid();
  Hold({});
  Step step = Next();
  EXPECT_TRUE(step.close && step.erase);
  EXPECT_TRUE(state_->erasure.everything);
  EXPECT_THAT(state_->erasure.versions, IsEmpty());
}

TEST_F(FenceTest, NothingHereNeedsNoFence) {
  Forbid();
  Hold({});
  facts_.parts = false;
  Step step = Next();
  EXPECT_FALSE(step.record || step.close || step.erase);
}

TEST_F(FenceTest, HeldVersionsStay) {
  Forbid();
  facts_.held = {2};
  facts_.safe = {Identity(1), Identity(2)};
  Step step = Next();
  EXPECT_THAT(Numbers(state_->erasure), ElementsAre(1));
  EXPECT_FALSE(state_->erasure.everything);
  EXPECT_THAT(step.alarm, HasSubstr("a hold keeps version 2"));
  state_ = AfterErasure(*state_);
  Hold({2});
  step = Next();
  EXPECT_FALSE(step.erase);
  facts_.held = {Facts::kEveryVersion};
  EXPECT_FALSE(Next().erase);
  facts_.held.clear();
  EXPECT_TRUE(Next().erase);
}

TEST_F(FenceTest, WhatCannotBeJudgedIsFencedAndKept) {
  Forbid();
  facts_.verdict.judged = false;
  facts_.verdict.reason = "ERROR";
  facts_.safe = {Identity(1), Identity(2)};
  Step step = Next();
  EXPECT_TRUE(step.close);
  EXPECT_FALSE(step.erase);
  EXPECT_THAT(step.alarm, HasSubstr("cannot be evaluated"));
}

TEST_F(FenceTest, TheHomeIsToldAndKeepsItsOwn) {
  facts_.home = true;
  Forbid();
  facts_.safe = {Identity(1), Identity(2)};
  Step step = Next();
  EXPECT_FALSE(step.close || step.erase || step.record);
  EXPECT_THAT(step.alarm, HasSubstr("at its own home"));
}

TEST_F(FenceTest, VersionsPastTheirTimeRetire) {
  Limit(absl::Hours(24 * 8 + 12));  // version 1 is 9 days old, version 2 is 8
  Step step = Next();
  EXPECT_TRUE(step.record);
  EXPECT_FALSE(step.erase) << "nobody has said yet that it lies elsewhere";
  EXPECT_THAT(state_->waiting, ElementsAre(1));
  EXPECT_THAT(state_->Withheld(), ElementsAre(1));
  EXPECT_THAT(state_->sentence,
              HasSubstr("policy p/limit lets a version lie here for 204h, which is over for version 1"));
  EXPECT_EQ(state_->rule, "p/limit");
  EXPECT_EQ(step.alarm, "");
  facts_.safe = {Identity(1), Identity(2)};
  step = Next();
  EXPECT_TRUE(step.record && step.erase);
  EXPECT_FALSE(step.close);
  EXPECT_EQ(state_->stage, FenceStage::kRetiring);
  EXPECT_FALSE(state_->closed());
  EXPECT_EQ(state_->erasure.cause, "max-retention");
  EXPECT_THAT(Numbers(state_->erasure), ElementsAre(1));
  EXPECT_FALSE(AfterErasure(*state_).has_value());
}

TEST_F(FenceTest, WhatTheHomeMayNotKeepEitherNeedsNoOtherCopy) {
  Limit(absl::Hours(24 * 8 + 12));
  facts_.verdict.home_retention = absl::Hours(24 * 9 + 1);
  Next();
  EXPECT_THAT(state_->waiting, ElementsAre(1));
  facts_.verdict.home_retention = absl::Hours(24 * 9 - 1);
  EXPECT_TRUE(Next().erase);
  EXPECT_THAT(Numbers(state_->erasure), ElementsAre(1));
}

TEST_F(FenceTest, AClockThatJumpedAheadFencesAndDoesNotErase) {
  Limit(absl::Hours(24 * 30));
  facts_.safe = {Identity(1), Identity(2)};
  facts_.now = kNow + absl::Hours(24 * 365 * 3);  // known time says that nothing of it is past
  Step step = Next();
  EXPECT_FALSE(step.erase);
  EXPECT_THAT(state_->waiting, ElementsAre(1, 2));
  EXPECT_THAT(step.alarm, HasSubstr("by this machine's clock alone"));
  facts_.now = kNow;  // set right
  step = Next();
  EXPECT_TRUE(step.record);
  EXPECT_FALSE(state_.has_value());
  facts_.now = facts_.known = kNow + absl::Hours(24 * 40);  // confirmed
  EXPECT_TRUE(Next().erase);
  EXPECT_THAT(Numbers(state_->erasure), ElementsAre(1, 2));
}

TEST_F(FenceTest, ACopyThatOnlyAGuessOfTheTimeForbidsIsFencedAndKept) {
  Forbid();
  facts_.verdict.certain = false;
  facts_.safe = {Identity(1), Identity(2)};
  Step step = Next();
  EXPECT_TRUE(step.close);
  EXPECT_FALSE(step.erase);
  EXPECT_THAT(step.alarm, HasSubstr("until signed time confirms it"));
  facts_.verdict.certain = true;
  EXPECT_TRUE(Next().erase);
}

TEST_F(FenceTest, AtTheHomeTheNewestAndTheUnheardOfStay) {
  facts_.home = true;
  Limit(absl::Hours(1));
  Hold({1, 2, 3});
  facts_.acknowledged = 1;
  facts_.known = kNow - absl::Hours(24 * 30);
  Next();
  EXPECT_FALSE(state_.has_value()) << "the home's own is not fenced on a guess of the time";
  facts_.known = kNow;
  Next();
  EXPECT_THAT(Numbers(state_->erasure), ElementsAre(1));
}

TEST_F(FenceTest, AHoldBeyondTheRetention) {
  Limit(absl::Hours(1));
  facts_.safe = {Identity(1), Identity(2)};
  facts_.held = {1};
  Step step = Next();
  EXPECT_THAT(step.alarm, HasSubstr("a hold keeps version 1 beyond the retention"));
  EXPECT_THAT(Numbers(state_->erasure), ElementsAre(2));
  state_ = AfterErasure(*state_);
  ASSERT_TRUE(state_.has_value());
  Hold({1});
  EXPECT_TRUE(Next().record) << "its sentence names what is left";
  step = Next();
  EXPECT_FALSE(step.erase || step.record);
  EXPECT_THAT(state_->held, ElementsAre(1));
  facts_.held.clear();
  step = Next();
  EXPECT_TRUE(step.erase);
}

TEST_F(FenceTest, WhatAStoppedFlowLeftGoes) {
  facts_.left_behind = true;
  Step step = Next();
  EXPECT_TRUE(step.erase && step.record);
  EXPECT_EQ(state_->erasure.cause, "transfer-stopped");
  EXPECT_THAT(state_->erasure.versions, IsEmpty());
  EXPECT_FALSE(state_->erasure.everything);
  Forbid();
  step = Next();
  EXPECT_TRUE(step.erase && step.close) << "out of use at once, though the retirement ends first";
}

}  // namespace
}  // namespace bailiwick::agent
