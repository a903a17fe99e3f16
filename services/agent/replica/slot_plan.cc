#include "services/agent/replica/slot_plan.h"

#include <algorithm>

namespace bailiwick::agent {
namespace {

bool SameStyle(const TreeStyle& a, const TreeStyle& b) { return a.writable == b.writable && a.owner == b.owner; }

bool Holds(const std::optional<SlotState>& slot, const SlotState& wanted) {
  return slot && !slot->suspect && slot->manifest == wanted.manifest && SameStyle(slot->style, wanted.style);
}

}  // namespace

SlotPlan PlanSlots(const Slots& slots, int current, const SlotState& wanted) {
  if (current >= 0 && Holds(slots[current], wanted)) return {SlotPlan::Action::kKeep, current, {}};
  SlotPlan plan;
  for (int n = 0; n < ReplicaTree::kSlots; ++n) {
    // What people may write to can have changed since: only the slot that they see is taken as it is.
    if (Holds(slots[n], wanted) && !wanted.style.writable) return {SlotPlan::Action::kSwap, n, {}};
    if (n != current) plan.candidates.push_back(n);
  }
  auto age = [&](int n) -> VersionNumber { return slots[n] ? slots[n]->version : 0; };
  auto spare = [&](int n) { return current >= 0 && slots[current] && Holds(slots[n], *slots[current]); };
  std::stable_sort(plan.candidates.begin(), plan.candidates.end(), [&](int a, int b) {
    return spare(a) != spare(b) ? spare(a) : age(a) < age(b);
  });
  return plan;
}

int PlanSpare(const Slots& slots, int current) {
  if (current < 0 || !slots[current] || !CanBuildOn(slots[current], slots[current]->style)) return -1;
  SlotState next = *slots[current];
  next.manifest = Digest();
  const SlotPlan plan = PlanSlots(slots, current, next);
  return slots[plan.candidates.front()] ? -1 : plan.candidates.front();
}

bool CanBuildOn(const std::optional<SlotState>& slot, const TreeStyle& style) {
  return slot && !slot->suspect && !style.writable && SameStyle(slot->style, style);
}

}  // namespace bailiwick::agent
