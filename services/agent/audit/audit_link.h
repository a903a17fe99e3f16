// This agent's part in audit logs being honest: signs checkpoints of its own log, gives the coordinator their entries
// (commitments, never records), and cosigns the coordinator's checkpoints (c2sp.org/tlog-cosignature) once each is
// proved to follow from all that it saw before. What it saw last is durable before it signs, so that no two histories
// ever get its signature. Everything that the coordinator says is verified by the installed law: it names the
// coordinator's timestamp keys, which sign its log. Calls one at a time.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "common/audit/log.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/policy/model.h"

namespace bailiwick::agent {

class AuditLink {
 public:
  struct Parts {
    audit::Log* log = nullptr;
    const os::Clock* clock = nullptr;
    std::string trust_domain, site;
    const crypto::SigningKey* key = nullptr;                   // the enrolment key, which the law pins
    std::function<std::vector<std::string>()> timestamp_keys;  // of the law in force; empty: none yet
    std::function<absl::StatusOr<std::string>()> seen;         // what `keep` was given last; empty: nothing yet
    std::function<absl::Status(const std::string&)> keep;      // durable on OK
    std::function<void(agent::v1::AgentMessage)> send;         // dropped without a session
  };
  explicit AuditLink(Parts parts) : parts_(std::move(parts)) {}

  void Connected();  // asks what the coordinator has
  void Look();       // now and then: signs, reports what is new
  void OnAck(const agent::v1::AuditAck& ack);
  void OnWitness(const agent::v1::AuditWitness& request);

 private:
  void Ask();
  void Report(uint64_t known);
  absl::StatusOr<audit::SignedCheckpoint> Open(const std::string& note) const;
  // What to answer: a cosignature, where the proof must begin, or what is wrong.
  absl::StatusOr<agent::v1::AuditCosignature> Judge(const agent::v1::AuditWitness& request);
  absl::Status Refuse(const std::string& kind, const audit::SignedCheckpoint& newest, const std::string& why);

  const Parts parts_;
  bool asked_ = false;     // a report is on its way
  uint64_t known_ = 0;     // to the coordinator, in this session
  bool answered_ = false;  // it said so
  std::string refused_;    // the report was; nothing more in this session
  std::string disputed_;   // the checkpoint that was recorded as contradictory last
  absl::Duration asked_at_ = absl::ZeroDuration();
  absl::Duration next_report_ = absl::ZeroDuration();
};

}  // namespace bailiwick::agent
