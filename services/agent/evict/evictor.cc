#include "services/agent/evict/evictor.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/runs.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {
namespace {

constexpr char kDeleted[] = "deleted";
constexpr char kCryptoErased[] = "crypto-erased";

std::string Detail(const Fence& fence) {
  std::vector<uint64_t> numbers;
  for (const rpc::VersionRef& version : fence.erasure.versions) numbers.push_back(version.number);
  return audit::Detail()
      .Text("reason", fence.reason)
      .Text("rule", fence.rule)
      .Number("policyRevision", fence.revision)
      .Text("cause", fence.erasure.cause)
      .Text("receipt", absl::BytesToHexString(fence.erasure.receipt_id))
      .Text("versions", FormatRuns(std::move(numbers)))
      .Flag("everything", fence.erasure.everything);
}

const char* AuditKind(const std::optional<Fence>& fence) {
  if (!fence.has_value()) return "fence-lifted";
  if (!fence->erasure.receipt_id.empty()) return "erasure-started";
  return fence->closed() ? "replica-fenced" : fence->held.empty() ? "versions-fenced" : "retention-hindered";
}

agent::v1::FenceStage StageOf(FenceStage stage) {
  switch (stage) {
    case FenceStage::kFenced:
      return agent::v1::FENCE_STAGE_FENCED;
    case FenceStage::kErasing:
      return agent::v1::FENCE_STAGE_ERASING;
    case FenceStage::kErased:
      return agent::v1::FENCE_STAGE_ERASED;
    case FenceStage::kRetiring:
      return agent::v1::FENCE_STAGE_RETIRING;
  }
  return agent::v1::FENCE_STAGE_UNSPECIFIED;
}

absl::StatusOr<FenceStage> StageOf(agent::v1::FenceStage stage) {
  for (FenceStage s : {FenceStage::kFenced, FenceStage::kErasing, FenceStage::kErased, FenceStage::kRetiring}) {
    if (StageOf(s) == stage) return s;
  }
  return absl::DataLossError("a fence in the agent's database has a stage that this version does not know");
}

std::string Encode(const std::string& dataset, const Fence& fence) {
  agent::v1::FenceRecord record;
  record.set_dataset(dataset);
  ToProto(fence, record.mutable_fence());
  auto* erasure = record.mutable_erasure();
  erasure->set_receipt_id(fence.erasure.receipt_id);
  erasure->set_cause(fence.erasure.cause);
  for (const auto& version : fence.erasure.versions) rpc::ToProto(version, erasure->add_versions());
  erasure->set_everything(fence.erasure.everything);
  erasure->set_bytes_before(fence.erasure.bytes_before);
  erasure->set_encrypted(fence.erasure.encrypted);
  return record.SerializeAsString();
}

absl::StatusOr<Fence> Decode(const std::string& bytes) {
  agent::v1::FenceRecord record;
  if (!record.ParseFromString(bytes)) return absl::DataLossError("a fence in the agent's database is unreadable");
  Fence fence;
  BW_ASSIGN_OR_RETURN(fence.stage, StageOf(record.fence().stage()));
  fence.reason = record.fence().reason();
  fence.rule = record.fence().rule();
  fence.sentence = record.fence().sentence();
  fence.revision = record.fence().policy_revision();
  fence.digest = record.fence().policy_digest();
  fence.since = rpc::FromProto(record.fence().since());
  fence.hindrance = record.fence().hindrance();
  fence.held.insert(record.fence().held().begin(), record.fence().held().end());
  fence.waiting.insert(record.fence().waiting().begin(), record.fence().waiting().end());
  fence.erasure.receipt_id = record.erasure().receipt_id();
  fence.erasure.cause = record.erasure().cause();
  for (const auto& version : record.erasure().versions()) {
    BW_ASSIGN_OR_RETURN(rpc::VersionRef ref, rpc::FromProto(version));
    fence.erasure.versions.push_back(ref);
  }
  fence.erasure.everything = record.erasure().everything();
  fence.erasure.bytes_before = record.erasure().bytes_before();
  fence.erasure.encrypted = record.erasure().encrypted();
  return fence;
}

absl::Status ForRows(sql::Database* db, const char* sql, const std::function<absl::Status(sql::Statement&)>& row_body) {
  return db->Read([&](sql::Database& open) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, open.Prepare(sql));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      BW_RETURN_IF_ERROR(row_body(select));
    }
  });
}

}  // namespace

absl::StatusOr<uint64_t> PackBytes(DatasetHandle& dataset) {
  BW_ASSIGN_OR_RETURN(store::StoreStats stats, dataset.store->Stats());
  return stats.pack_bytes;
}

std::vector<std::string> Evictor::Migrations() {
  return {
      "CREATE TABLE fences(dataset BLOB PRIMARY KEY, record BLOB NOT NULL) STRICT, WITHOUT ROWID;"
      "CREATE TABLE receipts(id BLOB PRIMARY KEY, envelope BLOB NOT NULL) STRICT, WITHOUT ROWID;"
      "CREATE TABLE partials(dataset BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;"
      "CREATE TABLE holds(id INTEGER PRIMARY KEY CHECK(id = 1), holds BLOB NOT NULL) STRICT;",
  };
}

void ToProto(const Fence& fence, agent::v1::Fence* out) {
  out->set_stage(StageOf(fence.stage));
  out->set_reason(fence.reason);
  out->set_rule(fence.rule);
  out->set_sentence(fence.sentence);
  out->set_policy_revision(fence.revision);
  out->set_policy_digest(fence.digest);
  rpc::ToProto(fence.since, out->mutable_since());
  out->set_hindrance(fence.hindrance);
  for (VersionNumber number : fence.held) out->add_held(number);
  for (VersionNumber number : fence.waiting) out->add_waiting(number);
}

store::DatasetStore::Mark MarkLive(DatasetHandle& dataset, bool what_can_be_read) {
  return [&dataset, what_can_be_read](const std::function<void(const Digest&)>& live) -> absl::Status {
    BW_ASSIGN_OR_RETURN(std::vector<Digest> nodes, dataset.catalog->LiveNodes(dataset.id));
    absl::flat_hash_set<Digest> seen(nodes.begin(), nodes.end());
    while (!nodes.empty()) {
      const Digest digest = nodes.back();
      nodes.pop_back();
      live(digest);
      const auto node = dataset.nodes->Load(digest);
      if (what_can_be_read && (absl::IsDataLoss(node.status()) || absl::IsNotFound(node.status()))) continue;
      BW_RETURN_IF_ERROR(node.status());
      for (const auto& child : (*node)->Children()) {
        live(child.digest);
        if (child.is_node && seen.insert(child.digest).second) nodes.push_back(child.digest);
      }
    }
    return absl::OkStatus();
  };
}

absl::Status Evictor::Load() {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(ForRows(parts_.db, "SELECT dataset, record FROM fences",
                             [&](sql::Statement& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::Status {
                               BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(row.Blob(0)));
                               BW_ASSIGN_OR_RETURN(Fence fence, Decode(row.Blob(1)));
                               Known& known = known_[id];
                               known.closed = fence.closed();
                               known.fence = std::move(fence);
                               return absl::OkStatus();
                             }));
  BW_RETURN_IF_ERROR(ForRows(parts_.db, "SELECT dataset FROM partials",
                             [&](sql::Statement& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::Status {
                               BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(row.Blob(0)));
                               known_[id].partial = true;
                               return absl::OkStatus();
                             }));
  return ForRows(parts_.db, "SELECT holds FROM holds",
                 [&](sql::Statement& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::Status {
                   agent::v1::Holds holds;
                   if (!holds.ParseFromString(row.Blob(0)))
                     return absl::DataLossError("the holds in the agent's database are unreadable");
                   holds_.assign(holds.holds().begin(), holds.holds().end());
                   return absl::OkStatus();
                 });
}

bool Evictor::Pending(DatasetId dataset) const {
  absl::MutexLock lock(&mutex_);
  auto it = known_.find(dataset);
  return it != known_.end() && (it->second.fence.has_value() || it->second.closed || it->second.left_behind);
}

std::set<VersionNumber> Evictor::HeldVersions(DatasetId dataset) const {
  std::set<VersionNumber> held;
  for (const auto& hold : holds_) {
    if (hold.dataset_id() == dataset.view() && (hold.site().empty() || hold.site() == parts_.site))
      held.insert(hold.number());
  }
  return held;
}

absl::StatusOr<Step> Evictor::Evaluate(DatasetHandle& dataset, bool laid_out, Facts facts) {
  absl::MutexLock one(&evaluate_mutex_);
  BW_ASSIGN_OR_RETURN(std::vector<store::CatalogVersion> versions, dataset.catalog->List(dataset.id));
  for (const auto& v : versions) facts.versions.push_back({{v.record.number, v.identity}, v.record.committed_at});
  BW_ASSIGN_OR_RETURN(const uint64_t bytes, PackBytes(dataset));
  facts.parts = laid_out || bytes > 0;
  facts.new_receipt_id = parts_.random->Bytes(16);
  std::optional<Fence> before;
  {
    absl::MutexLock lock(&mutex_);
    Known& known = known_[dataset.id];
    const bool waiting = known.fence.has_value() && !known.fence->waiting.empty();
    // The coordinator's word was about another fence than the next one.
    if (facts.verdict.lawful && !waiting) known.safe.clear();
    facts.held = HeldVersions(dataset.id);
    facts.safe = known.safe;
    facts.left_behind = known.left_behind;
    if (!facts.verdict.lawful && !facts.home) {  // from now on, however long it takes to write down
      known.sentence = facts.verdict.sentence;
      known.rule = facts.verdict.rule;
      known.closed = known.closed || !facts.versions.empty() || facts.parts || known.fence.has_value();
    }
    before = known.fence;
  }
  Step step = Decide(before, facts);
  for (const auto& v : versions) step.oldest = std::min(step.oldest, v.record.committed_at);
  if (step.record && step.fence.has_value()) {
    step.fence->erasure.bytes_before = bytes;
    step.fence->erasure.encrypted = !dataset.store->at_rest().wrapping_key.empty();
  }
  if (step.record) BW_RETURN_IF_ERROR(Record(dataset, step));
  absl::MutexLock lock(&mutex_);
  Known& known = known_[dataset.id];
  known.fence = step.fence;
  if (facts.verdict.lawful || facts.home) known.closed = step.fence.has_value() && step.fence->closed();
  return step;
}

absl::Status Evictor::Record(const DatasetHandle& dataset, const Step& step) {
  const Fence none;
  BW_RETURN_IF_ERROR(parts_.audit
                         ->Append(AuditKind(step.fence), absl::StrCat("dataset/", dataset.name),
                                  Detail(step.fence.has_value() ? *step.fence : none))
                         .status());
  return Store(dataset, step.fence, nullptr, "");
}

absl::Status Evictor::Store(const DatasetHandle& dataset, const std::optional<Fence>& fence,
                            const crypto::Envelope* receipt, const std::string& receipt_id) {
  return parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    if (fence.has_value()) {
      BW_ASSIGN_OR_RETURN(sql::Statement put,
                          db.Prepare("INSERT OR REPLACE INTO fences(dataset, record) VALUES(?, ?)"));
      const std::string bytes = Encode(dataset.name, *fence);
      BW_RETURN_IF_ERROR(put.BindBlob(1, dataset.id.view()).BindBlob(2, bytes).Run());
    } else {
      BW_ASSIGN_OR_RETURN(sql::Statement remove, db.Prepare("DELETE FROM fences WHERE dataset = ?"));
      BW_RETURN_IF_ERROR(remove.BindBlob(1, dataset.id.view()).Run());
    }
    if (receipt == nullptr) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(sql::Statement clear, db.Prepare("DELETE FROM partials WHERE dataset = ?"));
    BW_RETURN_IF_ERROR(clear.BindBlob(1, dataset.id.view()).Run());
    types::v1::Envelope envelope;
    rpc::ToProto(*receipt, &envelope);
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO receipts(id, envelope) VALUES(?, ?)"));
    const std::string bytes = envelope.SerializeAsString();
    return put.BindBlob(1, receipt_id).BindBlob(2, bytes).Run();
  });
}

absl::Status Evictor::Drop(DatasetHandle& dataset, const Erasure& erasure) {
  if (erasure.everything) return dataset.catalog->DropDataset(dataset.id);
  for (const rpc::VersionRef& version : erasure.versions) {
    absl::Status dropped = dataset.catalog->Drop(dataset.id, version.number, dataset.nodes.get());
    if (!dropped.ok() && !absl::IsNotFound(dropped)) return dropped;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Evictor::Collect(DatasetHandle& dataset, const Erasure& erasure) {
  if (!erasure.everything) {
    absl::Status purged = dataset.store->Purge(MarkLive(dataset)).status();
    // What has to go goes, also beside damage: what lies below a node that nobody can read is of no use here, and comes
    // again with the node where a version that stays is healed. But a hold may be for the sake of just that.
    BW_ASSIGN_OR_RETURN(const auto staying, dataset.catalog->List(dataset.id));
    const bool held = std::any_of(staying.begin(), staying.end(),
                                  [&](const auto& version) { return Held(dataset.id, version.record.number); });
    if (!held && (absl::IsDataLoss(purged) || absl::IsNotFound(purged))) {
      purged = dataset.store->Purge(MarkLive(dataset, /*what_can_be_read=*/true)).status();
    }
    BW_RETURN_IF_ERROR(purged);
    BW_ASSIGN_OR_RETURN(auto left, dataset.catalog->Newest(dataset.id));
    BW_ASSIGN_OR_RETURN(uint64_t bytes, PackBytes(dataset));
    return !left.has_value() && bytes == 0;
  }
  BW_RETURN_IF_ERROR(dataset.store->EraseAll());
  return true;
}

absl::Status Evictor::CarryOut(DatasetHandle& dataset, const RemoveTrees& trees) {
  std::optional<Fence> fence = Find(dataset.id);
  if (!fence.has_value() || fence->erasure.receipt_id.empty()) return absl::OkStatus();
  const Erasure& erasure = fence->erasure;
  std::vector<VersionNumber> numbers;
  for (const rpc::VersionRef& version : erasure.versions) numbers.push_back(version.number);
  BW_RETURN_IF_ERROR(Annotate(trees(fence->closed() ? nullptr : &numbers), "removing what is laid out"));
  BW_RETURN_IF_ERROR(Drop(dataset, erasure));
  BW_ASSIGN_OR_RETURN(const bool nothing_left, Collect(dataset, erasure));
  BW_ASSIGN_OR_RETURN(const uint64_t bytes_after, PackBytes(dataset));

  rpc::ErasureReceipt receipt;
  receipt.receipt_id = erasure.receipt_id;
  receipt.dataset_id = dataset.id;
  receipt.dataset = dataset.name;
  receipt.site = parts_.site;
  receipt.agent = parts_.agent;
  receipt.versions = erasure.versions;
  receipt.bytes = erasure.bytes_before > bytes_after ? erasure.bytes_before - bytes_after : 0;
  receipt.everything = nothing_left;
  receipt.cause = erasure.cause;
  receipt.rule = fence->rule;
  receipt.policy_revision = fence->revision;
  receipt.policy_digest = fence->digest;
  if (fence->closed()) receipt.fenced_at = fence->since;
  receipt.erased_at = parts_.clock->Now();
  receipt.method = erasure.everything && erasure.encrypted ? kCryptoErased : kDeleted;
  const crypto::Envelope envelope =
      crypto::SignEnvelope(crypto::kReceiptType, rpc::EncodeReceipt(receipt), *parts_.key);

  absl::MutexLock one(&evaluate_mutex_);
  BW_RETURN_IF_ERROR(
      parts_.audit->Append("replica-erased", absl::StrCat("dataset/", dataset.name), Detail(*fence)).status());
  const std::optional<Fence> after = AfterErasure(*fence);
  BW_RETURN_IF_ERROR(Store(dataset, after, &envelope, receipt.receipt_id));
  absl::MutexLock lock(&mutex_);
  Known& known = known_[dataset.id];
  known.fence = after;
  known.partial = known.left_behind = false;
  known.safe.clear();
  return absl::OkStatus();
}

std::optional<Fence> Evictor::Find(DatasetId dataset) const {
  absl::MutexLock lock(&mutex_);
  auto it = known_.find(dataset);
  if (it == known_.end()) return std::nullopt;
  return it->second.fence;
}

bool Evictor::Withheld(DatasetId dataset, VersionNumber version, std::string* sentence, std::string* rule) const {
  absl::MutexLock lock(&mutex_);
  auto it = known_.find(dataset);
  if (it == known_.end()) return false;
  const Known& known = it->second;
  if (!known.closed && (!known.fence.has_value() || known.fence->Withheld().count(version) == 0)) return false;
  const bool by_law = known.closed && !known.sentence.empty();
  const std::string& why = by_law || !known.fence.has_value() ? known.sentence : known.fence->sentence;
  *sentence = absl::StrCat("the copy at ", parts_.site, " is fenced: ", why);
  *rule = known.fence.has_value() ? known.fence->rule : known.rule;
  return true;
}

std::set<VersionNumber> Evictor::WithheldVersions(DatasetId dataset) const {
  absl::MutexLock lock(&mutex_);
  auto it = known_.find(dataset);
  if (it == known_.end() || !it->second.fence.has_value() || it->second.closed) return {};
  return it->second.fence->Withheld();
}

void Evictor::Order(DatasetId dataset, const std::vector<Digest>& safe) {
  absl::MutexLock lock(&mutex_);
  known_[dataset].safe = {safe.begin(), safe.end()};
}

absl::Status Evictor::SetHolds(const agent::v1::Holds& holds) {
  agent::v1::Holds all;
  *all.mutable_holds() = holds.holds();
  size_t kept = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (holds.tells_releases()) {
      std::set<std::string_view> named(holds.released().begin(), holds.released().end());
      for (const auto& hold : holds.holds()) named.insert(hold.hold_id());
      std::map<std::string_view, const agent::v1::Hold*> stay;
      for (const auto& hold : holds_) {
        // What has no id could never be released.
        if (!hold.hold_id().empty() && named.count(hold.hold_id()) == 0) stay[hold.hold_id()] = &hold;
      }
      kept = stay.size();
      for (const auto& [id, hold] : stay) *all.add_holds() = *hold;
    }
    agent::v1::Holds known;
    for (const auto& hold : holds_) *known.add_holds() = hold;
    if (known.SerializeAsString() == all.SerializeAsString()) {
      kept_ = kept;
      return absl::OkStatus();
    }
  }
  if (static_cast<size_t>(all.holds_size()) > kMaxHolds) {
    return absl::OutOfRangeError(absl::StrCat("the coordinator lists ", holds.holds_size(), " holds and lacks ", kept,
                                              " that are known here; more than ", kMaxHolds,
                                              " are not taken, and those known stay"));
  }
  BW_RETURN_IF_ERROR(
      parts_.audit
          ->Append("holds-changed", "holds", audit::Detail().Number("holds", all.holds_size()).Number("unlisted", kept))
          .status());
  BW_RETURN_IF_ERROR(parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO holds(id, holds) VALUES(1, ?)"));
    const std::string bytes = all.SerializeAsString();
    return put.BindBlob(1, bytes).Run();
  }));
  absl::MutexLock lock(&mutex_);
  holds_.assign(all.holds().begin(), all.holds().end());
  kept_ = kept;
  return absl::OkStatus();
}

std::vector<agent::v1::Hold> Evictor::KeptHolds() const {
  absl::MutexLock lock(&mutex_);
  return {holds_.end() - static_cast<std::ptrdiff_t>(kept_), holds_.end()};
}

bool Evictor::Held(DatasetId dataset, VersionNumber version) const {
  absl::MutexLock lock(&mutex_);
  const std::set<VersionNumber> held = HeldVersions(dataset);
  return held.count(Facts::kEveryVersion) != 0 || held.count(version) != 0;
}

absl::Status Evictor::NotePartial(DatasetId dataset, bool partial) {
  {
    absl::MutexLock lock(&mutex_);
    if (known_[dataset].partial == partial) return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement change, db.Prepare(partial ? "INSERT OR IGNORE INTO partials(dataset) VALUES(?)"
                                                                  : "DELETE FROM partials WHERE dataset = ?"));
    return change.BindBlob(1, dataset.view()).Run();
  }));
  absl::MutexLock lock(&mutex_);
  known_[dataset].partial = partial;
  return absl::OkStatus();
}

bool Evictor::Partial(DatasetId dataset) const {
  absl::MutexLock lock(&mutex_);
  auto it = known_.find(dataset);
  return it != known_.end() && it->second.partial;
}

void Evictor::LeftBehind(DatasetId dataset) {
  absl::MutexLock lock(&mutex_);
  known_[dataset].left_behind = true;
}

absl::StatusOr<std::vector<crypto::Envelope>> Evictor::Receipts() const {
  std::vector<crypto::Envelope> receipts;
  BW_RETURN_IF_ERROR(
      ForRows(parts_.db, "SELECT envelope FROM receipts ORDER BY id", [&](sql::Statement& row) -> absl::Status {
        types::v1::Envelope envelope;
        if (!envelope.ParseFromString(row.Blob(0)))
          return absl::DataLossError("a receipt in the agent's database is unreadable");
        receipts.push_back(rpc::FromProto(envelope));
        return absl::OkStatus();
      }));
  return receipts;
}

absl::Status Evictor::Acknowledge(const std::string& receipt_id) {
  return parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement remove, db.Prepare("DELETE FROM receipts WHERE id = ?"));
    return remove.BindBlob(1, receipt_id).Run();
  });
}

}  // namespace bailiwick::agent
