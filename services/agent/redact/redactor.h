// Carries out signed orders to redact. An order is verified, in the audit log and durable before anything follows from
// it; from then on nothing of it is read, sent, laid out or stored (store::RedactionBook); then, unless a lock keeps
// it, the bytes are erased from every pack and a signed receipt is made.
//
// Invariants: an order that was taken once is never forgotten; its receipt id is durable before the first byte goes, so
// that a crash anywhere ends in the same receipt; an order that is not signed as it must be changes nothing.
// Thread-safe; CarryOut of one dataset at a time, in the lane in which its collections run.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/agent/v1/redact.pb.h"
#include "common/audit/log.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/os/random.h"
#include "common/rpc/redaction.h"
#include "common/sql/database.h"
#include "services/agent/evict/evictor.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

// What is redacted of a dataset; the same for all that ask.
using BookOf = std::function<std::shared_ptr<store::RedactionBook>(DatasetId)>;

class Redactor {
 public:
  static std::string Migration();
  // Everything that was ordered before the restart goes into the books, before any dataset is used.
  static absl::Status LoadBooks(sql::Database* db, const BookOf& book);

  Redactor(Evictor::Parts parts, BookOf book) : parts_(std::move(parts)), book_(std::move(book)) {}
  absl::Status Load();

  // True: it is new, durable and in effect. False: it was known. PERMISSION_DENIED, INVALID_ARGUMENT: not an order to
  // follow.
  absl::StatusOr<bool> Take(const crypto::Envelope& envelope, const policy::World& world);
  bool Pending(DatasetId dataset) const;
  std::vector<agent::v1::RedactionState> States(DatasetId dataset) const;  // of what is not done

  // A sentence when the bytes must stay for now; empty: they may go.
  using Lock = std::function<absl::StatusOr<std::string>(const store::Redaction& redaction, bool override_locks)>;
  // Removes what is laid out of redacted files. Idempotent, durable on OK.
  using Trees = std::function<absl::Status()>;
  // Erases what may go, with receipts. After an error or a crash: again. OK with locked ones left pending.
  // `begin_erasing` is called once there is something to erase: what writes into the dataset's packs for long must end.
  absl::Status CarryOut(DatasetHandle& dataset, const policy::World& world, const Trees& trees, const Lock& lock,
                        const std::function<void()>& begin_erasing);

 private:
  struct Known {
    DatasetId dataset_id;
    std::string dataset;
    std::shared_ptr<const store::Redaction> redaction;
    bool override_locks = false;
    std::string receipt_id;
    agent::v1::RedactionStage stage = agent::v1::REDACTION_STAGE_FENCED;
    std::string hindrance;
  };
  std::vector<Known> PendingOf(DatasetId dataset) const;
  absl::Status Begin(const Known& known);  // of the erasure: recorded, durable, then the book says so
  absl::Status Finish(const Known& known, const policy::World& world, uint64_t bytes);
  void SetHindrance(const std::string& order_id, const std::string& sentence);
  absl::Status PutStage(sql::Database& db, const Known& known, agent::v1::RedactionStage stage);
  absl::Status Audit(const char* kind, const Known& known);

  const Evictor::Parts parts_;
  const BookOf book_;
  absl::Mutex take_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // one order at a time
  mutable absl::Mutex mutex_;
  std::map<std::string, Known> known_ ABSL_GUARDED_BY(mutex_);  // by order id
};

}  // namespace bailiwick::agent
