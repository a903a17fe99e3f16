// The agent's data directory: one process at a time holds it (flock).
//   format            data format number; a newer one is refused
//   keys/<id>.key     wrapping keys, unless they are kept elsewhere
//   lock, agent.db, index/ (chunk index), audit/, identity/, datasets/<id>/, replicas/, hooks/
// Thread-safe. DatasetHandles live as long as the state.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/audit/log.h"
#include "common/base/ids.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/os/random.h"
#include "common/sql/database.h"
#include "common/store/catalog.h"
#include "common/store/chunk_index.h"
#include "common/store/key_files.h"
#include "common/store/node_cache.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

struct Environment {
  os::Files* files = os::Files::System();
  os::Clock* clock = os::Clock::System();
  os::Random* random = os::Random::System();
  uint64_t disk_reserve = 0;  // see DatasetStore::Options
  std::string key_directory;  // of the wrapping keys; empty: keys/ in the data directory
};
// Where the wrapping keys of a data directory are.
std::string KeyDirectory(const std::string& directory, const std::string& key_directory);

class AgentState {
 public:
  static constexpr uint64_t kIndexFilterBytes = 24 << 20;
  static constexpr size_t kNodeBytes = 32 << 20;  // parsed manifest nodes

  // DATA_LOSS: there is content of datasets, but no database that knows of it. Changes nothing.
  static absl::Status CheckDatabase(os::Files* files, const std::string& directory);
  // The same. FAILED_PRECONDITION: another process owns the directory, or it was written by a newer Bailiwick.
  static absl::StatusOr<std::unique_ptr<AgentState>> Open(const Environment& env, const std::string& directory);
  // DATA_LOSS of what was read from the database says what can be done; others stay as they are.
  static absl::Status WithRemedy(const absl::Status& status, const std::string& directory);

  const Environment& env() const { return env_; }
  const std::string& directory() const { return directory_; }
  sql::Database* db() { return db_.get(); }
  audit::Log* audit() { return audit_.get(); }
  store::VersionCatalog* catalog() { return catalog_.get(); }
  store::KeyFiles* keys() { return keys_.get(); }
  Incarnation incarnation() const { return incarnation_; }

  // Small durable values: "spiffe-id", "control-address", "policy-root", ...
  bool index_damaged() const { return index_->damaged(); }
  absl::StatusOr<std::string> GetMeta(const std::string& key);  // empty when absent
  absl::Status PutMeta(const std::string& key, const std::string& value);
  absl::Status PutMeta(const std::vector<std::pair<std::string, std::string>>& values);  // all or none

  // `load` reads what else is known of a dataset: of those that are open now, and of each before it is open. One whose
  // `load` fails is not opened. Its error is that of the first; the others are not loaded.
  absl::Status OnOpen(std::function<absl::Status(DatasetHandle&)> load);
  absl::StatusOr<DatasetHandle*> OpenDataset(DatasetId id, const std::string& name);  // creates
  // DatasetStore::Encrypt; from the first on, builds that know nothing of it refuse the directory.
  absl::Status Encrypt(DatasetHandle& dataset, const std::string& wrapping_key);
  DatasetHandle* FindDataset(DatasetId id);  // null when not here
  std::vector<DatasetHandle*> FindDatasets(const std::string& name);  // one that was declared again has its name too
  std::vector<DatasetHandle*> Datasets();  // all that ever had a place here, by id
  std::shared_ptr<store::RedactionBook> Redactions(DatasetId id);  // the same as the handle's, also of what is not here yet

  // Each grant begins one flow, or goes on with it, once at each end: ALREADY_EXISTS when it was spent before, also by
  // an earlier process. Durable on OK.
  absl::Status SpendGrant(std::string_view grant_id, absl::Time not_after);

  // The last assignment of each dataset, as the coordinator sent it, so that work goes on without it.
  absl::Status PutAssignments(const std::vector<std::pair<DatasetId, std::string>>& assignments);
  absl::StatusOr<std::vector<std::string>> Assignments();

 private:
  AgentState() = default;
  absl::StatusOr<DatasetHandle*> Load(DatasetId id, const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Environment env_;
  std::string directory_;
  std::unique_ptr<os::FileLock> lock_;
  std::unique_ptr<sql::Database> db_;
  std::unique_ptr<store::KeyFiles> keys_;
  std::unique_ptr<store::ChunkIndex> index_;
  store::NodeCache nodes_{kNodeBytes};  // of all datasets
  std::unique_ptr<store::VersionCatalog> catalog_;
  std::unique_ptr<audit::Log> audit_;
  Incarnation incarnation_;
  absl::Mutex format_mutex_;
  absl::Mutex mutex_;
  std::map<DatasetId, std::unique_ptr<DatasetHandle>> datasets_ ABSL_GUARDED_BY(mutex_);
  std::function<absl::Status(DatasetHandle&)> on_open_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex books_mutex_ ABSL_ACQUIRED_AFTER(mutex_);
  std::map<DatasetId, std::shared_ptr<store::RedactionBook>> books_ ABSL_GUARDED_BY(books_mutex_);
};

}  // namespace bailiwick::agent
