// Resources, what is signed, and what waits for signatures.
#include "services/coordinator/catalog/sqlite_catalog.h"

namespace bailiwick::coordinator {

absl::Status SqliteCatalog::Apply(const Change& change) {
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

absl::Status SqliteCatalog::PutPending(const PendingRow* pending) {
  return Write([&](sql::Database& db) -> absl::Status {
    if (pending == nullptr) return db.Execute("DELETE FROM pending");
    BW_ASSIGN_OR_RETURN(auto put,
                        db.Prepare("INSERT OR REPLACE INTO pending(id, request, by_whom, since) VALUES(1, ?, ?, ?)"));
    const std::string bytes = pending->request.SerializeAsString();
    return put.BindBlob(1, bytes).BindText(2, pending->by).Bind(3, absl::ToUnixMillis(pending->since)).Run();
  });
}

absl::StatusOr<std::vector<BundleRow>> SqliteCatalog::Bundles(uint64_t revision, uint32_t limit) {
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

absl::Status SqliteCatalog::LoadLaw(sql::Database& db, Snapshot* s) {
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
  BW_RETURN_IF_ERROR(
      ForEach(db, "SELECT envelope FROM roots ORDER BY number", [&](sql::Statement& row) -> absl::Status {
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
  return ForEach(db, "SELECT name, dataset FROM dataset_ids", [&](sql::Statement& row) -> absl::Status {
    BW_ASSIGN_OR_RETURN(s->dataset_ids[row.Text(0)], DatasetId::From(row.Blob(1)));
    return absl::OkStatus();
  });
}

}  // namespace bailiwick::coordinator
