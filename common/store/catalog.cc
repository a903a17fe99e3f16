#include "common/store/catalog.h"

#include <map>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::store {
namespace {

// An envelope in one column: type, payload and signatures, each length-prefixed.
void PutPart(std::string& out, std::string_view part) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(part.size() >> shift));
  out.append(part);
}
bool TakePart(std::string_view& in, std::string* part) {
  if (in.size() < 4) return false;
  uint32_t n = 0;
  for (int i = 0; i < 4; ++i) n |= uint32_t{static_cast<uint8_t>(in[i])} << (8 * i);
  in.remove_prefix(4);
  if (n > in.size()) return false;
  part->assign(in.substr(0, n));
  in.remove_prefix(n);
  return true;
}

std::string Pack(const crypto::Envelope& e) {
  std::string out;
  PutPart(out, e.payload_type);
  PutPart(out, e.payload);
  for (const auto& s : e.signatures) {
    PutPart(out, s.key_id);
    PutPart(out, s.signature);
  }
  return out;
}

absl::StatusOr<crypto::Envelope> Unpack(std::string_view in) {
  crypto::Envelope e;
  bool ok = TakePart(in, &e.payload_type) && TakePart(in, &e.payload);
  while (ok && !in.empty()) {
    crypto::Signature s;
    ok = TakePart(in, &s.key_id) && TakePart(in, &s.signature);
    e.signatures.push_back(std::move(s));
  }
  if (!ok) return absl::DataLossError("a version record in the catalog is unreadable");
  return e;
}

absl::StatusOr<std::vector<crypto::Envelope>> UnpackAll(std::string_view in) {
  std::vector<crypto::Envelope> all;
  while (!in.empty()) {
    std::string one;
    if (!TakePart(in, &one)) return absl::DataLossError("a provenance in the catalog is unreadable");
    BW_ASSIGN_OR_RETURN(crypto::Envelope envelope, Unpack(one));
    all.push_back(std::move(envelope));
  }
  return all;
}

absl::Status StoreProvenance(sql::Database& db, DatasetId dataset, VersionNumber number,
                             const std::vector<crypto::Envelope>& provenance) {
  BW_ASSIGN_OR_RETURN(sql::Statement put,
                      db.Prepare("INSERT OR REPLACE INTO provenance(dataset, number, hops, chain) VALUES(?, ?, ?, ?)"));
  std::string chain;
  for (const crypto::Envelope& hop : provenance) PutPart(chain, Pack(hop));
  return put.BindBlob(1, dataset.view())
      .Bind(2, number)
      .Bind(3, static_cast<int64_t>(provenance.size()))
      .BindBlob(4, chain)
      .Run();
}

absl::StatusOr<CatalogVersion> FromEnvelope(crypto::Envelope envelope) {
  CatalogVersion v;
  BW_ASSIGN_OR_RETURN(v.record, DecodeVersionRecord(envelope.payload));
  v.identity = VersionIdentity(envelope);
  v.envelope = std::move(envelope);
  return v;
}

absl::StatusOr<std::vector<CatalogVersion>> Rows(sql::Statement& select) {
  std::vector<CatalogVersion> rows;
  while (true) {
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (!row) return rows;
    BW_ASSIGN_OR_RETURN(crypto::Envelope envelope, Unpack(select.Blob(0)));
    BW_ASSIGN_OR_RETURN(CatalogVersion v, FromEnvelope(std::move(envelope)));
    rows.push_back(std::move(v));
  }
}

std::string Key(const Digest& digest) {
  std::string key(1, static_cast<char>(digest.algorithm));
  key.append(digest.view());
  return key;
}

absl::StatusOr<int64_t> Refs(sql::Database& db, DatasetId dataset, const Digest& node) {
  BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT refs FROM node_refs WHERE dataset = ? AND node = ?"));
  const std::string key = Key(node);
  select.BindBlob(1, dataset.view()).BindBlob(2, key);
  BW_ASSIGN_OR_RETURN(bool row, select.Step());
  return row ? select.Int(0) : 0;
}

absl::Status AddRefs(sql::Database& db, DatasetId dataset, const Digest& node, int64_t delta) {
  BW_ASSIGN_OR_RETURN(sql::Statement upsert, db.Prepare("INSERT INTO node_refs(dataset, node, refs) VALUES(?1, ?2, ?3) "
                                                        "ON CONFLICT(dataset, node) DO UPDATE SET refs = refs + ?3"));
  const std::string key = Key(node);
  return upsert.BindBlob(1, dataset.view()).BindBlob(2, key).Bind(3, delta).Run();
}

bool Unreadable(const absl::Status& status) { return absl::IsDataLoss(status) || absl::IsNotFound(status); }

// An edge to a node counts once for each place its (newly counted) parent names it. `all`: what lies below a node that
// cannot be read is an error, else it stays uncounted.
absl::Status Count(sql::Database& db, DatasetId dataset, const Digest& root, NodeSource* source, bool all) {
  std::vector<Digest> stack = {root};
  while (!stack.empty()) {
    const Digest node = stack.back();
    stack.pop_back();
    BW_ASSIGN_OR_RETURN(const int64_t refs, Refs(db, dataset, node));
    BW_RETURN_IF_ERROR(AddRefs(db, dataset, node, 1));
    if (refs > 0) continue;
    auto loaded = source->Load(node);
    if (!all && Unreadable(loaded.status())) continue;
    BW_RETURN_IF_ERROR(loaded.status());
    for (const NodeChild& child : (*loaded)->Children()) {
      if (child.is_node) stack.push_back(child.digest);
    }
  }
  return absl::OkStatus();
}

absl::Status Uncount(sql::Database& db, DatasetId dataset, const Digest& root, NodeSource* source) {
  std::vector<Digest> stack = {root};
  while (!stack.empty()) {
    const Digest node = stack.back();
    stack.pop_back();
    BW_ASSIGN_OR_RETURN(const int64_t refs, Refs(db, dataset, node));
    if (refs > 1) {
      BW_RETURN_IF_ERROR(AddRefs(db, dataset, node, -1));
      continue;
    }
    BW_ASSIGN_OR_RETURN(sql::Statement gone, db.Prepare("DELETE FROM node_refs WHERE dataset = ? AND node = ?"));
    const std::string key = Key(node);
    BW_RETURN_IF_ERROR(gone.BindBlob(1, dataset.view()).BindBlob(2, key).Run());
    if (refs <= 0) continue;
    BW_ASSIGN_OR_RETURN(std::shared_ptr<const Node> loaded, source->Load(node));
    for (const NodeChild& child : loaded->Children()) {
      if (child.is_node) stack.push_back(child.digest);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Digest> RootIn(sql::Statement& row) {
  const std::string key = row.Blob(0);
  if (key.empty()) return absl::DataLossError("a version without a root");
  return Digest::From(static_cast<uint8_t>(key[0]), std::string_view(key).substr(1));
}

// From the versions that are left: of a node that cannot be read nobody knows what it counted.
absl::Status Recount(sql::Database& db, DatasetId dataset, NodeSource* source) {
  std::vector<Digest> roots;
  BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT root FROM versions WHERE dataset = ?"));
  select.BindBlob(1, dataset.view());
  while (true) {
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (!row) break;
    BW_ASSIGN_OR_RETURN(Digest root, RootIn(select));
    roots.push_back(root);
  }
  BW_ASSIGN_OR_RETURN(sql::Statement clear, db.Prepare("DELETE FROM node_refs WHERE dataset = ?"));
  BW_RETURN_IF_ERROR(clear.BindBlob(1, dataset.view()).Run());
  for (const Digest& root : roots) BW_RETURN_IF_ERROR(Count(db, dataset, root, source, /*all=*/false));
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> VersionCatalog::Migrations() {
  return {
      "CREATE TABLE versions(dataset BLOB NOT NULL, number INTEGER NOT NULL, identity BLOB NOT NULL, root BLOB NOT "
      "NULL,"
      "  envelope BLOB NOT NULL, PRIMARY KEY(dataset, number)) STRICT, WITHOUT ROWID;"
      "CREATE TABLE node_refs(dataset BLOB NOT NULL, node BLOB NOT NULL, refs INTEGER NOT NULL,"
      "  PRIMARY KEY(dataset, node)) STRICT, WITHOUT ROWID;",
  };
}

std::string VersionCatalog::ProvenanceMigration() {
  return "CREATE TABLE provenance(dataset BLOB NOT NULL, number INTEGER NOT NULL, hops INTEGER NOT NULL,"
         "  chain BLOB NOT NULL, PRIMARY KEY(dataset, number)) STRICT, WITHOUT ROWID;";
}

std::vector<std::string> VersionCatalog::AllMigrations() {
  std::vector<std::string> all = Migrations();
  all.push_back(ProvenanceMigration());
  return all;
}

absl::Status VersionCatalog::Add(const crypto::Envelope& envelope, NodeSource* source,
                                 const std::vector<crypto::Envelope>& provenance) {
  BW_ASSIGN_OR_RETURN(CatalogVersion v, FromEnvelope(envelope));
  const DatasetId dataset = v.record.dataset_id;
  absl::Status done = db_->Transaction([&](sql::Database& db) -> absl::Status {
    {
      BW_ASSIGN_OR_RETURN(sql::Statement select,
                          db.Prepare("SELECT identity FROM versions WHERE dataset = ? AND number = ?"));
      select.BindBlob(1, dataset.view()).Bind(2, v.record.number);
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (row) {
        if (select.Blob(0) == Key(v.identity)) return absl::OkStatus();
        return absl::AlreadyExistsError(
            absl::StrCat("version ", v.record.number, " of ", v.record.dataset, " exists here with another identity"));
      }
    }
    {
      BW_ASSIGN_OR_RETURN(
          sql::Statement insert,
          db.Prepare("INSERT INTO versions(dataset, number, identity, root, envelope) VALUES(?, ?, ?, ?, ?)"));
      const std::string identity = Key(v.identity), root = Key(v.record.manifest_root), packed = Pack(envelope);
      BW_RETURN_IF_ERROR(insert.BindBlob(1, dataset.view())
                             .Bind(2, v.record.number)
                             .BindBlob(3, identity)
                             .BindBlob(4, root)
                             .BindBlob(5, packed)
                             .Run());
    }
    if (!provenance.empty()) BW_RETURN_IF_ERROR(StoreProvenance(db, dataset, v.record.number, provenance));
    return Count(db, dataset, v.record.manifest_root, source, /*all=*/true);
  });
  Changed(dataset);
  return done;
}

absl::Status VersionCatalog::Drop(DatasetId dataset, VersionNumber number, NodeSource* source) {
  absl::Status done = db_->Transaction([&](sql::Database& db) -> absl::Status {
    Digest root;
    {
      BW_ASSIGN_OR_RETURN(sql::Statement select,
                          db.Prepare("SELECT root FROM versions WHERE dataset = ? AND number = ?"));
      select.BindBlob(1, dataset.view()).Bind(2, number);
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::NotFoundError(absl::StrCat("version ", number, " is not here"));
      BW_ASSIGN_OR_RETURN(root, RootIn(select));
    }
    BW_ASSIGN_OR_RETURN(sql::Statement remove, db.Prepare("DELETE FROM versions WHERE dataset = ? AND number = ?"));
    BW_RETURN_IF_ERROR(remove.BindBlob(1, dataset.view()).Bind(2, number).Run());
    BW_ASSIGN_OR_RETURN(sql::Statement forget, db.Prepare("DELETE FROM provenance WHERE dataset = ? AND number = ?"));
    BW_RETURN_IF_ERROR(forget.BindBlob(1, dataset.view()).Bind(2, number).Run());
    absl::Status uncounted = Uncount(db, dataset, root, source);
    return Unreadable(uncounted) ? Recount(db, dataset, source) : uncounted;
  });
  Changed(dataset);
  return done;
}

absl::Status VersionCatalog::DropDataset(DatasetId dataset) {
  absl::Status done = db_->Transaction([&](sql::Database& db) -> absl::Status {
    for (const char* sql : {"DELETE FROM versions WHERE dataset = ?", "DELETE FROM provenance WHERE dataset = ?",
                            "DELETE FROM node_refs WHERE dataset = ?"}) {
      BW_ASSIGN_OR_RETURN(sql::Statement remove, db.Prepare(sql));
      BW_RETURN_IF_ERROR(remove.BindBlob(1, dataset.view()).Run());
    }
    return absl::OkStatus();
  });
  Changed(dataset);
  return done;
}

absl::StatusOr<std::vector<crypto::Envelope>> VersionCatalog::Provenance(DatasetId dataset, VersionNumber number) {
  std::vector<crypto::Envelope> chain;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select,
                        db.Prepare("SELECT chain FROM provenance WHERE dataset = ? AND number = ?"));
    select.BindBlob(1, dataset.view()).Bind(2, number);
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (!row) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(chain, UnpackAll(select.Blob(0)));
    return absl::OkStatus();
  }));
  return chain;
}

absl::Status VersionCatalog::PutProvenance(DatasetId dataset, VersionNumber number,
                                           const std::vector<crypto::Envelope>& provenance) {
  return db_->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT 1 FROM versions WHERE dataset = ? AND number = ?"));
    select.BindBlob(1, dataset.view()).Bind(2, number);
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (!row) return absl::NotFoundError(absl::StrCat("version ", number, " is not here"));
    return StoreProvenance(db, dataset, number, provenance);
  });
}

absl::StatusOr<std::map<VersionNumber, uint32_t>> VersionCatalog::Hops(DatasetId dataset) {
  std::map<VersionNumber, uint32_t> hops;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT number, hops FROM provenance WHERE dataset = ?"));
    select.BindBlob(1, dataset.view());
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      hops[static_cast<VersionNumber>(select.Int(0))] = static_cast<uint32_t>(select.Int(1));
    }
  }));
  return hops;
}

absl::StatusOr<std::vector<CatalogVersion>> VersionCatalog::List(DatasetId dataset) {
  std::vector<CatalogVersion> rows;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select,
                        db.Prepare("SELECT envelope FROM versions WHERE dataset = ? ORDER BY number"));
    select.BindBlob(1, dataset.view());
    BW_ASSIGN_OR_RETURN(rows, Rows(select));
    return absl::OkStatus();
  }));
  return rows;
}

absl::StatusOr<std::optional<CatalogVersion>> VersionCatalog::Find(DatasetId dataset, VersionNumber number) {
  std::vector<CatalogVersion> rows;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select,
                        db.Prepare("SELECT envelope FROM versions WHERE dataset = ? AND number = ?"));
    select.BindBlob(1, dataset.view()).Bind(2, number);
    BW_ASSIGN_OR_RETURN(rows, Rows(select));
    return absl::OkStatus();
  }));
  if (rows.empty()) return std::nullopt;
  return std::move(rows[0]);
}

absl::StatusOr<std::optional<CatalogVersion>> VersionCatalog::Newest(DatasetId dataset) {
  std::vector<CatalogVersion> rows;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select,
                        db.Prepare("SELECT envelope FROM versions WHERE dataset = ? ORDER BY number DESC LIMIT 1"));
    select.BindBlob(1, dataset.view());
    BW_ASSIGN_OR_RETURN(rows, Rows(select));
    return absl::OkStatus();
  }));
  if (rows.empty()) return std::nullopt;
  return std::move(rows[0]);
}

absl::StatusOr<bool> VersionCatalog::IsComplete(DatasetId dataset, const Digest& node) {
  int64_t refs = 0;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(refs, Refs(db, dataset, node));
    return absl::OkStatus();
  }));
  return refs > 0;
}

absl::StatusOr<std::vector<Digest>> VersionCatalog::LiveNodes(DatasetId dataset) {
  std::vector<Digest> nodes;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT node FROM node_refs WHERE dataset = ? AND refs > 0"));
    select.BindBlob(1, dataset.view());
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      const std::string key = select.Blob(0);
      if (key.empty()) return absl::DataLossError("an empty node digest in the catalog");
      BW_ASSIGN_OR_RETURN(Digest digest, Digest::From(static_cast<uint8_t>(key[0]), std::string_view(key).substr(1)));
      nodes.push_back(digest);
    }
  }));
  return nodes;
}

}  // namespace bailiwick::store
