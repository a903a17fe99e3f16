#include "services/agent/evict/dropper.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/audit/detail.h"
#include "common/base/runs.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::agent {
namespace {

constexpr char kCause[] = "held-elsewhere";

telemetry::CounterFamily given_up_bytes(
    "bailiwick_agent_given_up_bytes_total",
    "Stored bytes that the home gave up, because other sites hold them (dropAfterCopies).", {"dataset"});

std::string Detail(const agent::v1::DropRecord& record) {
  std::vector<uint64_t> numbers;
  for (const auto& version : record.versions()) numbers.push_back(version.number());
  return audit::Detail()
      .Text("cause", kCause)
      .Text("receipt", absl::BytesToHexString(record.receipt_id()))
      .Text("versions", FormatRuns(std::move(numbers)))
      .Texts("heldAt", record.sites());
}

}  // namespace

std::string Dropper::Migration() {
  return "CREATE TABLE drops(dataset BLOB NOT NULL, number INTEGER NOT NULL, sites TEXT NOT NULL,"
         "  PRIMARY KEY(dataset, number)) STRICT, WITHOUT ROWID;"
         "CREATE TABLE drops_under_way(dataset BLOB PRIMARY KEY, record BLOB NOT NULL) STRICT, WITHOUT ROWID;";
}

absl::Status Dropper::Load(DatasetHandle& dataset) {
  Dropped::Versions versions;
  std::string bytes;
  BW_RETURN_IF_ERROR(parts_.db->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement drops, db.Prepare("SELECT number, sites FROM drops WHERE dataset = ?"));
    drops.BindBlob(1, dataset.id.view());
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, drops.Step());
      if (!row) break;
      versions[static_cast<VersionNumber>(drops.Int(0))] = absl::StrSplit(drops.Text(1), ' ', absl::SkipEmpty());
    }
    BW_ASSIGN_OR_RETURN(sql::Statement begun, db.Prepare("SELECT record FROM drops_under_way WHERE dataset = ?"));
    begun.BindBlob(1, dataset.id.view());
    BW_ASSIGN_OR_RETURN(bool row, begun.Step());
    if (row) bytes = begun.Blob(0);
    return absl::OkStatus();
  }));
  agent::v1::DropRecord record;
  if (!record.ParseFromString(bytes)) return absl::DataLossError("a drop in the agent's database is unreadable");
  dataset.dropped->Set(std::move(versions));
  if (bytes.empty()) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  under_way_[dataset.id] = std::move(record);
  return absl::OkStatus();
}

bool Dropper::UnderWay(DatasetId dataset) const {
  absl::MutexLock lock(&mutex_);
  return under_way_.count(dataset) != 0;
}

absl::Status Dropper::Store(const DatasetHandle& dataset, const Dropped::Versions& versions,
                            const agent::v1::DropRecord* record) {
  return parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement clear, db.Prepare("DELETE FROM drops WHERE dataset = ?"));
    BW_RETURN_IF_ERROR(clear.BindBlob(1, dataset.id.view()).Run());
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT INTO drops(dataset, number, sites) VALUES(?, ?, ?)"));
    for (const auto& [number, sites] : versions) {
      const std::string joined = absl::StrJoin(sites, " ");
      BW_RETURN_IF_ERROR(put.BindBlob(1, dataset.id.view()).Bind(2, number).BindText(3, joined).Run());
    }
    if (record == nullptr) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(sql::Statement begin, db.Prepare("INSERT INTO drops_under_way(dataset, record) VALUES(?, ?)"));
    const std::string bytes = record->SerializeAsString();
    return begin.BindBlob(1, dataset.id.view()).BindBlob(2, bytes).Run();
  });
}

absl::StatusOr<std::set<VersionNumber>> Dropper::Bases(DatasetHandle& dataset) {
  std::set<VersionNumber> bases;
  const Dropped::Versions dropped = dataset.dropped->versions();
  if (dropped.empty()) return bases;
  BW_ASSIGN_OR_RETURN(auto versions, dataset.catalog->List(dataset.id));
  auto next = versions.begin();  // both ascend
  for (const auto& [number, sites] : dropped) {
    while (next != versions.end() && next->record.number <= number) ++next;
    if (next == versions.end() || dropped.count(next->record.number) == 0) bases.insert(number);
  }
  return bases;
}

absl::Status Dropper::Begin(DatasetHandle& dataset, const std::vector<HeldElsewhere>& versions) {
  if (UnderWay(dataset.id)) return absl::FailedPreconditionError("an earlier drop is not carried through yet");
  // What retention took meanwhile, and nothing that is here builds on, need not be known any more.
  Dropped::Versions dropped;
  BW_ASSIGN_OR_RETURN(const std::set<VersionNumber> bases, Bases(dataset));
  for (auto& [number, sites] : dataset.dropped->versions()) {
    BW_ASSIGN_OR_RETURN(auto here, dataset.catalog->Find(dataset.id, number));
    if (here.has_value() || bases.count(number) != 0) dropped[number] = sites;
  }
  agent::v1::DropRecord record;
  record.set_receipt_id(parts_.random->Bytes(16));
  std::set<std::string> sites;
  for (const HeldElsewhere& held : versions) {
    rpc::ToProto(held.version, record.add_versions());
    dropped[held.version.number] = held.sites;
    sites.insert(held.sites.begin(), held.sites.end());
  }
  for (const std::string& site : sites) record.add_sites(site);
  BW_ASSIGN_OR_RETURN(const uint64_t bytes, PackBytes(dataset));
  record.set_bytes_before(bytes);
  record.set_encrypted(!dataset.store->at_rest().wrapping_key.empty());
  BW_RETURN_IF_ERROR(
      parts_.audit->Append("drop-started", absl::StrCat("dataset/", dataset.name), Detail(record)).status());
  BW_RETURN_IF_ERROR(Store(dataset, dropped, &record));
  dataset.dropped->Set(std::move(dropped));
  absl::MutexLock lock(&mutex_);
  under_way_[dataset.id] = std::move(record);
  return absl::OkStatus();
}

absl::Status Dropper::CarryOut(DatasetHandle& dataset, const Keeps& keeps) {
  agent::v1::DropRecord record;
  {
    absl::MutexLock lock(&mutex_);
    auto it = under_way_.find(dataset.id);
    if (it == under_way_.end()) return absl::OkStatus();
    record = it->second;
  }
  BW_RETURN_IF_ERROR(dataset.store->Purge(MarkKept(dataset, keeps)).status());
  BW_ASSIGN_OR_RETURN(const uint64_t bytes_after, PackBytes(dataset));
  rpc::ErasureReceipt receipt;
  receipt.receipt_id = record.receipt_id();
  receipt.dataset_id = dataset.id;
  receipt.dataset = dataset.name;
  receipt.site = parts_.site;
  receipt.agent = parts_.agent;
  for (const auto& version : record.versions()) {
    BW_ASSIGN_OR_RETURN(rpc::VersionRef ref, rpc::FromProto(version));
    receipt.versions.push_back(ref);
  }
  receipt.bytes = record.bytes_before() > bytes_after ? record.bytes_before() - bytes_after : 0;
  receipt.cause = kCause;
  receipt.erased_at = parts_.clock->Now();
  receipt.method = "deleted";
  receipt.held_at.assign(record.sites().begin(), record.sites().end());
  types::v1::Envelope envelope;
  rpc::ToProto(crypto::SignEnvelope(crypto::kReceiptType, rpc::EncodeReceipt(receipt), *parts_.key), &envelope);
  BW_RETURN_IF_ERROR(
      parts_.audit->Append("content-dropped", absl::StrCat("dataset/", dataset.name), Detail(record)).status());
  BW_RETURN_IF_ERROR(parts_.db->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement end, db.Prepare("DELETE FROM drops_under_way WHERE dataset = ?"));
    BW_RETURN_IF_ERROR(end.BindBlob(1, dataset.id.view()).Run());
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO receipts(id, envelope) VALUES(?, ?)"));
    const std::string bytes = envelope.SerializeAsString();
    return put.BindBlob(1, receipt.receipt_id).BindBlob(2, bytes).Run();
  }));
  given_up_bytes.With({dataset.name}).Add(receipt.bytes);
  absl::MutexLock lock(&mutex_);
  under_way_.erase(dataset.id);
  return absl::OkStatus();
}

absl::Status Dropper::Replace(DatasetHandle& dataset, Dropped::Versions versions) {
  BW_RETURN_IF_ERROR(Store(dataset, versions, nullptr));
  dataset.dropped->Set(std::move(versions));
  return absl::OkStatus();
}

store::DatasetStore::Mark MarkKept(DatasetHandle& dataset, Keeps keeps) {
  return [&dataset, keeps = std::move(keeps)](const std::function<void(const Digest&)>& live) -> absl::Status {
    BW_ASSIGN_OR_RETURN(std::vector<Digest> nodes, dataset.catalog->LiveNodes(dataset.id));
    for (const Digest& node : nodes) live(node);
    BW_ASSIGN_OR_RETURN(std::vector<store::CatalogVersion> versions, dataset.catalog->List(dataset.id));
    absl::flat_hash_set<Digest> seen, known;
    auto enter = [&](const Digest& node) -> absl::StatusOr<bool> {
      live(node);
      return seen.insert(node).second;
    };
    // What is given up has nothing else here; of a node that is damaged nobody knows what is below it.
    auto mark_nodes = [&](const Digest& root) -> absl::Status {
      std::vector<Digest> nodes = {root};
      while (!nodes.empty()) {
        const Digest digest = nodes.back();
        nodes.pop_back();
        live(digest);
        if (seen.contains(digest) || !known.insert(digest).second) continue;
        auto node = dataset.nodes->Load(digest);
        if (absl::IsDataLoss(node.status()) || absl::IsNotFound(node.status())) continue;
        BW_RETURN_IF_ERROR(node.status());
        for (const store::NodeChild& child : (*node)->Children()) {
          if (child.is_node) nodes.push_back(child.digest);
        }
      }
      return absl::OkStatus();
    };
    auto chunk = [&](const store::NodeChild& child) {
      live(child.digest);
      return absl::OkStatus();
    };
    auto differs = [&](const store::Entry* before, const store::Entry* after) -> absl::Status {
      if (after == nullptr || after->type != store::EntryType::kFile) return absl::OkStatus();
      if (before != nullptr && store::SameContent(*before, *after)) return absl::OkStatus();
      return store::ForEachChunk(dataset.nodes.get(), *after, [&](const store::Reference& piece) {
        live(piece.digest);
        return absl::OkStatus();
      });
    };
    const store::CatalogVersion* before = nullptr;
    for (const store::CatalogVersion& version : versions) {
      const VersionNumber number = version.record.number, base = dataset.dropped->BaseOf(number);
      const store::CatalogVersion* previous = std::exchange(before, &version);
      if (keeps(number) || base == 0 || (base != number && previous == nullptr)) {
        BW_RETURN_IF_ERROR(store::WalkDag(dataset.nodes.get(), version.record.manifest_root, enter, chunk));
        continue;
      }
      BW_RETURN_IF_ERROR(mark_nodes(version.record.manifest_root));
      if (base != number) {
        BW_RETURN_IF_ERROR(store::DiffManifests(dataset.nodes.get(), previous->record.manifest_root,
                                                version.record.manifest_root, differs));
      }
    }
    return absl::OkStatus();
  };
}

}  // namespace bailiwick::agent
