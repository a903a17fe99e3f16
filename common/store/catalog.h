// Which versions this agent holds, in the agent's database, with the reference counts of their manifest nodes.
//
// Invariants: a version with state complete has every node and chunk in the store, durable, but for what was damaged
// since; refs(node) = number of counted parents + roots, so refs > 0 means the whole subtree is here; counts change in
// the transaction that adds or drops the version. Where a node could not be read when a version was dropped, what lies
// below it counts for less than it should, never for more. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/ids.h"
#include "common/crypto/sign.h"
#include "common/sql/database.h"
#include "common/store/manifest.h"
#include "common/store/version.h"

namespace bailiwick::store {

struct CatalogVersion {
  VersionRecord record;
  Digest identity;
  crypto::Envelope envelope;
};

class VersionCatalog {
 public:
  // Appended to the agent database's migrations by the owner of the database.
  static std::vector<std::string> Migrations();
  static std::string ProvenanceMigration();         // came later
  static std::vector<std::string> AllMigrations();  // both, of a database that holds nothing else between them
  explicit VersionCatalog(sql::Database* db) : db_(db) {}

  // Durable on OK. Counts the nodes below the root that were not counted yet (they must be loadable from `source`).
  // ALREADY_EXISTS: the number exists with another identity; adding the same identity again is OK and changes nothing.
  // `provenance`: by which hops it came here; empty at its home, and when it is not known.
  absl::Status Add(const crypto::Envelope& envelope, NodeSource* source,
                   const std::vector<crypto::Envelope>& provenance = {});
  // Uncounts its nodes; that some of them are damaged is no hindrance. NOT_FOUND: no such version.
  absl::Status Drop(DatasetId dataset, VersionNumber number, NodeSource* source);
  absl::Status DropDataset(DatasetId dataset);
  // As given to Add or PutProvenance, the newest; empty when there is none.
  absl::StatusOr<std::vector<crypto::Envelope>> Provenance(DatasetId dataset, VersionNumber number);
  // Of a version that is here: NOT_FOUND otherwise. Durable on OK.
  absl::Status PutProvenance(DatasetId dataset, VersionNumber number, const std::vector<crypto::Envelope>& provenance);
  // How many hops each version has whose provenance is known.
  absl::StatusOr<std::map<VersionNumber, uint32_t>> Hops(DatasetId dataset);
  absl::StatusOr<std::vector<CatalogVersion>> List(DatasetId dataset);  // ascending by number
  // How often versions were added or dropped since this was made: as long as it stays, so does the list.
  uint64_t changes(DatasetId dataset) const {
    absl::MutexLock lock(&mutex_);
    auto it = changes_.find(dataset);
    return it == changes_.end() ? 0 : it->second;
  }
  absl::StatusOr<std::optional<CatalogVersion>> Find(DatasetId dataset, VersionNumber number);
  absl::StatusOr<std::optional<CatalogVersion>> Newest(DatasetId dataset);
  absl::StatusOr<bool> IsComplete(DatasetId dataset, const Digest& node);  // refs > 0
  // refs > 0. What lies below one of them is live too, counted or not.
  absl::StatusOr<std::vector<Digest>> LiveNodes(DatasetId dataset);

 private:
  void Changed(DatasetId dataset) {
    absl::MutexLock lock(&mutex_);
    ++changes_[dataset];
  }

  sql::Database* db_;
  mutable absl::Mutex mutex_;
  std::map<DatasetId, uint64_t> changes_ ABSL_GUARDED_BY(mutex_);
};

// Retention: which numbers of `versions` (number, time) stay under last/hourly/daily; the newest always does. Pure.
struct RetentionRule {
  uint32_t last = 10;
  uint32_t hourly = 24;
  uint32_t daily = 30;
};
std::vector<VersionNumber> Expired(const std::vector<std::pair<VersionNumber, absl::Time>>& versions,
                                   const RetentionRule& rule, absl::Time now);

}  // namespace bailiwick::store
