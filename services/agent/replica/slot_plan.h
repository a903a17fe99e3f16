// Which slot of a replica shows a version next, and at what cost: a decision over what the slots hold, without I/O.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "services/agent/replica/replica_tree.h"
#include "services/agent/replica/slot_state.h"

namespace bailiwick::agent {

using Slots = std::array<std::optional<SlotState>, ReplicaTree::kSlots>;  // nothing: holds no whole tree

struct SlotPlan {
  enum class Action {
    kKeep,    // `current` shows it already
    kSwap,    // `slot` holds it
    kLayOut,  // the first of `candidates` that no reader has leased is turned into it
  };
  Action action = Action::kLayOut;
  int slot = -1;
  std::vector<int> candidates;
};

// `current`: the slot that the link names, -1: none. Of slots that are not current, a spare comes first (it holds what
// the current one does), then those that hold nothing, then the oldest version.
SlotPlan PlanSlots(const Slots& slots, int current, const SlotState& wanted);

// Where a spare is worth its while: the next version would go to a slot that holds nothing, and be laid out whole. -1:
// nowhere.
int PlanSpare(const Slots& slots, int current);

// Whether a tree of this style may be made by difference from the slot, or share its files: what people may write to
// can have changed since it was laid out.
bool CanBuildOn(const std::optional<SlotState>& slot, const TreeStyle& style);

}  // namespace bailiwick::agent
