// What a slot of a replica tree holds, as its state file says.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "services/agent/replica/tree_writer.h"

namespace bailiwick::agent {

struct SlotState {
  VersionNumber version = 0;
  Digest identity;  // of the version record
  Digest manifest;
  TreeStyle style;
  bool suspect = false;  // a check found it different from its manifest: never a base or donor, laid out anew
};

std::string EncodeSlotState(const SlotState& state);
// DATA_LOSS when it is not one, FAILED_PRECONDITION when a newer build wrote it.
absl::StatusOr<SlotState> DecodeSlotState(std::string_view text);

}  // namespace bailiwick::agent
