// Runs one flow over one stream, as source or receiver, dialler or listener, to its end. Blocking; each call has a
// thread. What is decided is in the audit log, durable, before it takes effect.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/audit/log.h"
#include "common/audit/refusals.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/policy/at_rest.h"
#include "common/policy/grant.h"
#include "common/rpc/gate.h"
#include "common/rpc/provenance.h"
#include "services/agent/law/law.h"
#include "services/agent/state/dataset.h"
#include "services/agent/state/identity_proof.h"
#include "services/agent/transfer/flow_control.h"
#include "services/agent/transfer/pacer.h"
#include "services/agent/transfer/stream.h"

namespace bailiwick::agent {

struct TransferUpdate {
  enum class State { kRunning, kDone, kFailed };
  std::string transfer_id;
  State state = State::kRunning;
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
  uint64_t wire_bytes = 0;
  std::string limit;  // what holds this end back, as in TransferReport
  std::string code;  // why it failed, as in Goodbye
  std::string message;
  std::string rule;
};

struct FlowEnd {
  std::string peer_site;
  std::string purpose;
  std::string code;      // as in Goodbye
  bool too_far = false;  // it came further from its home than the law permits now
  bool complete() const { return code == "COMPLETE"; }
};

struct Question;  // of a replica that only dials out: ask.h
struct OfferedVersion {
  crypto::Envelope version_record;
  crypto::Envelope grant;
};

// What flows need of the agent around them. Thread-safe members.
struct TransferEnvironment {
  const Law* law = nullptr;
  const os::Clock* clock = nullptr;
  audit::Log* audit = nullptr;
  audit::Refusals* refusals = nullptr;
  Pacer* pacer = nullptr;  // of what is sent
  std::function<std::string()> self;          // own SPIFFE id
  std::shared_ptr<const rpc::Gate> gate;
  std::function<std::shared_ptr<const IdentityProof>()> proof;  // of the certificate in use now
  std::function<std::string()> roots;                           // PEM, that certificates of peers must lead to
  std::function<crypto::Envelope(const rpc::HopStatement&)> sign_hop;
  std::function<absl::StatusOr<DatasetHandle*>(DatasetId, const std::string& name)> open_dataset;  // makes it when new
  // For a version that comes here: sees to how it must be kept at rest, and says it, signed.
  struct Kept {
    policy::Storage storage;
    std::string problem;  // why it is not kept as obliged
    crypto::Envelope statement;
  };
  std::function<Kept(DatasetId, const std::string& name, const policy::Grant&)> keep;
  std::function<DatasetHandle*(DatasetId)> find_dataset;    // null: not here
  std::function<absl::Status(const policy::Grant&)> spend;  // ALREADY_EXISTS: this grant was used before
  // Whether nothing of the version may come or go here, whatever the grant says: the copy is fenced. With sentence and
  // rule.
  std::function<bool(DatasetId, VersionNumber, std::string* sentence, std::string* rule)> withheld;
  // Whether the coordinator, when it was last heard, wanted a copy here: what a source that grants itself a flow may
  // send.
  std::function<bool(DatasetId)> follows;
  // What a replica with this SPIFFE id may have that is newer than what it asks about. NOT_FOUND: nothing.
  std::function<absl::StatusOr<OfferedVersion>(const Question&, const std::string& peer)> offer;
  // Around each flow that was let in; `began` gives what Cancel ends it by.
  std::function<void(DatasetHandle&, VersionNumber, bool receive, const std::string& transfer_id,
                     const std::string& peer_site, const std::shared_ptr<FlowControl>&)>
      began;
  std::function<void(DatasetHandle&, bool receive, const std::shared_ptr<FlowControl>&, const FlowEnd&)> ended;
  std::function<void(const TransferUpdate&)> report;
  std::function<void(DatasetHandle&)> received;  // a version is complete and durable
  // Something of a version that was asked for is not here, or damaged.
  std::function<void(DatasetHandle&, VersionNumber)> lacks;
};

// A flow that this agent dials: from a TransferOrder.
struct FlowOrder {
  std::string transfer_id;
  bool receive = true;
  crypto::Envelope version_record;
  crypto::Envelope grant;
};

void RunDialledFlow(const TransferEnvironment& env, const FlowOrder& order, std::shared_ptr<FrameStream> stream,
                    std::shared_ptr<FlowControl> control);
void RunAcceptedFlow(const TransferEnvironment& env, std::shared_ptr<FrameStream> stream);

}  // namespace bailiwick::agent
