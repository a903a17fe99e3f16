#include "services/agent/redact/redactor.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/rpc/receipt.h"

namespace bailiwick::agent {
namespace {

constexpr char kCause[] = "redaction";

struct Row {
  std::string receipt_id;
  agent::v1::RedactionStage stage = agent::v1::REDACTION_STAGE_FENCED;
  rpc::RedactionOrder order;
};

absl::Status ForOrders(sql::Database* db, const std::function<absl::Status(Row)>& body) {
  return db->Read([&](sql::Database& open) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, open.Prepare("SELECT envelope, receipt, stage FROM redactions"));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      types::v1::Envelope envelope;
      if (!envelope.ParseFromString(select.Blob(0))) {
        return absl::DataLossError("a redaction order in the agent's database is unreadable");
      }
      Row out;
      BW_ASSIGN_OR_RETURN(out.order, rpc::ReadRedaction(rpc::FromProto(envelope)));
      out.receipt_id = select.Blob(1);
      out.stage = static_cast<agent::v1::RedactionStage>(select.Int(2));
      BW_RETURN_IF_ERROR(body(std::move(out)));
    }
  });
}

std::shared_ptr<const store::Redaction> RedactionOf(const rpc::RedactionOrder& order) {
  auto redaction = std::make_shared<store::Redaction>();
  redaction->order_id = order.order_id;
  redaction->ordered_at = order.issued_at;
  redaction->contents = order.contents;
  redaction->chunks = order.chunks;
  return redaction;
}

}  // namespace

std::string Redactor::Migration() {
  return "CREATE TABLE redactions(id BLOB PRIMARY KEY, envelope BLOB NOT NULL, receipt BLOB NOT NULL,"
         " stage INTEGER NOT NULL) STRICT, WITHOUT ROWID;";
}

absl::Status Redactor::LoadBooks(sql::Database* db, const BookOf& book) {
  return ForOrders(db, [&](Row row) -> absl::Status {
    book(row.order.dataset_id)->Add(RedactionOf(row.order), row.stage != agent::v1::REDACTION_STAGE_FENCED);
    return absl::OkStatus();
  });
}

absl::Status Redactor::Load() {
  absl::MutexLock lock(&mutex_);
  return ForOrders(parts_.db, [&](Row row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::Status {
    known_[row.order.order_id] = {.dataset_id = row.order.dataset_id,
                                  .dataset = row.order.dataset,
                                  .redaction = RedactionOf(row.order),
                                  .override_locks = row.order.override_locks,
                                  .receipt_id = row.receipt_id,
                                  .stage = row.stage};
    return absl::OkStatus();
  });
}

absl::Status Redactor::Audit(const char* kind, const Known& known) {
  return parts_.audit
      ->Append(kind, absl::StrCat("dataset/", known.dataset),
               audit::Detail()
                   .Text("order", absl::BytesToHexString(known.redaction->order_id))
                   .Text("receipt", absl::BytesToHexString(known.receipt_id))
                   .Number("contents", known.redaction->contents.size())
                   .Number("chunks", known.redaction->chunks.size()))
      .status();
}

absl::StatusOr<bool> Redactor::Take(const crypto::Envelope& envelope, const policy::World& world) {
  absl::MutexLock one(&take_mutex_);
  BW_ASSIGN_OR_RETURN(rpc::RedactionOrder order, rpc::OpenRedaction(envelope, world));
  {
    absl::MutexLock lock(&mutex_);
    if (known_.count(order.order_id) != 0) return false;
  }
  Known known{.dataset_id = order.dataset_id,
              .dataset = order.dataset,
              .redaction = RedactionOf(order),
              .override_locks = order.override_locks,
              .receipt_id = parts_.random->Bytes(16)};
  BW_RETURN_IF_ERROR(Audit("redaction-ordered", known));
  BW_RETURN_IF_ERROR(parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    types::v1::Envelope message;
    rpc::ToProto(envelope, &message);
    const std::string bytes = message.SerializeAsString();
    BW_ASSIGN_OR_RETURN(sql::Statement put,
                        db.Prepare("INSERT INTO redactions(id, envelope, receipt, stage) VALUES(?, ?, ?, ?)"));
    return put.BindBlob(1, order.order_id)
        .BindBlob(2, bytes)
        .BindBlob(3, known.receipt_id)
        .Bind(4, int64_t{known.stage})
        .Run();
  }));
  book_(order.dataset_id)->Add(known.redaction, /*erase=*/false);
  absl::MutexLock lock(&mutex_);
  known_[order.order_id] = std::move(known);
  return true;
}

std::vector<Redactor::Known> Redactor::PendingOf(DatasetId dataset) const {
  std::vector<Known> pending;
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, known] : known_) {
    if (known.dataset_id == dataset && known.stage != agent::v1::REDACTION_STAGE_DONE) pending.push_back(known);
  }
  return pending;
}

bool Redactor::Pending(DatasetId dataset) const { return !PendingOf(dataset).empty(); }

std::vector<agent::v1::RedactionState> Redactor::States(DatasetId dataset) const {
  std::vector<agent::v1::RedactionState> states;
  for (const Known& known : PendingOf(dataset)) {
    agent::v1::RedactionState state;
    state.set_order_id(known.redaction->order_id);
    state.set_stage(known.stage);
    state.set_hindrance(known.hindrance);
    states.push_back(std::move(state));
  }
  return states;
}

void Redactor::SetHindrance(const std::string& order_id, const std::string& sentence) {
  absl::MutexLock lock(&mutex_);
  known_[order_id].hindrance = sentence;
}

absl::Status Redactor::PutStage(sql::Database& db, const Known& known, agent::v1::RedactionStage stage) {
  BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("UPDATE redactions SET stage = ? WHERE id = ?"));
  return put.Bind(1, int64_t{stage}).BindBlob(2, known.redaction->order_id).Run();
}

absl::Status Redactor::Begin(const Known& known) {
  if (known.stage == agent::v1::REDACTION_STAGE_FENCED) {
    BW_RETURN_IF_ERROR(Audit("redaction-started", known));
    BW_RETURN_IF_ERROR(parts_.db->Transaction(
        [&](sql::Database& db) { return PutStage(db, known, agent::v1::REDACTION_STAGE_ERASING); }));
  }
  book_(known.dataset_id)->Add(known.redaction, /*erase=*/true);
  absl::MutexLock lock(&mutex_);
  known_[known.redaction->order_id].stage = agent::v1::REDACTION_STAGE_ERASING;
  known_[known.redaction->order_id].hindrance.clear();
  return absl::OkStatus();
}

absl::Status Redactor::Finish(const Known& known, const policy::World& world, uint64_t bytes) {
  rpc::ErasureReceipt receipt;
  receipt.receipt_id = known.receipt_id;
  receipt.dataset_id = known.dataset_id;
  receipt.dataset = known.dataset;
  receipt.site = parts_.site;
  receipt.agent = parts_.agent;
  receipt.bytes = bytes;
  receipt.cause = kCause;
  receipt.policy_revision = world.revision;
  receipt.policy_digest = world.digest;
  receipt.erased_at = parts_.clock->Now();
  receipt.method = "deleted";
  receipt.order_id = known.redaction->order_id;
  receipt.chunks = known.redaction->chunks.size();
  types::v1::Envelope envelope;
  rpc::ToProto(crypto::SignEnvelope(crypto::kReceiptType, rpc::EncodeReceipt(receipt), *parts_.key), &envelope);
  const std::string signed_bytes = envelope.SerializeAsString();
  BW_RETURN_IF_ERROR(Audit("redaction-done", known));
  BW_RETURN_IF_ERROR(parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    BW_RETURN_IF_ERROR(PutStage(db, known, agent::v1::REDACTION_STAGE_DONE));
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO receipts(id, envelope) VALUES(?, ?)"));
    return put.BindBlob(1, known.receipt_id).BindBlob(2, signed_bytes).Run();
  }));
  absl::MutexLock lock(&mutex_);
  known_[known.redaction->order_id].stage = agent::v1::REDACTION_STAGE_DONE;
  return absl::OkStatus();
}

absl::Status Redactor::CarryOut(DatasetHandle& dataset, const policy::World& world, const Trees& trees,
                                const Lock& lock, const std::function<void()>& begin_erasing) {
  const std::vector<Known> pending = PendingOf(dataset.id);
  if (pending.empty()) return absl::OkStatus();
  std::vector<Known> erasing;
  std::vector<Digest> chunks;
  uint64_t before = 0, after = 0;
  auto erase = [&]() -> absl::Status {
    BW_RETURN_IF_ERROR(trees());
    BW_ASSIGN_OR_RETURN(before, PackBytes(dataset));
    for (const Known& known : pending) {
      std::string locked;
      if (known.stage == agent::v1::REDACTION_STAGE_FENCED) {
        BW_ASSIGN_OR_RETURN(locked, lock(*known.redaction, known.override_locks));
      }
      if (!locked.empty()) {
        SetHindrance(known.redaction->order_id, locked);
        continue;
      }
      BW_RETURN_IF_ERROR(Begin(known));
      erasing.push_back(known);
      chunks.insert(chunks.end(), known.redaction->chunks.begin(), known.redaction->chunks.end());
    }
    if (erasing.empty()) return absl::OkStatus();
    begin_erasing();
    absl::Status purged = dataset.store->Purge(MarkLive(dataset)).status();
    // Where a node is damaged nobody knows all that is live: then only what the orders name goes.
    if (absl::IsDataLoss(purged) || absl::IsNotFound(purged)) purged = dataset.store->Purge(nullptr).status();
    BW_RETURN_IF_ERROR(purged);
    // A writer that was open when the order came may have left some in a pack that was not looked at.
    BW_ASSIGN_OR_RETURN(const uint64_t left, dataset.store->CountStored(chunks));
    if (left != 0)
      return absl::UnavailableError(absl::StrCat(left, " chunks are in packs that are still being written"));
    BW_ASSIGN_OR_RETURN(after, PackBytes(dataset));
    return absl::OkStatus();
  };
  if (absl::Status status = erase(); !status.ok()) {
    // Only codes leave the site: a sentence about a tree names files.
    const std::string why =
        absl::StrCat("erasing failed (", absl::StatusCodeToString(status.code()), "); it is tried again");
    for (const Known& known : erasing.empty() ? pending : erasing) SetHindrance(known.redaction->order_id, why);
    return status;
  }
  for (const Known& known : erasing) BW_RETURN_IF_ERROR(Finish(known, world, before > after ? before - after : 0));
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
