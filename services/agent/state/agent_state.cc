#include "services/agent/state/agent_state.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/store/node_cache.h"
#include "common/telemetry/log.h"
#include "services/agent/evict/dropper.h"
#include "services/agent/evict/evictor.h"
#include "services/agent/law/law.h"
#include "services/agent/redact/redactor.h"

namespace bailiwick::agent {
namespace {

// Beyond their end, so that a clock that is set back a little brings no grant back to life.
constexpr absl::Duration kRememberGrants = absl::Hours(1);

std::vector<std::string> AllMigrations() {
  std::vector<std::string> all = {
      "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;"
      "CREATE TABLE datasets(id BLOB PRIMARY KEY, name TEXT NOT NULL) STRICT;"
      "CREATE TABLE assignments(id BLOB PRIMARY KEY, assignment BLOB NOT NULL) STRICT;",
  };
  for (auto& m : Law::Migrations()) all.push_back(m);
  for (auto& m : store::VersionCatalog::Migrations()) all.push_back(m);
  // What came later, each at the end: a database counts how many of the list it has seen, so nothing above may grow.
  all.push_back("CREATE TABLE spent_grants(id BLOB PRIMARY KEY, forget_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;");
  all.push_back(Law::LaterMigration());
  for (auto& m : Evictor::Migrations()) all.push_back(m);
  all.push_back(store::VersionCatalog::ProvenanceMigration());
  all.push_back(Redactor::Migration());
  all.push_back(Dropper::Migration());
  all.push_back("CREATE INDEX spent_grants_to_forget ON spent_grants(forget_at);");  // looked at for every grant
  return all;
}

absl::Status CheckFormat(os::Files* files, const std::string& directory) {
  const std::string path = os::JoinPath(directory, "format");
  auto text = os::ReadFile(files, path, 64);
  if (absl::IsNotFound(text.status()))
    return os::WriteFileAtomically(files, path, absl::StrCat(kPlainDataFormat, "\n"));
  BW_RETURN_IF_ERROR(text.status());
  uint32_t format = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &format)) {
    return absl::DataLossError(
        absl::StrCat(path, " is not a format number: bring the file back from a backup of the data directory"));
  }
  if (format > kDataFormat) {
    return absl::FailedPreconditionError(absl::StrCat(directory, " was written by a newer Bailiwick (data format ",
                                                      format, ", this one knows ", kDataFormat, "); use that version"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string KeyDirectory(const std::string& directory, const std::string& key_directory) {
  return key_directory.empty() ? os::JoinPath(directory, "keys") : key_directory;
}

absl::Status AgentState::CheckDatabase(os::Files* files, const std::string& directory) {
  const std::string path = os::JoinPath(directory, "agent.db");
  BW_ASSIGN_OR_RETURN(const bool there, files->Exists(path));
  if (there) {
    BW_ASSIGN_OR_RETURN(const std::unique_ptr<os::File> file, files->OpenRead(path));
    BW_ASSIGN_OR_RETURN(const uint64_t size, file->Size());
    if (size > 0) return absl::OkStatus();
  }
  const auto datasets = files->List(os::JoinPath(directory, "datasets"));
  if (!datasets.ok() || datasets->empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, there ? " is empty" : " is gone",
                                          ", and with it what the content in datasets belongs to; nothing was changed: "
                                          "bring it back from a backup, or move ",
                                          directory, " away and join anew"));
}

absl::Status AgentState::WithRemedy(const absl::Status& status, const std::string& directory) {
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(absl::StrCat(std::string(status.message()), "; the database is damaged: bring ", directory,
                                          " back from a backup, or move it away and join anew"));
}

absl::StatusOr<std::unique_ptr<AgentState>> AgentState::Open(const Environment& env, const std::string& directory) {
  std::unique_ptr<AgentState> state(new AgentState());
  state->env_ = env;
  state->directory_ = directory;
  BW_RETURN_IF_ERROR(env.files->MakeDirs(directory));
  BW_ASSIGN_OR_RETURN(state->lock_, env.files->Lock(os::JoinPath(directory, "lock")));
  BW_RETURN_IF_ERROR(CheckFormat(env.files, directory));
  BW_RETURN_IF_ERROR(CheckDatabase(env.files, directory));
  auto db = sql::Database::Open(
      {.files = env.files, .path = os::JoinPath(directory, "agent.db"), .migrations = AllMigrations()});
  BW_RETURN_IF_ERROR(WithRemedy(db.status(), directory));
  state->db_ = *std::move(db);
  state->keys_ = std::make_unique<store::KeyFiles>(env.files, env.random, KeyDirectory(directory, env.key_directory));
  state->catalog_ = std::make_unique<store::VersionCatalog>(state->db_.get());
  BW_ASSIGN_OR_RETURN(state->index_, store::ChunkIndex::Open(os::JoinPath(directory, "index"), kIndexFilterBytes));
  BW_ASSIGN_OR_RETURN(state->audit_,
                      audit::Log::Open(env.files, env.clock, env.random, os::JoinPath(directory, "audit")));
  BW_ASSIGN_OR_RETURN(std::string incarnation, state->GetMeta("incarnation"));
  if (incarnation.empty()) {
    incarnation = env.random->Bytes(16);
    BW_RETURN_IF_ERROR(state->PutMeta("incarnation", incarnation));
  }
  BW_ASSIGN_OR_RETURN(state->incarnation_, Incarnation::From(incarnation));

  std::vector<std::pair<std::string, std::string>> known;
  BW_RETURN_IF_ERROR(state->db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT id, name FROM datasets ORDER BY name"));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      known.emplace_back(select.Blob(0), select.Text(1));
    }
  }));
  BW_RETURN_IF_ERROR(Redactor::LoadBooks(state->db_.get(), [&state](DatasetId id) { return state->Redactions(id); }));
  absl::MutexLock lock(&state->mutex_);
  for (const auto& [id_bytes, name] : known) {
    BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(id_bytes));
    // The others go on. It is tried again when it is assigned, and said to whoever asks for it.
    if (auto loaded = state->Load(id, name); !loaded.ok()) {
      telemetry::Log(telemetry::Level::kError, "dataset-unusable", {{"dataset", name}, {"error", loaded.status()}});
    }
  }
  return state;
}

absl::StatusOr<std::string> AgentState::GetMeta(const std::string& key) {
  std::string value;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT value FROM meta WHERE key = ?"));
    select.BindText(1, key);
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (row) value = select.Blob(0);
    return absl::OkStatus();
  }));
  return value;
}

absl::Status AgentState::PutMeta(const std::string& key, const std::string& value) { return PutMeta({{key, value}}); }

absl::Status AgentState::PutMeta(const std::vector<std::pair<std::string, std::string>>& values) {
  return db_->Transaction([&](sql::Database& db) -> absl::Status {
    for (const auto& [key, value] : values) {
      BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)"));
      BW_RETURN_IF_ERROR(put.BindText(1, key).BindBlob(2, value).Run());
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<DatasetHandle*> AgentState::Load(DatasetId id, const std::string& name) {
  auto handle = std::make_unique<DatasetHandle>();
  handle->id = id;
  handle->name = name;
  handle->directory = os::JoinPath(os::JoinPath(directory_, "datasets"), id.Hex());
  handle->files = env_.files;
  handle->catalog = catalog_.get();
  BW_ASSIGN_OR_RETURN(handle->store, store::DatasetStore::Open({.files = env_.files,
                                                                .index = index_.get(),
                                                                .directory = handle->directory,
                                                                .dataset = id,
                                                                .keys = keys_.get(),
                                                                .random = env_.random,
                                                                .disk_reserve = env_.disk_reserve,
                                                                .redactions = Redactions(id)}));
  handle->redactions = Redactions(id);
  handle->nodes = store::NewStoreNodeSource(handle->store.get(), &nodes_);
  if (on_open_) BW_RETURN_IF_ERROR(on_open_(*handle));
  DatasetHandle* raw = handle.get();
  datasets_[id] = std::move(handle);
  return raw;
}

std::shared_ptr<store::RedactionBook> AgentState::Redactions(DatasetId id) {
  absl::MutexLock lock(&books_mutex_);
  auto& book = books_[id];
  if (book == nullptr) book = std::make_shared<store::RedactionBook>();
  return book;
}

absl::Status AgentState::OnOpen(std::function<absl::Status(DatasetHandle&)> load) {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, handle] : datasets_) BW_RETURN_IF_ERROR(load(*handle));
  on_open_ = std::move(load);
  return absl::OkStatus();
}

absl::StatusOr<DatasetHandle*> AgentState::OpenDataset(DatasetId id, const std::string& name) {
  absl::MutexLock lock(&mutex_);
  if (auto it = datasets_.find(id); it != datasets_.end()) return it->second.get();
  BW_RETURN_IF_ERROR(db_->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO datasets(id, name) VALUES(?, ?)"));
    return put.BindBlob(1, id.view()).BindText(2, name).Run();
  }));
  return Load(id, name);
}

absl::Status AgentState::Encrypt(DatasetHandle& dataset, const std::string& wrapping_key) {
  {
    absl::MutexLock lock(&format_mutex_);
    const std::string path = os::JoinPath(directory_, "format");
    BW_ASSIGN_OR_RETURN(std::string now, os::ReadFile(env_.files, path, 64));
    const std::string wanted = absl::StrCat(kDataFormat, "\n");
    if (now != wanted) BW_RETURN_IF_ERROR(os::WriteFileAtomically(env_.files, path, wanted));
  }
  return dataset.store->Encrypt(wrapping_key);
}

DatasetHandle* AgentState::FindDataset(DatasetId id) {
  absl::MutexLock lock(&mutex_);
  auto it = datasets_.find(id);
  return it == datasets_.end() ? nullptr : it->second.get();
}

std::vector<DatasetHandle*> AgentState::FindDatasets(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  std::vector<DatasetHandle*> found;
  for (const auto& [id, handle] : datasets_) {
    if (handle->name == name) found.push_back(handle.get());
  }
  return found;
}

std::vector<DatasetHandle*> AgentState::Datasets() {
  absl::MutexLock lock(&mutex_);
  std::vector<DatasetHandle*> all;
  for (const auto& [id, handle] : datasets_) all.push_back(handle.get());
  return all;
}

absl::Status AgentState::SpendGrant(std::string_view grant_id, absl::Time not_after) {
  const absl::Time now = env_.clock->Now();
  absl::Status status = db_->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement forget, db.Prepare("DELETE FROM spent_grants WHERE forget_at < ?"));
    BW_RETURN_IF_ERROR(forget.Bind(1, absl::ToUnixSeconds(now)).Run());
    BW_ASSIGN_OR_RETURN(sql::Statement spend, db.Prepare("INSERT INTO spent_grants(id, forget_at) VALUES(?, ?)"));
    return spend.BindBlob(1, grant_id).Bind(2, absl::ToUnixSeconds(not_after + kRememberGrants)).Run();
  });
  if (absl::IsAlreadyExists(status)) return absl::AlreadyExistsError("the grant was used before; a new one is needed");
  return status;
}

absl::Status AgentState::PutAssignments(const std::vector<std::pair<DatasetId, std::string>>& assignments) {
  return db_->Transaction([&](sql::Database& db) -> absl::Status {
    BW_RETURN_IF_ERROR(db.Execute("DELETE FROM assignments"));
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT INTO assignments(id, assignment) VALUES(?, ?)"));
    for (const auto& [id, bytes] : assignments) {
      BW_RETURN_IF_ERROR(put.BindBlob(1, id.view()).BindBlob(2, bytes).Run());
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<std::string>> AgentState::Assignments() {
  std::vector<std::string> all;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT assignment FROM assignments ORDER BY id"));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      all.push_back(select.Blob(0));
    }
  }));
  return all;
}

}  // namespace bailiwick::agent
