#include "services/agent/replica/slot_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/crypto/digest.h"

namespace bailiwick::agent {
namespace {

using Action = SlotPlan::Action;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

SlotState Holding(VersionNumber version, char manifest) {
  SlotState state;
  state.version = version;
  state.manifest.algorithm = 1;
  state.manifest.bytes.fill(static_cast<uint8_t>(manifest));
  state.identity = state.manifest;
  return state;
}

TEST(SlotStateTest, OneTextForOneState) {
  SlotState state = Holding(7, 'a');
  state.suspect = true;
  const std::string text = EncodeSlotState(state);
  ASSERT_TRUE(DecodeSlotState(text).ok());
  EXPECT_TRUE(DecodeSlotState(text)->suspect);
  for (const auto& [from, to] :
       {std::pair("suspect 1", "suspect 2"), {"version 7", "version +7"}, {"writable 0", "writable "}}) {
    std::string other = text.substr(0, text.find("sha256 "));
    other.replace(other.find(from), std::string(from).size(), to);
    absl::StrAppend(&other, "sha256 ", crypto::Sha256(other).Hex(), "\n");
    EXPECT_TRUE(absl::IsDataLoss(DecodeSlotState(other).status())) << to;
  }
}

TEST(SlotPlanTest, TheFirstVersionTakesTheFirstSlot) {
  SlotPlan plan = PlanSlots({}, -1, Holding(1, 'a'));
  EXPECT_EQ(plan.action, Action::kLayOut);
  EXPECT_THAT(plan.candidates, ElementsAre(0, 1, 2));
}

TEST(SlotPlanTest, WhatIsShownIsKept) {
  SlotPlan plan = PlanSlots({Holding(1, 'a')}, 0, Holding(7, 'a'));
  EXPECT_EQ(plan.action, Action::kKeep);
  EXPECT_EQ(plan.slot, 0);
  EXPECT_THAT(plan.candidates, IsEmpty());
}

TEST(SlotPlanTest, ARollbackToALaidOutVersionIsASwap) {
  SlotPlan plan = PlanSlots({Holding(1, 'a'), Holding(2, 'b'), Holding(3, 'c')}, 2, Holding(1, 'a'));
  EXPECT_EQ(plan.action, Action::kSwap);
  EXPECT_EQ(plan.slot, 0);
}

TEST(SlotPlanTest, TheOldestSlotThatIsNotShownIsRecycledEmptyOnesFirst) {
  EXPECT_THAT(PlanSlots({Holding(9, 'a'), Holding(4, 'b'), Holding(5, 'c')}, 1, Holding(10, 'd')).candidates,
              ElementsAre(2, 0));
  EXPECT_THAT(PlanSlots({Holding(4, 'a'), Holding(5, 'b'), std::nullopt}, 1, Holding(10, 'd')).candidates,
              ElementsAre(2, 0));
}

TEST(SlotPlanTest, ASpareIsMadeOnceAndUsedFirst) {
  EXPECT_EQ(PlanSpare({}, -1), -1);
  EXPECT_EQ(PlanSpare({Holding(1, 'a')}, 0), 1);
  EXPECT_EQ(PlanSpare({Holding(1, 'a'), Holding(1, 'a')}, 0), -1) << "there is one";
  EXPECT_THAT(PlanSlots({Holding(1, 'a'), Holding(1, 'a')}, 0, Holding(2, 'b')).candidates, ElementsAre(1, 2));
  EXPECT_EQ(PlanSpare({Holding(1, 'a'), Holding(2, 'b')}, 1), 2);
  EXPECT_EQ(PlanSpare({Holding(3, 'c'), Holding(2, 'b'), Holding(4, 'd')}, 2), -1) << "an old version will do";
  SlotState open = Holding(1, 'a');
  open.style.writable = true;
  EXPECT_EQ(PlanSpare({open}, 0), -1) << "nothing is made of what people write to";
}

TEST(SlotPlanTest, DoubtAndWriteAccessForbidReuse) {
  SlotState suspect = Holding(1, 'a');
  suspect.suspect = true;
  EXPECT_EQ(PlanSlots({suspect}, 0, Holding(1, 'a')).action, Action::kLayOut);
  EXPECT_FALSE(CanBuildOn(suspect, {}));

  SlotState open = Holding(1, 'a');
  open.style.writable = true;
  EXPECT_EQ(PlanSlots({open, Holding(2, 'b')}, 1, open).action, Action::kLayOut) << "somebody may have written to it";
  EXPECT_EQ(PlanSlots({open}, 0, open).action, Action::kKeep) << "what readers see stays as they made it";
  EXPECT_FALSE(CanBuildOn(open, open.style));

  SlotState owned = Holding(1, 'a');
  owned.style.owner = true;
  EXPECT_EQ(PlanSlots({owned}, 0, Holding(1, 'a')).action, Action::kLayOut) << "another style is another tree";
  EXPECT_FALSE(CanBuildOn(owned, {}));
  EXPECT_FALSE(CanBuildOn(std::nullopt, {}));
  EXPECT_TRUE(CanBuildOn(owned, owned.style));
}

}  // namespace
}  // namespace bailiwick::agent
