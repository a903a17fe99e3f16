// The law as this agent knows it: the last good signed bundle and the classification of each dataset, from signed bytes only.
//
// Invariants: the revision never goes down, also across restarts; what is installed was verified against the root hash that
// came with the join string; it is durable before it takes effect; a refused offer changes nothing. Thread-safe.
#pragma once

#include <map>
#include <memory>
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
#include "common/policy/model.h"
#include "common/sql/database.h"
#include "common/store/version.h"

namespace bailiwick::agent {

struct LawSnapshot {
  policy::World world;
  config::Catalog resources;
  std::map<DatasetId, config::Classification> classifications;  // families under the family's id

  // The verified classification of a dataset or of a family's stream. NOT_FOUND: nobody who may has signed what it is.
  absl::StatusOr<config::Classification> Classify(DatasetId id, const std::string& name) const;
};

// Whether a version record may be believed: signed by a key that the bundle pins to the home site named in it, for this
// dataset, and not from an epoch later than the classification's. FAILED_PRECONDITION: what is installed here does not know
// enough (site, key, classification, epoch), which a newer policy may mend. PERMISSION_DENIED: it is false.
absl::StatusOr<store::VersionRecord> OpenVersionRecord(const crypto::Envelope& envelope, const LawSnapshot& law);

class Law {
 public:
  static std::vector<std::string> Migrations();
  Law(std::string root_sha256, sql::Database* db) : root_sha256_(std::move(root_sha256)), db_(db) {}

  absl::Status Load();  // what was installed before the restart
  // FAILED_PRECONDITION: older than what is installed. Others as config::OpenBundle. Offering the same again is OK.
  absl::Status Install(const crypto::Envelope& bundle, const std::vector<crypto::Envelope>& classifications);
  std::shared_ptr<const LawSnapshot> current() const;  // null: none yet
  uint64_t revision() const;

 private:
  absl::StatusOr<std::shared_ptr<const LawSnapshot>> Build(const crypto::Envelope& bundle,
                                                           const std::vector<crypto::Envelope>& classifications,
                                                           std::vector<crypto::Envelope>* kept) const;
  const std::string root_sha256_;
  sql::Database* const db_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const LawSnapshot> current_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex install_mutex_;  // one Install at a time
};

}  // namespace bailiwick::agent
