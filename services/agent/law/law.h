// The law as this agent knows it: the last good signed bundle, the classification of each dataset, and whether both may
// still be relied on, from signed bytes only.
//
// Invariants: the revision never goes down, nor the number of the root, nor the revision of any classification, nor the
// age of the newest timestamp, also across restarts; what is installed was verified against the root hash that came
// with the join string or against a root that it leads to; it is durable before it takes effect; a refused offer
// changes nothing. An agent that joined anew may be pinned to a root that the stored law does not lead to: that law is
// set aside and nothing flows until a newer one, or the same with a chain that leads there, is installed. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/config/world.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/policy/grant.h"
#include "common/policy/model.h"
#include "common/sql/database.h"
#include "common/store/version.h"
#include "services/agent/law/trusted_clock.h"

namespace bailiwick::audit {
class Log;
}

namespace bailiwick::agent {

struct LawSnapshot {
  policy::World world;
  config::Catalog resources;
  std::map<DatasetId, config::Classification> classifications;  // families under the family's id

  // The verified classification of a dataset or of a family's stream. NOT_FOUND: nobody who may has signed what it is,
  // or it is known under another name.
  absl::StatusOr<config::Classification> Classify(DatasetId id, const std::string& name) const;
};

// Whether a version record may be believed: signed by a key that the bundle pins to the home site named in it, for this
// dataset, and not from an epoch later than the classification's. FAILED_PRECONDITION: what is installed here does not
// know enough (site, key, classification, epoch), which a newer policy may mend. PERMISSION_DENIED: it is false.
absl::StatusOr<store::VersionRecord> OpenVersionRecord(const crypto::Envelope& envelope, const LawSnapshot& law);

// What a coordinator offers. Without a bundle: more classifications under the one installed.
struct LawOffer {
  std::optional<crypto::Envelope> bundle;
  config::RootChain roots;
  std::vector<crypto::Envelope> classifications;
  std::optional<crypto::Envelope> timestamp;  // made just now
};

// What is recorded of a law before it is in force. A disk without space is no reason to go on by the one before: the
// record is then owed, or, when too many are, only said in the log.
absl::Status RecordLaw(audit::Log* log, uint64_t revision);

class Law {
 public:
  static std::vector<std::string> Migrations();
  static std::string LaterMigration();
  Law(std::string root_sha256, sql::Database* db, const os::Clock* clock)
      : root_sha256_(std::move(root_sha256)), db_(db), clock_(clock) {}

  absl::Status Load();  // what was installed before the restart; PERMISSION_DENIED never: see above
  // FAILED_PRECONDITION: older than what is installed, or there is no bundle yet. Others as config::OpenBundle.
  // Offering the same again is OK. A classification or timestamp that cannot be believed is left out: a dataset without
  // one is unknown in law and nothing of it flows. `record` is asked when all is verified and nothing changed yet, if
  // another law than the one in force would be: its error is returned, and nothing changes.
  absl::Status Install(const LawOffer& offer, const std::function<absl::Status(uint64_t revision)>& record = nullptr);
  // A timestamp that was made just now. As config::OpenTimestamp; FAILED_PRECONDITION also: older than one seen before.
  absl::Status Refresh(const crypto::Envelope& timestamp);
  // What time it is, by a timestamp that was made just now, of whatever bundle. As Refresh; nothing is vouched for.
  absl::Status LearnTime(const crypto::Envelope& timestamp);
  // Whether anything may be sent or received now, as far as the age of the law and the clock go: POLICY_STALE,
  // CLOCK_SKEW.
  policy::GrantDecision CheckFresh() const;
  absl::Status KeepTime();  // makes durable that it is at least now

  std::shared_ptr<const LawSnapshot> current() const;  // null: none yet
  // Of the law in force, else of the one set aside: for where things lie here, never for what may flow.
  config::Catalog resources() const;
  uint64_t revision() const;
  absl::Time vouched_until() const;  // by the newest timestamp; the infinite past: by none
  // When a signed word last said that the law in force is the current one: its newest timestamp, or where it asks for
  // none the bundle itself. The infinite past: nobody has.
  absl::Time called_current() const;
  const TrustedClock& clock() const { return clock_; }

 private:
  struct Known {
    config::Classification record;
    crypto::Envelope envelope;
    bool valid = false;  // under the bundle in force; kept all the same, so that nothing older ever takes its place
  };
  using Records = std::map<DatasetId, Known>;
  struct Draft;   // what an Install is about to make durable
  struct Floor {  // the newest bundle ever installed, also one set aside
    uint64_t revision = 0;
    std::string digest;
  };

  absl::StatusOr<Records> ReadRecords() ABSL_EXCLUSIVE_LOCKS_REQUIRED(install_mutex_);
  absl::StatusOr<std::string> Get(const char* key);
  absl::StatusOr<uint64_t> StoredRevision();  // 0: none is stored
  absl::StatusOr<std::optional<LawOffer>> ReadStored();
  void SetAside(const std::optional<crypto::Envelope>& bundle, uint64_t revision, const absl::Status& why)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status NoteDigest(const policy::World& world) ABSL_EXCLUSIVE_LOCKS_REQUIRED(install_mutex_);
  absl::Status CheckFloor(const policy::World& world) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(install_mutex_);
  absl::Status OpenOffered(const LawOffer& offer, Draft* draft) ABSL_EXCLUSIVE_LOCKS_REQUIRED(install_mutex_);
  static void Reopen(const std::string& trust, Draft* draft);
  static void Take(const std::vector<crypto::Envelope>& offered, Draft* draft);
  absl::Status Persist(const Draft& draft) ABSL_EXCLUSIVE_LOCKS_REQUIRED(install_mutex_);
  absl::Status RefreshLocked(const crypto::Envelope& timestamp) ABSL_EXCLUSIVE_LOCKS_REQUIRED(install_mutex_);
  void Vouch(const config::PolicyTimestamp& timestamp);

  const std::string root_sha256_;
  sql::Database* const db_;
  TrustedClock clock_;
  absl::Mutex install_mutex_;  // one change at a time
  Records records_ ABSL_GUARDED_BY(install_mutex_);
  std::string trust_ ABSL_GUARDED_BY(install_mutex_);  // which keys the records were verified with
  std::optional<Floor> floor_ ABSL_GUARDED_BY(install_mutex_);
  std::string recorded_ ABSL_GUARDED_BY(install_mutex_);  // digest; offered again after a failure it is no other law
  mutable absl::Mutex mutex_;
  std::shared_ptr<const LawSnapshot> current_ ABSL_GUARDED_BY(mutex_);
  config::Catalog aside_ ABSL_GUARDED_BY(mutex_);                     // resources of the law that was set aside
  std::string root_now_ ABSL_GUARDED_BY(mutex_);                      // hash of the newest root that was installed
  absl::Time issued_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // newest timestamp ever believed
  std::string vouched_digest_ ABSL_GUARDED_BY(mutex_);                // of the bundle that it is for
  absl::Time vouched_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Duration vouched_boot_ ABSL_GUARDED_BY(mutex_);  // the same, in time since boot, from receipt on
};

}  // namespace bailiwick::agent
