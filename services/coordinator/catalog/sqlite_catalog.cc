#include <algorithm>
#include <atomic>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/sql/database.h"
#include "services/coordinator/catalog/catalog.h"

namespace bailiwick::coordinator {
namespace {

constexpr uint64_t kMaxEvents = 100'000;

const char* kSchema =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;"
    "CREATE TABLE resources(kind TEXT NOT NULL, name TEXT NOT NULL, resource BLOB NOT NULL, PRIMARY KEY(kind, name)) "
    "STRICT;"
    "CREATE TABLE bundles(revision INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;"
    "CREATE TABLE classifications(dataset BLOB PRIMARY KEY, envelope BLOB NOT NULL) STRICT;"
    "CREATE TABLE dataset_ids(name TEXT PRIMARY KEY, dataset BLOB NOT NULL) STRICT;"
    "CREATE TABLE agents(site TEXT PRIMARY KEY, spiffe_id TEXT NOT NULL, enrolment_key BLOB NOT NULL, incarnation BLOB "
    "NOT NULL,"
    "  endpoint TEXT NOT NULL, admin_endpoint TEXT NOT NULL, build TEXT NOT NULL, policy_revision INTEGER NOT NULL,"
    "  policy_error TEXT NOT NULL, last_seen INTEGER NOT NULL) STRICT;"
    "CREATE TABLE versions(dataset BLOB NOT NULL, number INTEGER NOT NULL, envelope BLOB NOT NULL, PRIMARY "
    "KEY(dataset, number))"
    "  STRICT, WITHOUT ROWID;"
    "CREATE TABLE replicas(dataset BLOB NOT NULL, site TEXT NOT NULL, versions BLOB NOT NULL, current INTEGER NOT NULL,"
    "  problem TEXT NOT NULL, source_problem TEXT NOT NULL, PRIMARY KEY(dataset, site)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE pins(dataset BLOB NOT NULL, site TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(dataset, site)) "
    "STRICT;"
    "CREATE TABLE tokens(sha256 BLOB PRIMARY KEY, site TEXT NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL) "
    "STRICT;"
    "CREATE TABLE transfers(id TEXT PRIMARY KEY, ordinal INTEGER NOT NULL, view BLOB NOT NULL, dataset BLOB NOT NULL,"
    "  dialler TEXT NOT NULL, ended INTEGER NOT NULL) STRICT;"
    "CREATE TABLE events(sequence INTEGER PRIMARY KEY AUTOINCREMENT, event BLOB NOT NULL) STRICT;";

const char* kSigningSchema =
    "CREATE TABLE pending(id INTEGER PRIMARY KEY CHECK(id = 1), request BLOB NOT NULL, by_whom TEXT NOT NULL,"
    "  since INTEGER NOT NULL) STRICT;"
    "CREATE TABLE roots(number INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;"
    "CREATE TABLE applied(revision INTEGER PRIMARY KEY, by_whom TEXT NOT NULL, summary TEXT NOT NULL,"
    "  at INTEGER NOT NULL) STRICT;";

const char* kEviction =
    "ALTER TABLE replicas ADD COLUMN fence BLOB NOT NULL DEFAULT x'';"
    "ALTER TABLE replicas ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE holds(id BLOB PRIMARY KEY, hold BLOB NOT NULL) STRICT;"
    "CREATE TABLE receipts(ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, dataset BLOB NOT NULL,"
    "  site TEXT NOT NULL, envelope BLOB NOT NULL) STRICT;";

const char* kRedaction =
    "CREATE TABLE redactions(id BLOB PRIMARY KEY, dataset BLOB NOT NULL, envelope BLOB NOT NULL,"
    "  by_whom TEXT NOT NULL, since INTEGER NOT NULL) STRICT;";

const char* kRpoAlarms =
    "CREATE TABLE rpo_alarms(dataset BLOB NOT NULL, site TEXT NOT NULL, name TEXT NOT NULL, since INTEGER NOT NULL,"
    "  PRIMARY KEY(dataset, site)) STRICT, WITHOUT ROWID;";

const char* kIdentity =
    "ALTER TABLE agents ADD COLUMN certificate_expires INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE agents ADD COLUMN renewed INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE agents ADD COLUMN recoveries_left INTEGER NOT NULL DEFAULT 20;"
    "CREATE TABLE denied(spiffe_id TEXT PRIMARY KEY, denied BLOB NOT NULL) STRICT;";

const char* kProposals = "CREATE TABLE proposals(id TEXT PRIMARY KEY, proposal BLOB NOT NULL) STRICT;";

std::string Pack(const crypto::Envelope& envelope) {
  types::v1::Envelope message;
  rpc::ToProto(envelope, &message);
  return message.SerializeAsString();
}

absl::StatusOr<crypto::Envelope> Unpack(const std::string& bytes) {
  types::v1::Envelope message;
  if (!message.ParseFromString(bytes)) return absl::DataLossError("the catalog holds an unreadable signed record");
  return rpc::FromProto(message);
}

// Numbers as deltas in decimal would do; a packed proto field does it without a format of our own.
std::string PackNumbers(const std::set<VersionNumber>& numbers) {
  control::v1::Replica message;
  for (VersionNumber n : numbers) message.add_versions(n);
  return message.SerializeAsString();
}
absl::StatusOr<std::set<VersionNumber>> UnpackNumbers(const std::string& bytes) {
  control::v1::Replica message;
  if (!message.ParseFromString(bytes)) return absl::DataLossError("the catalog holds an unreadable replica");
  return std::set<VersionNumber>(message.versions().begin(), message.versions().end());
}

class SqliteCatalog : public Catalog {
 public:
  explicit SqliteCatalog(std::unique_ptr<sql::Database> db) : db_(std::move(db)) {}

  absl::Status Begin() {
    return db_->Read([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(std::string sequence, GetMeta(db, "sequence"));
      sequence_ = std::strtoull(sequence.c_str(), nullptr, 10);
      return absl::OkStatus();
    });
  }
  uint64_t sequence() const override { return sequence_; }

  absl::StatusOr<Snapshot> Load() override {
    Snapshot s;
    BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) { return LoadInto(db, &s); }));
    return s;
  }

  absl::Status Apply(const Change& change) override {
    return Write([&](sql::Database& db) -> absl::Status {
      for (const config::ResourceKey& key : change.deletes) {
        BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM resources WHERE kind = ? AND name = ?"));
        BW_RETURN_IF_ERROR(remove.BindText(1, key.first).BindText(2, key.second).Run());
      }
      for (const config::Resource& resource : change.upserts) {
        BW_ASSIGN_OR_RETURN(auto put,
                            db.Prepare("INSERT OR REPLACE INTO resources(kind, name, resource) VALUES(?, ?, ?)"));
        const std::string kind = config::KindOf(resource), bytes = resource.SerializeAsString();
        BW_RETURN_IF_ERROR(put.BindText(1, kind).BindText(2, resource.metadata().name()).BindBlob(3, bytes).Run());
      }
      if (change.bundle.has_value()) {
        BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT INTO bundles(revision, envelope) VALUES(?, ?)"));
        const std::string bytes = Pack(*change.bundle);
        BW_RETURN_IF_ERROR(put.Bind(1, change.bundle_revision).BindBlob(2, bytes).Run());
        BW_ASSIGN_OR_RETURN(auto applied,
                            db.Prepare("INSERT INTO applied(revision, by_whom, summary, at) VALUES(?, ?, ?, ?)"));
        BW_RETURN_IF_ERROR(applied.Bind(1, change.bundle_revision)
                               .BindText(2, change.by)
                               .BindText(3, change.summary)
                               .Bind(4, absl::ToUnixMillis(change.at))
                               .Run());
      }
      if (change.drop_pending) BW_RETURN_IF_ERROR(db.Execute("DELETE FROM pending"));
      BW_RETURN_IF_ERROR(db.Execute("DELETE FROM roots"));
      for (size_t i = 0; i < change.roots.size(); ++i) {
        BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT INTO roots(number, envelope) VALUES(?, ?)"));
        const std::string bytes = Pack(change.roots[i]);
        BW_RETURN_IF_ERROR(put.Bind(1, static_cast<int64_t>(i)).BindBlob(2, bytes).Run());
      }
      for (const auto& [id, envelope] : change.classifications) {
        BW_ASSIGN_OR_RETURN(auto put,
                            db.Prepare("INSERT OR REPLACE INTO classifications(dataset, envelope) VALUES(?, ?)"));
        const std::string bytes = Pack(envelope);
        BW_RETURN_IF_ERROR(put.BindBlob(1, id.view()).BindBlob(2, bytes).Run());
      }
      BW_RETURN_IF_ERROR(db.Execute("DELETE FROM dataset_ids"));
      for (const auto& [name, id] : change.dataset_ids) {
        BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT INTO dataset_ids(name, dataset) VALUES(?, ?)"));
        BW_RETURN_IF_ERROR(put.BindText(1, name).BindBlob(2, id.view()).Run());
      }
      BW_RETURN_IF_ERROR(PutMeta(db, "generation", std::to_string(change.generation)));
      return PutMeta(db, "root", change.root_sha256);
    });
  }

  absl::Status PutPending(const PendingRow* pending) override {
    return Write([&](sql::Database& db) -> absl::Status {
      if (pending == nullptr) return db.Execute("DELETE FROM pending");
      BW_ASSIGN_OR_RETURN(auto put,
                          db.Prepare("INSERT OR REPLACE INTO pending(id, request, by_whom, since) VALUES(1, ?, ?, ?)"));
      const std::string bytes = pending->request.SerializeAsString();
      return put.BindBlob(1, bytes).BindText(2, pending->by).Bind(3, absl::ToUnixMillis(pending->since)).Run();
    });
  }

  absl::StatusOr<std::vector<BundleRow>> Bundles(uint64_t revision, uint32_t limit) override {
    std::vector<BundleRow> rows;
    BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(
          auto select,
          db.Prepare("SELECT envelope, COALESCE(by_whom, ''), COALESCE(summary, ''), COALESCE(at, 0) FROM bundles"
                     " LEFT JOIN applied USING(revision) WHERE ?1 = 0 OR revision = ?1 ORDER BY revision DESC LIMIT ?2"));
      select.Bind(1, revision).Bind(2, int64_t{limit});
      while (true) {
        BW_ASSIGN_OR_RETURN(bool row, select.Step());
        if (!row) return absl::OkStatus();
        BundleRow b;
        BW_ASSIGN_OR_RETURN(b.envelope, Unpack(select.Blob(0)));
        b.by = select.Text(1);
        b.summary = select.Text(2);
        b.at = absl::FromUnixMillis(select.Int(3));
        rows.push_back(std::move(b));
      }
    }));
    return rows;
  }

  absl::Status PutAgent(const AgentRow& a) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(
          auto put, db.Prepare("INSERT OR REPLACE INTO agents(site, spiffe_id, enrolment_key, incarnation, endpoint,"
                               " admin_endpoint, build, policy_revision, policy_error, last_seen, certificate_expires,"
                               " renewed, recoveries_left) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
      return put.BindText(1, a.site)
          .BindText(2, a.spiffe_id)
          .BindBlob(3, a.enrolment_key)
          .BindBlob(4, a.incarnation)
          .BindText(5, a.endpoint)
          .BindText(6, a.admin_endpoint)
          .BindText(7, a.build)
          .Bind(8, a.policy_revision)
          .BindText(9, a.policy_error)
          .Bind(10, absl::ToUnixMillis(a.last_seen))
          .Bind(11, absl::ToUnixMillis(a.certificate_expires))
          .Bind(12, absl::ToUnixMillis(a.renewed))
          .Bind(13, static_cast<int64_t>(a.recoveries_left))
          .Run();
    });
  }

  absl::Status PutProposal(const control::v1::Proposal& proposal) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO proposals(id, proposal) VALUES(?, ?)"));
      const std::string bytes = proposal.SerializeAsString();
      return put.BindText(1, proposal.id()).BindBlob(2, bytes).Run();
    });
  }

  absl::Status RemoveProposal(const std::string& id) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM proposals WHERE id = ?"));
      return remove.BindText(1, id).Run();
    });
  }

  absl::Status PutDenied(const agent::v1::Denied& denied) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO denied(spiffe_id, denied) VALUES(?, ?)"));
      const std::string bytes = denied.SerializeAsString();
      return put.BindText(1, denied.spiffe_id()).BindBlob(2, bytes).Run();
    });
  }

  absl::Status PutVersion(const VersionRow& v) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put,
                          db.Prepare("INSERT OR IGNORE INTO versions(dataset, number, envelope) VALUES(?, ?, ?)"));
      const std::string bytes = Pack(v.envelope);
      return put.BindBlob(1, v.record.dataset_id.view()).Bind(2, v.record.number).BindBlob(3, bytes).Run();
    });
  }

  absl::Status PutReplica(DatasetId dataset, const std::string& site, const ReplicaRow& r) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put,
                          db.Prepare("INSERT OR REPLACE INTO replicas(dataset, site, versions, current, problem,"
                                     " source_problem, fence, stored_bytes) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"));
      const std::string numbers = PackNumbers(r.versions);
      const std::string fence = r.fence.has_value() ? r.fence->SerializeAsString() : "";
      return put.BindBlob(1, dataset.view())
          .BindText(2, site)
          .BindBlob(3, numbers)
          .Bind(4, r.current)
          .BindText(5, r.problem)
          .BindText(6, r.source_problem)
          .BindBlob(7, fence)
          .Bind(8, r.stored_bytes)
          .Run();
    });
  }

  absl::Status PutPin(DatasetId dataset, const std::string& site, VersionNumber number) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO pins(dataset, site, number) VALUES(?, ?, ?)"));
      return put.BindBlob(1, dataset.view()).BindText(2, site).Bind(3, number).Run();
    });
  }

  absl::Status RemovePin(DatasetId dataset, const std::string& site) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM pins WHERE dataset = ? AND site = ?"));
      return remove.BindBlob(1, dataset.view()).BindText(2, site).Run();
    });
  }

  absl::Status PutHold(const agent::v1::Hold& hold) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO holds(id, hold) VALUES(?, ?)"));
      const std::string bytes = hold.SerializeAsString();
      return put.BindBlob(1, hold.hold_id()).BindBlob(2, bytes).Run();
    });
  }

  absl::Status RemoveHold(const std::string& hold_id) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM holds WHERE id = ?"));
      return remove.BindBlob(1, hold_id).Run();
    });
  }

  absl::Status PutReceipt(const ReceiptRow& r) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put,
                          db.Prepare("INSERT OR IGNORE INTO receipts(id, dataset, site, envelope) VALUES(?, ?, ?, ?)"));
      const std::string bytes = Pack(r.envelope);
      return put.BindBlob(1, r.id).BindBlob(2, r.dataset.view()).BindText(3, r.site).BindBlob(4, bytes).Run();
    });
  }

  absl::Status PutRedaction(const std::string& order_id, const RedactionRow& r) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(
          auto put, db.Prepare("INSERT OR REPLACE INTO redactions(id, dataset, envelope, by_whom, since)"
                               " VALUES(?, ?, ?, ?, ?)"));
      const std::string bytes = Pack(r.envelope);
      return put.BindBlob(1, order_id)
          .BindBlob(2, r.dataset.view())
          .BindBlob(3, bytes)
          .BindText(4, r.by)
          .Bind(5, absl::ToUnixMillis(r.since))
          .Run();
    });
  }

  absl::Status PutToken(const std::string& sha256, const std::string& site, absl::Time expires) override {
    return Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT INTO tokens(sha256, site, expires, used) VALUES(?, ?, ?, 0)"));
      return put.BindBlob(1, sha256).BindText(2, site).Bind(3, absl::ToUnixMillis(expires)).Run();
    });
  }

  absl::StatusOr<std::string> SpendToken(const std::string& sha256, absl::Time now) override {
    std::string site;
    BW_RETURN_IF_ERROR(Write([&](sql::Database& db) -> absl::Status {
      {
        BW_ASSIGN_OR_RETURN(auto select, db.Prepare("SELECT site, expires, used FROM tokens WHERE sha256 = ?"));
        select.BindBlob(1, sha256);
        BW_ASSIGN_OR_RETURN(bool row, select.Step());
        if (!row) return absl::UnauthenticatedError("the join token is not known here");
        if (select.Int(2) != 0) return absl::UnauthenticatedError("the join token was used already; ask for a new one");
        if (select.Int(1) < absl::ToUnixMillis(now))
          return absl::UnauthenticatedError("the join token has expired; ask for a new one");
        site = select.Text(0);
      }
      BW_ASSIGN_OR_RETURN(auto spend, db.Prepare("UPDATE tokens SET used = 1 WHERE sha256 = ?"));
      return spend.BindBlob(1, sha256).Run();
    }));
    return site;
  }

  absl::Status PutTransfer(const TransferRow& t) override {
    return Write([&](sql::Database& db) -> absl::Status {
      {
        BW_ASSIGN_OR_RETURN(
            auto put, db.Prepare("INSERT OR REPLACE INTO transfers(id, ordinal, view, dataset, dialler, ended)"
                                 " VALUES(?, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM transfers), ?, ?, ?, ?)"));
        const std::string view = t.view.SerializeAsString();
        BW_RETURN_IF_ERROR(put.BindText(1, t.view.transfer_id())
                               .BindBlob(2, view)
                               .BindBlob(3, t.dataset.view())
                               .BindText(4, t.dialler)
                               .Bind(5, int64_t{t.ended})
                               .Run());
      }
      if (!t.ended) return absl::OkStatus();
      BW_ASSIGN_OR_RETURN(auto remove,
                          db.Prepare("DELETE FROM transfers WHERE id IN (SELECT id FROM transfers WHERE ended = 1"
                                     " ORDER BY ordinal DESC LIMIT -1 OFFSET ?)"));
      return remove.Bind(1, kMaxEndedTransfers).Run();
    });
  }

  absl::StatusOr<uint64_t> AppendEvent(const control::v1::Event& event) override {
    uint64_t sequence = 0;
    BW_RETURN_IF_ERROR(Write([&](sql::Database& db) { return Append(db, event, &sequence); }));
    return sequence;
  }

  absl::StatusOr<uint64_t> PutRpoAlarm(const RpoAlarm& alarm, bool raised, const control::v1::Event& event) override {
    uint64_t sequence = 0;
    BW_RETURN_IF_ERROR(Write([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM rpo_alarms WHERE dataset = ? AND site = ?"));
      BW_RETURN_IF_ERROR(remove.BindBlob(1, alarm.dataset.view()).BindText(2, alarm.site).Run());
      if (raised) {
        BW_ASSIGN_OR_RETURN(auto put,
                            db.Prepare("INSERT INTO rpo_alarms(dataset, site, name, since) VALUES(?, ?, ?, ?)"));
        BW_RETURN_IF_ERROR(put.BindBlob(1, alarm.dataset.view())
                               .BindText(2, alarm.site)
                               .BindText(3, alarm.dataset_name)
                               .Bind(4, absl::ToUnixMillis(alarm.since))
                               .Run());
      }
      return Append(db, event, &sequence);
    }));
    return sequence;
  }

  absl::StatusOr<std::vector<control::v1::Event>> Events(uint64_t after, uint32_t limit) override {
    return SelectEvents("SELECT sequence, event FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", after,
                        limit);
  }

  absl::StatusOr<std::vector<control::v1::Event>> NewestEvents(uint32_t limit) override {
    BW_ASSIGN_OR_RETURN(
        std::vector<control::v1::Event> events,
        SelectEvents("SELECT sequence, event FROM events WHERE sequence > ? ORDER BY sequence DESC LIMIT ?", 0, limit));
    std::reverse(events.begin(), events.end());
    return events;
  }

 private:
  absl::Status Write(const std::function<absl::Status(sql::Database&)>& body) {
    absl::MutexLock lock(&write_mutex_);
    const uint64_t next = sequence_ + 1;
    BW_RETURN_IF_ERROR(db_->Transaction([&](sql::Database& db) -> absl::Status {
      BW_RETURN_IF_ERROR(body(db));
      return PutMeta(db, "sequence", std::to_string(next));
    }));
    sequence_ = next;
    return absl::OkStatus();
  }

  static absl::Status Append(sql::Database& db, const control::v1::Event& event, uint64_t* sequence) {
    {
      BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT INTO events(event) VALUES(?)"));
      const std::string bytes = event.SerializeAsString();
      BW_RETURN_IF_ERROR(put.BindBlob(1, bytes).Run());
    }
    *sequence = static_cast<uint64_t>(db.last_insert_rowid());
    if (*sequence <= kMaxEvents) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM events WHERE sequence <= ?"));
    return remove.Bind(1, *sequence - kMaxEvents).Run();
  }

  static absl::Status PutMeta(sql::Database& db, const std::string& key, const std::string& value) {
    BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)"));
    return put.BindText(1, key).BindBlob(2, value).Run();
  }

  static absl::StatusOr<std::string> GetMeta(sql::Database& db, const std::string& key) {
    BW_ASSIGN_OR_RETURN(auto select, db.Prepare("SELECT value FROM meta WHERE key = ?"));
    select.BindText(1, key);
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    return row ? select.Blob(0) : std::string();
  }

  absl::StatusOr<std::vector<control::v1::Event>> SelectEvents(const char* sql, uint64_t after, uint32_t limit) {
    std::vector<control::v1::Event> events;
    BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto select, db.Prepare(sql));
      select.Bind(1, after).Bind(2, int64_t{limit});
      while (true) {
        BW_ASSIGN_OR_RETURN(bool row, select.Step());
        if (!row) return absl::OkStatus();
        control::v1::Event event;
        if (!event.ParseFromString(select.Blob(1))) return absl::DataLossError("the catalog holds an unreadable event");
        event.set_sequence(select.Uint(0));
        events.push_back(std::move(event));
      }
    }));
    return events;
  }

  template <typename F>
  static absl::Status ForEach(sql::Database& db, const char* sql, F row_body) {
    BW_ASSIGN_OR_RETURN(auto select, db.Prepare(sql));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      BW_RETURN_IF_ERROR(row_body(select));
    }
  }

  static absl::Status LoadInto(sql::Database& db, Snapshot* s) {
    BW_ASSIGN_OR_RETURN(std::string generation, GetMeta(db, "generation"));
    BW_ASSIGN_OR_RETURN(s->root_sha256, GetMeta(db, "root"));
    s->generation = std::strtoull(generation.c_str(), nullptr, 10);
    BW_RETURN_IF_ERROR(
        ForEach(db, "SELECT kind, name, resource FROM resources", [&](sql::Statement& row) -> absl::Status {
          config::Resource resource;
          if (!resource.ParseFromString(row.Blob(2)))
            return absl::DataLossError("the catalog holds an unreadable resource");
          s->resources[{row.Text(0), row.Text(1)}] = std::move(resource);
          return absl::OkStatus();
        }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT envelope FROM bundles ORDER BY revision DESC LIMIT 1",
                               [&](sql::Statement& row) -> absl::Status {
                                 BW_ASSIGN_OR_RETURN(s->bundle, Unpack(row.Blob(0)));
                                 return absl::OkStatus();
                               }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT envelope FROM roots ORDER BY number", [&](sql::Statement& row) -> absl::Status {
      BW_ASSIGN_OR_RETURN(crypto::Envelope root, Unpack(row.Blob(0)));
      s->roots.push_back(std::move(root));
      return absl::OkStatus();
    }));
    BW_RETURN_IF_ERROR(
        ForEach(db, "SELECT request, by_whom, since FROM pending", [&](sql::Statement& row) -> absl::Status {
          PendingRow pending;
          if (!pending.request.ParseFromString(row.Blob(0))) {
            return absl::DataLossError("the catalog holds an unreadable pending change");
          }
          pending.by = row.Text(1);
          pending.since = absl::FromUnixMillis(row.Int(2));
          s->pending = std::move(pending);
          return absl::OkStatus();
        }));
    BW_RETURN_IF_ERROR(
        ForEach(db, "SELECT dataset, envelope FROM classifications", [&](sql::Statement& row) -> absl::Status {
          BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(row.Blob(0)));
          BW_ASSIGN_OR_RETURN(s->classifications[id], Unpack(row.Blob(1)));
          return absl::OkStatus();
        }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT name, dataset FROM dataset_ids", [&](sql::Statement& row) -> absl::Status {
      BW_ASSIGN_OR_RETURN(s->dataset_ids[row.Text(0)], DatasetId::From(row.Blob(1)));
      return absl::OkStatus();
    }));
    BW_RETURN_IF_ERROR(
        ForEach(db,
                "SELECT site, spiffe_id, enrolment_key, incarnation, endpoint, admin_endpoint, build,"
                " policy_revision, policy_error, last_seen, certificate_expires, renewed, recoveries_left FROM agents",
                [&](sql::Statement& row) -> absl::Status {
                  AgentRow a{row.Text(0), row.Text(1), row.Blob(2), row.Blob(3), row.Text(4),
                             row.Text(5), row.Text(6), row.Uint(7), row.Text(8), absl::FromUnixMillis(row.Int(9)),
                             absl::FromUnixMillis(row.Int(10)), absl::FromUnixMillis(row.Int(11)),
                             static_cast<uint32_t>(row.Uint(12))};
                  s->agents[a.site] = std::move(a);
                  return absl::OkStatus();
                }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT denied FROM denied", [&](sql::Statement& row) -> absl::Status {
      agent::v1::Denied denied;
      if (!denied.ParseFromString(row.Blob(0))) return absl::DataLossError("the catalog holds an unreadable revocation");
      s->denied[denied.spiffe_id()] = std::move(denied);
      return absl::OkStatus();
    }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT proposal FROM proposals", [&](sql::Statement& row) -> absl::Status {
      control::v1::Proposal proposal;
      if (!proposal.ParseFromString(row.Blob(0))) return absl::DataLossError("the catalog holds an unreadable proposal");
      s->proposals[proposal.id()] = std::move(proposal);
      return absl::OkStatus();
    }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT envelope FROM versions", [&](sql::Statement& row) -> absl::Status {
      VersionRow v;
      BW_ASSIGN_OR_RETURN(v.envelope, Unpack(row.Blob(0)));
      BW_ASSIGN_OR_RETURN(v.record, store::DecodeVersionRecord(v.envelope.payload));
      v.identity = store::VersionIdentity(v.envelope);
      s->versions[v.record.dataset_id][v.record.number] = std::move(v);
      return absl::OkStatus();
    }));
    BW_RETURN_IF_ERROR(ForEach(
        db, "SELECT dataset, site, versions, current, problem, source_problem, fence, stored_bytes FROM replicas",
        [&](sql::Statement& row) -> absl::Status {
          BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(row.Blob(0)));
          ReplicaRow r;
          BW_ASSIGN_OR_RETURN(r.versions, UnpackNumbers(row.Blob(2)));
          r.current = row.Uint(3);
          r.problem = row.Text(4);
          r.source_problem = row.Text(5);
          r.stored_bytes = row.Uint(7);
          if (const std::string fence = row.Blob(6); !fence.empty()) {
            r.fence.emplace();
            if (!r.fence->ParseFromString(fence)) {
              return absl::DataLossError("the catalog holds an unreadable fence");
            }
          }
          s->replicas[id][row.Text(1)] = std::move(r);
          return absl::OkStatus();
        }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT hold FROM holds", [&](sql::Statement& row) -> absl::Status {
      agent::v1::Hold hold;
      if (!hold.ParseFromString(row.Blob(0))) return absl::DataLossError("the catalog holds an unreadable hold");
      s->holds[hold.hold_id()] = std::move(hold);
      return absl::OkStatus();
    }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT id, dataset, site, envelope FROM receipts ORDER BY ordinal",
                               [&](sql::Statement& row) -> absl::Status {
                                 ReceiptRow r;
                                 r.id = row.Blob(0);
                                 BW_ASSIGN_OR_RETURN(r.dataset, DatasetId::From(row.Blob(1)));
                                 r.site = row.Text(2);
                                 BW_ASSIGN_OR_RETURN(r.envelope, Unpack(row.Blob(3)));
                                 s->receipts.push_back(std::move(r));
                                 return absl::OkStatus();
                               }));
    BW_RETURN_IF_ERROR(
        ForEach(db, "SELECT id, dataset, envelope, by_whom, since FROM redactions", [&](sql::Statement& row) -> absl::Status {
          RedactionRow r;
          BW_ASSIGN_OR_RETURN(r.dataset, DatasetId::From(row.Blob(1)));
          BW_ASSIGN_OR_RETURN(r.envelope, Unpack(row.Blob(2)));
          r.by = row.Text(3);
          r.since = absl::FromUnixMillis(row.Int(4));
          s->redactions[row.Blob(0)] = std::move(r);
          return absl::OkStatus();
        }));
    BW_RETURN_IF_ERROR(
        ForEach(db, "SELECT dataset, site, name, since FROM rpo_alarms", [&](sql::Statement& row) -> absl::Status {
          RpoAlarm alarm;
          BW_ASSIGN_OR_RETURN(alarm.dataset, DatasetId::From(row.Blob(0)));
          alarm.site = row.Text(1);
          alarm.dataset_name = row.Text(2);
          alarm.since = absl::FromUnixMillis(row.Int(3));
          s->rpo_alarms[{alarm.dataset, alarm.site}] = std::move(alarm);
          return absl::OkStatus();
        }));
    BW_RETURN_IF_ERROR(ForEach(db, "SELECT view, dataset, dialler, ended FROM transfers ORDER BY ordinal",
                               [&](sql::Statement& row) -> absl::Status {
                                 TransferRow t;
                                 if (!t.view.ParseFromString(row.Blob(0))) {
                                   return absl::DataLossError("the catalog holds an unreadable transfer");
                                 }
                                 BW_ASSIGN_OR_RETURN(t.dataset, DatasetId::From(row.Blob(1)));
                                 t.dialler = row.Text(2);
                                 t.ended = row.Int(3) != 0;
                                 s->transfers.push_back(std::move(t));
                                 return absl::OkStatus();
                               }));
    return ForEach(db, "SELECT dataset, site, number FROM pins", [&](sql::Statement& row) -> absl::Status {
      BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(row.Blob(0)));
      s->pins[{id, row.Text(1)}] = row.Uint(2);
      return absl::OkStatus();
    });
  }

  std::unique_ptr<sql::Database> db_;
  absl::Mutex write_mutex_;  // one writer at a time counts
  std::atomic<uint64_t> sequence_{0};
};

}  // namespace

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(os::Files* files, const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<sql::Database> db,
                      sql::Database::Open({.files = files, .path = path, .migrations = {kSchema, kSigningSchema, kEviction, kRedaction, kRpoAlarms, kIdentity, kProposals}}));
  auto catalog = std::make_unique<SqliteCatalog>(std::move(db));
  BW_RETURN_IF_ERROR(catalog->Begin());
  return std::unique_ptr<Catalog>(std::move(catalog));
}

}  // namespace bailiwick::coordinator
