#include "services/coordinator/catalog/sqlite_catalog.h"

#include "absl/strings/str_cat.h"
#include "common/rpc/codec.h"

namespace bailiwick::coordinator {
namespace {

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

// What homes gave up.
const char* kGivenUp = "ALTER TABLE replicas ADD COLUMN given_up BLOB NOT NULL DEFAULT x'';";

const char* kNewcomers =
    "ALTER TABLE agents ADD COLUMN newcomer_key BLOB NOT NULL DEFAULT x'';"
    "ALTER TABLE agents ADD COLUMN newcomer_incarnation BLOB NOT NULL DEFAULT x'';"
    "ALTER TABLE agents ADD COLUMN newcomer_joined INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE agents ADD COLUMN proves_key INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE redactions ADD COLUMN waits INTEGER NOT NULL DEFAULT 2;";  // 2: not known

// What a page of receipts is found by. A null order: of a build of before, what is in the envelope was not read yet.
const char* kReceiptPages =
    "ALTER TABLE receipts ADD COLUMN name TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE receipts ADD COLUMN order_id BLOB;"
    "CREATE INDEX receipts_by_order ON receipts(order_id);"
    "CREATE INDEX receipts_by_dataset ON receipts(name) WHERE order_id = x'';"
    "CREATE INDEX receipts_by_site ON receipts(site) WHERE order_id = x'';"
    "CREATE INDEX receipts_by_copy ON receipts(name, site) WHERE order_id = x'';";

}  // namespace

std::string SqliteCatalog::Pack(const crypto::Envelope& envelope) {
  types::v1::Envelope message;
  rpc::ToProto(envelope, &message);
  return message.SerializeAsString();
}

absl::StatusOr<crypto::Envelope> SqliteCatalog::Unpack(const std::string& bytes) {
  types::v1::Envelope message;
  if (!message.ParseFromString(bytes)) return absl::DataLossError("the catalog holds an unreadable signed record");
  return rpc::FromProto(message);
}

absl::Status SqliteCatalog::Begin() {
  BW_RETURN_IF_ERROR(ReadOldReceipts());
  return db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(std::string sequence, GetMeta(db, "sequence"));
    sequence_ = std::strtoull(sequence.c_str(), nullptr, 10);
    return absl::OkStatus();
  });
}

absl::StatusOr<Snapshot> SqliteCatalog::Load() {
  Snapshot s;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_RETURN_IF_ERROR(LoadLaw(db, &s));
    BW_RETURN_IF_ERROR(LoadIdentities(db, &s));
    return LoadCopies(db, &s);
  }));
  return s;
}

absl::Status SqliteCatalog::Write(const std::function<absl::Status(sql::Database&)>& body) {
  absl::MutexLock lock(&write_mutex_);
  const uint64_t next = sequence_ + 1;
  BW_RETURN_IF_ERROR(db_->Transaction([&](sql::Database& db) -> absl::Status {
    BW_RETURN_IF_ERROR(body(db));
    return PutMeta(db, "sequence", std::to_string(next));
  }));
  sequence_ = next;
  return absl::OkStatus();
}

absl::Status SqliteCatalog::PutMeta(sql::Database& db, const std::string& key, const std::string& value) {
  BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)"));
  return put.BindText(1, key).BindBlob(2, value).Run();
}

absl::StatusOr<std::string> SqliteCatalog::GetMeta(sql::Database& db, const std::string& key) {
  BW_ASSIGN_OR_RETURN(auto select, db.Prepare("SELECT value FROM meta WHERE key = ?"));
  select.BindText(1, key);
  BW_ASSIGN_OR_RETURN(bool row, select.Step());
  return row ? select.Blob(0) : std::string();
}

std::vector<std::string> SqliteCatalog::Migrations() {
  return {kSchema,   kSigningSchema, kEviction, kRedaction, kRpoAlarms,
          kIdentity, kProposals,     kGivenUp,  kNewcomers, kReceiptPages};
}

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(os::Files* files, const std::string& path) {
  auto db = sql::Database::Open({.files = files, .path = path, .migrations = SqliteCatalog::Migrations()});
  if (absl::IsDataLoss(db.status())) {
    return absl::DataLossError(absl::StrCat(std::string(db.status().message()),
                                            "; the catalog is damaged: bring the data directory back from a backup"));
  }
  BW_RETURN_IF_ERROR(db.status());
  auto catalog = std::make_unique<SqliteCatalog>(*std::move(db));
  BW_RETURN_IF_ERROR(catalog->Begin());
  return std::unique_ptr<Catalog>(std::move(catalog));
}

}  // namespace bailiwick::coordinator
