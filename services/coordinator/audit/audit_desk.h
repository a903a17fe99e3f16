// The coordinator's part in audit logs: signs checkpoints of its own log, keeps a verified copy of the entries of every
// agent's log (common/audit/mirror.h; records stay at the agents), and has agents of several jurisdictions cosign its
// own checkpoints. A log that contradicts itself is an alarm, with both histories kept; so is the own log where an
// agent says that it does not follow from what it saw: who says so is known from then on, until it cosigns again. After
// a restart they say it anew, within a round of connecting. One thread does the work; messages of sessions wait in a
// bounded queue, and what does not fit is asked for again. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/control/v1/control.pb.h"
#include "common/audit/log.h"
#include "common/audit/mirror.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "services/coordinator/sessions/session.h"

namespace bailiwick::coordinator {

class AuditDesk {
 public:
  static constexpr size_t kMaxQueued = 1024;
  static constexpr size_t kWitnessesEach = 2;  // asked of each jurisdiction: the first part of a region's name
  static constexpr size_t kMaxWitnesses = 32;
  static constexpr size_t kMaxLogs = 16;  // of one site, one after the other

  struct Parts {
    os::Files* files = nullptr;
    const os::Clock* clock = nullptr;
    std::string directory;  // of the copies: <directory>/<site>/<log>
    std::string trust_domain;
    audit::Log* log = nullptr;                                                     // the coordinator's own
    std::string public_key;                                                        // that signs it
    std::function<std::vector<std::string>(const std::string& site)> pinned_keys;  // by the law in force
    std::function<void(const std::string& kind, const std::string& site, const std::string& message)> alarm;
  };
  explicit AuditDesk(Parts parts) : parts_(std::move(parts)) {}
  ~AuditDesk() { Stop(); }

  absl::Status Load();  // the copies that are there
  void Start();
  void Stop();

  static bool Handles(const agent::v1::AgentMessage& message);
  void OnMessage(const std::shared_ptr<Session>& session, const agent::v1::AgentMessage& message);
  void OnClosed(const std::shared_ptr<Session>& session);

  control::v1::ListAuditLogsResponse Logs();
  // Of the own log: how many sites do not cosign it, since it contradicts what they saw; how many of its records the
  // newest cosigned checkpoint covers.
  size_t Disputing();
  uint64_t Witnessed();

  // What the thread does, now and then and for each message that waits.
  void Round();      // signs, begins to collect cosignatures
  bool HandleOne();  // false: none waits

 private:
  struct Item {
    std::shared_ptr<Session> session;
    agent::v1::AgentMessage message;
  };
  struct Kept {  // one log of a site
    std::string site, origin;
    std::unique_ptr<audit::Mirror> mirror;
    std::string public_key;
    absl::Duration bound_at = -absl::InfiniteDuration();  // its checkpoint was recorded last
    std::string told;                                     // the alarm that was raised last
    int refused = 0;                                      // reports since the last good one that showed nothing
  };
  struct Witness {
    std::shared_ptr<Session> session;
    uint64_t seen = 0;
    bool asked = false;  // in this round
  };
  struct Disputed {
    std::string said;  // last
    absl::Time since;
  };

  void Run();
  void OnReport(const std::shared_ptr<Session>& session, const agent::v1::AuditReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Kept*> Find(const std::string& site, const std::string& origin) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The report is taken; what is verified now is bound into the coordinator's own log.
  absl::Status Take(const std::string& site, const agent::v1::AuditReport& report, uint64_t* known)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Dispute(Kept& kept, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Bind(Kept& kept, const audit::SignedCheckpoint& newest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Ask(Witness& witness) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnCosignature(const std::shared_ptr<Session>& session, const agent::v1::AuditCosignature& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AddSignature(const std::string& site, const std::string& note) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::map<std::string, Disputed> Disputes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // of sites of the law
  std::string Problem() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);                       // of the own log

  const Parts parts_;
  std::thread thread_;
  absl::Mutex queue_mutex_;
  std::deque<Item> queue_ ABSL_GUARDED_BY(queue_mutex_);
  bool stopping_ ABSL_GUARDED_BY(queue_mutex_) = false;
  absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(queue_mutex_);
  std::map<std::pair<std::string, std::string>, Kept> kept_ ABSL_GUARDED_BY(mutex_);  // by site and origin
  std::map<std::string, std::string> newest_of_ ABSL_GUARDED_BY(mutex_);              // origin by site, heard last
  std::map<std::string, Witness> witnesses_ ABSL_GUARDED_BY(mutex_);                  // by site
  audit::Note round_ ABSL_GUARDED_BY(mutex_);  // what is being cosigned, with the signatures so far
  uint64_t round_size_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration next_round_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  int lean_rounds_ ABSL_GUARDED_BY(mutex_) = 0;                       // with fewer signatures than what is published
  std::map<std::string, Disputed> disputes_ ABSL_GUARDED_BY(mutex_);  // by site
  std::map<std::string, absl::Duration> disputes_told_ ABSL_GUARDED_BY(mutex_);  // by site: when last, by boot time
};

}  // namespace bailiwick::coordinator
