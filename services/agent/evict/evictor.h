// Drives fences (fence.h): keeps them, holds and receipts in the agent's database, records in the audit log before
// anything takes effect, and carries erasures through.
//
// Invariants: a fence is durable before the agent acts on it; an erasure's receipt id and what it names are durable
// before the first byte goes, so that a crash at any point ends in the same receipt; a receipt is there until it is
// acknowledged; a hold ends when it is said to have been released, not because a list lacks it. Thread-safe; CarryOut
// of one dataset at a time, in the lane in which its versions are dropped.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/agent/v1/evict.pb.h"
#include "common/audit/log.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/os/random.h"
#include "common/sql/database.h"
#include "services/agent/evict/fence.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

// Removes what is laid out of a dataset: of these versions, or all of it with its directory. Idempotent, durable on OK.
using RemoveTrees = std::function<absl::Status(const std::vector<VersionNumber>* only)>;

class Evictor {
 public:
  struct Parts {  // also of the others that erase: Dropper, Redactor
    sql::Database* db = nullptr;
    audit::Log* audit = nullptr;
    const os::Clock* clock = nullptr;
    os::Random* random = nullptr;
    std::string site;
    std::string agent;                        // SPIFFE id
    const crypto::SigningKey* key = nullptr;  // enrolment
  };
  // Twice what a coordinator sets: whoever sits in its place cannot fill the disk with lists that follow one another.
  static constexpr size_t kMaxHolds = 20'000;
  static std::vector<std::string> Migrations();
  explicit Evictor(Parts parts) : parts_(std::move(parts)) {}
  absl::Status Load();  // what was so before the restart

  // Whether there is anything to look into although the law has nothing against the copy.
  bool Pending(DatasetId dataset) const;
  // What the facts make of the state, durable. `facts` needs what this class does not know: home, verdict,
  // acknowledged, now.
  absl::StatusOr<Step> Evaluate(DatasetHandle& dataset, bool laid_out, Facts facts);
  // Carries the erasure through and makes its receipt. OK and nothing done when there is none. After an error or a
  // crash: again.
  absl::Status CarryOut(DatasetHandle& dataset, const RemoveTrees& trees);

  // Null: the copy is in use.
  std::optional<Fence> Find(DatasetId dataset) const;
  // Whether nothing of the version may come or go; with the sentence and the rule that say why.
  bool Withheld(DatasetId dataset, VersionNumber version, std::string* sentence, std::string* rule) const;
  std::set<VersionNumber> WithheldVersions(DatasetId dataset) const;  // single ones, of a copy that is in use

  // Versions that lie elsewhere too, by the coordinator's word; in memory, it says so again.
  void Order(DatasetId dataset, const std::vector<Digest>& safe);
  // What the coordinator says takes the place of what it said before. But one that names what was released ends a hold
  // only so: what is known here, and what it neither lists nor names, stays (KeptHolds). Durable on OK. Idempotent.
  // OUT_OF_RANGE: more than kMaxHolds with those that stay; all is as it was.
  absl::Status SetHolds(const agent::v1::Holds& holds);
  std::vector<agent::v1::Hold> KeptHolds() const;  // that its list, said last, has not; by id
  bool Held(DatasetId dataset, VersionNumber version) const;

  // A flow into the dataset began; what it leaves when it ends early is in the way one day. Durable on OK.
  absl::Status NotePartial(DatasetId dataset, bool partial);
  bool Partial(DatasetId dataset) const;
  void LeftBehind(DatasetId dataset);  // the law ended a flow: what it left goes now

  absl::StatusOr<std::vector<crypto::Envelope>> Receipts() const;  // not acknowledged yet
  absl::Status Acknowledge(const std::string& receipt_id);

 private:
  struct Known {
    std::optional<Fence> fence;
    bool closed = false;  // as the last verdict says, when that is ahead of the fence
    std::string sentence, rule;
    std::set<Digest> safe;
    bool partial = false;
    bool left_behind = false;
  };
  std::set<VersionNumber> HeldVersions(DatasetId dataset) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Store(const DatasetHandle& dataset, const std::optional<Fence>& fence, const crypto::Envelope* receipt,
                     const std::string& receipt_id);
  absl::Status Record(const DatasetHandle& dataset, const Step& step);
  absl::Status Drop(DatasetHandle& dataset, const Erasure& erasure);
  absl::StatusOr<bool> Collect(DatasetHandle& dataset, const Erasure& erasure);  // whether nothing is left

  const Parts parts_;
  absl::Mutex evaluate_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // one change of a fence at a time
  mutable absl::Mutex mutex_;
  std::map<DatasetId, Known> known_ ABSL_GUARDED_BY(mutex_);
  std::vector<agent::v1::Hold> holds_ ABSL_GUARDED_BY(mutex_);  // the coordinator's, then those that were kept
  size_t kept_ ABSL_GUARDED_BY(mutex_) = 0;                     // so many at their end, by id
};

// For reports.
void ToProto(const Fence& fence, agent::v1::Fence* out);

// Marks every chunk that the versions in the catalog reach.
// `what_can_be_read`: nodes that are damaged or missing lead nowhere, instead of ending the walk.
store::DatasetStore::Mark MarkLive(DatasetHandle& dataset, bool what_can_be_read = false);
// What its packs take on disk.
absl::StatusOr<uint64_t> PackBytes(DatasetHandle& dataset);

}  // namespace bailiwick::agent
