// Asking a home for its newest version while the coordinator is out of reach, and answering: for replicas that only
// dial out. One short exchange on a stream of its own; the flow that follows is like any other. Blocking.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "services/agent/transfer/transfer.h"

namespace bailiwick::agent {

struct Question {
  DatasetId dataset;
  VersionNumber newest = 0;  // held by who asks; 0: none
  std::string transfer_id;   // of the flow that would follow
};

// NOT_FOUND: nothing newer. UNAVAILABLE: no answer. PERMISSION_DENIED: refused, with the peer's sentence. What comes
// back is as the peer said it: the flow checks it.
absl::StatusOr<OfferedVersion> Ask(const TransferEnvironment& env, const Question& question, FrameStream& stream);

// Answers what an accepted stream began with, and ends it. Only a peer whose certificate is backed by a pinned key gets
// an answer, by env.offer.
void Answer(const TransferEnvironment& env, const transfer::v1::Ask& ask, FrameStream& stream);

}  // namespace bailiwick::agent
