#include "common/sql/database.h"

#include <sqlite3.h>

#include <atomic>
#include <list>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/sql/vfs.h"

namespace bailiwick::sql {
namespace {

// Distinct texts that one component prepares; more means that somebody builds SQL from values.
constexpr size_t kMaxCached = 128;

// What of a statement an error shows: enough to find it, too little to leak what it holds.
std::string FirstWords(std::string_view sql) {
  std::string out;
  for (char c : sql.substr(0, 200)) {
    bool space = absl::ascii_isspace(static_cast<unsigned char>(c)) != 0;
    if (space && (out.empty() || out.back() == ' ')) continue;
    out += space ? ' ' : c;
    if (out.size() >= 48) return out + "...";
  }
  return out;
}

}  // namespace

// Except `mutex` and `holder`, everything is used only by the thread that is inside a body, or by Open and the
// destructor.
struct Database::Impl {
  struct Entry {
    std::string text;
    sqlite3_stmt* stmt;
    bool in_use;
  };

  Impl(os::Files* files, std::string p) : path(std::move(p)), vfs(files) {}
  ~Impl() {
    for (Entry& entry : cache) sqlite3_finalize(entry.stmt);
    if (db != nullptr) sqlite3_close_v2(db);
  }

  absl::Status Error(int rc, std::string_view sql);
  absl::Status Execute(std::string_view sql);
  absl::StatusOr<std::string> Pragma(const std::string& sql);
  absl::Status Configure();
  absl::Status InTransaction(const std::function<absl::Status()>& body);
  void Release(sqlite3_stmt* stmt);
  bool Mine() const { return holder.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

  const std::string path;
  Vfs vfs;  // before db: outlives it
  sqlite3* db = nullptr;
  std::list<Entry> cache;  // least recently used first
  absl::flat_hash_map<std::string, std::list<Entry>::iterator> by_text;
  absl::Mutex mutex;
  std::atomic<std::thread::id> holder{};
};

absl::Status Database::Impl::Error(int rc, std::string_view sql) {
  absl::Status cause = vfs.TakeError();
  std::string message = absl::StrCat(path, ": ", db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  if (!cause.ok()) absl::StrAppend(&message, " (", cause.message(), ")");
  if (!sql.empty()) absl::StrAppend(&message, " in: ", FirstWords(sql));
  absl::StatusCode code = absl::StatusCode::kInternal;
  switch (rc & 0xff) {
    case SQLITE_FULL:
      code = absl::StatusCode::kResourceExhausted;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      code = absl::StatusCode::kDataLoss;
      break;
    case SQLITE_CONSTRAINT:
      code = rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID
                 ? absl::StatusCode::kAlreadyExists
                 : absl::StatusCode::kFailedPrecondition;
      break;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      // A disk that fails is not a file that is corrupt: DATA_LOSS would make the caller give the database up.
      if (!cause.ok() && !absl::IsDataLoss(cause)) code = cause.code();
      break;
    default:
      break;
  }
  return absl::Status(code, message);
}

absl::Status Database::Impl::Execute(std::string_view sql) {
  const char* at = sql.data();
  const char* end = sql.data() + sql.size();
  while (at < end) {
    sqlite3_stmt* stmt = nullptr;
    const char* tail = nullptr;
    int rc = sqlite3_prepare_v2(db, at, static_cast<int>(end - at), &stmt, &tail);
    if (rc != SQLITE_OK) return Error(rc, {at, static_cast<size_t>(end - at)});
    std::string_view text(at, static_cast<size_t>(tail - at));
    at = tail;
    if (stmt == nullptr) continue;  // white space or a comment
    do {
      rc = sqlite3_step(stmt);
    } while (rc == SQLITE_ROW);
    absl::Status status = rc == SQLITE_DONE ? absl::OkStatus() : Error(rc, text);
    sqlite3_finalize(stmt);
    BW_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Database::Impl::Pragma(const std::string& sql) {
  sqlite3_stmt* stmt = nullptr;
  int rc = sqlite3_prepare_v2(db, sql.c_str(), -1, &stmt, nullptr);
  if (rc != SQLITE_OK) return Error(rc, sql);
  std::string value;
  // To the end: the switch to the write-ahead log gives its row first and commits, or fails, after it.
  while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    const unsigned char* text = sqlite3_column_text(stmt, 0);
    if (text != nullptr) value = reinterpret_cast<const char*>(text);
  }
  absl::Status status = rc == SQLITE_DONE ? absl::OkStatus() : Error(rc, sql);
  sqlite3_finalize(stmt);
  BW_RETURN_IF_ERROR(status);
  return value;
}

absl::Status Database::Impl::Configure() {
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, 0);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // Until the file is known to be ours, closing must leave it as it is.
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  // Exclusive first: then the WAL needs no shared memory, not even to be recovered.
  for (const char* pragma : {"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA temp_store=MEMORY", "PRAGMA mmap_size=0",
                             "PRAGMA trusted_schema=OFF", "PRAGMA cell_size_check=ON", "PRAGMA foreign_keys=ON"}) {
    BW_RETURN_IF_ERROR(Pragma(pragma).status());
  }
  return absl::OkStatus();
}

absl::Status Database::Impl::InTransaction(const std::function<absl::Status()>& body) {
  if (!vfs.broken().ok()) {
    return absl::InternalError(absl::StrCat(path, " failed to sync before (", vfs.broken().message(),
                                            "); nothing more is written to it until it is opened again"));
  }
  BW_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  absl::Status status = body();
  // SQLite rolls back by itself on a full disk or a failed write. A body that overlooked the error must not seem
  // committed.
  if (sqlite3_get_autocommit(db) != 0) {
    return status.ok() ? absl::AbortedError(absl::StrCat(path, ": the transaction was rolled back after an error"))
                       : status;
  }
  if (status.ok()) status = Execute("COMMIT");
  if (!status.ok() && sqlite3_get_autocommit(db) == 0) Execute("ROLLBACK").IgnoreError();
  return status;
}

void Database::Impl::Release(sqlite3_stmt* stmt) {
  sqlite3_reset(stmt);
  sqlite3_clear_bindings(stmt);
  auto it = by_text.find(sqlite3_sql(stmt));
  if (it == by_text.end() || it->second->stmt != stmt) {
    sqlite3_finalize(stmt);
    return;
  }
  it->second->in_use = false;
  cache.splice(cache.end(), cache, it->second);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const OpenOptions& options) {
  if (options.files == nullptr || options.path.empty())
    return absl::InvalidArgumentError("a database needs files and a path");
  std::unique_ptr<Database> database(new Database);
  database->impl_ = std::make_unique<Impl>(options.files, options.path);
  Impl& impl = *database->impl_;
  int rc = sqlite3_open_v2(options.path.c_str(), &impl.db,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, impl.vfs.name());
  if (rc != SQLITE_OK) return impl.Error(rc, "");
  BW_RETURN_IF_ERROR(impl.Configure());

  BW_ASSIGN_OR_RETURN(std::string version_text, impl.Pragma("PRAGMA user_version"));
  BW_RETURN_IF_ERROR(impl.Execute("SELECT count(*) FROM sqlite_schema"));  // a schema that cannot be read shows now
  const size_t version = std::strtoull(version_text.c_str(), nullptr, 10);
  if (version > options.migrations.size()) {
    return absl::FailedPreconditionError(absl::StrCat(options.path, " has format ", version,
                                                      ", written by a newer Bailiwick; this one knows up to ",
                                                      options.migrations.size(), ". Install the newer version again."));
  }
  BW_ASSIGN_OR_RETURN(std::string mode, impl.Pragma("PRAGMA journal_mode=WAL"));
  if (mode != "wal")
    return absl::InternalError(absl::StrCat(options.path, ": no write-ahead log, journal mode is ", mode));
  for (const char* pragma :
       {"PRAGMA synchronous=FULL", "PRAGMA wal_autocheckpoint=1000", "PRAGMA journal_size_limit=67108864"}) {
    BW_RETURN_IF_ERROR(impl.Pragma(pragma).status());
  }
  for (size_t next = version; next < options.migrations.size(); ++next) {
    absl::Status status = impl.InTransaction([&]() -> absl::Status {
      BW_RETURN_IF_ERROR(impl.Execute(options.migrations[next]));
      return impl.Execute(absl::StrCat("PRAGMA user_version=", next + 1));
    });
    BW_RETURN_IF_ERROR(Annotate(status, absl::StrCat("migration ", next + 1)));
  }
  sqlite3_db_config(impl.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
  return database;
}

Database::~Database() = default;

absl::Status Database::Transaction(const std::function<absl::Status(Database&)>& body) {
  if (impl_->Mine()) return absl::InternalError("a transaction was started inside another");
  absl::MutexLock lock(&impl_->mutex);
  impl_->holder.store(std::this_thread::get_id(), std::memory_order_relaxed);
  absl::Status status = impl_->InTransaction([&] { return body(*this); });
  impl_->holder.store(std::thread::id(), std::memory_order_relaxed);
  return status;
}

absl::Status Database::Read(const std::function<absl::Status(Database&)>& body) {
  if (impl_->Mine()) return absl::InternalError("a read was started inside a transaction or another read");
  absl::MutexLock lock(&impl_->mutex);
  impl_->holder.store(std::this_thread::get_id(), std::memory_order_relaxed);
  absl::Status status = body(*this);
  impl_->holder.store(std::thread::id(), std::memory_order_relaxed);
  return status;
}

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  if (!impl_->Mine()) return absl::InternalError("a statement was prepared outside of a transaction or read");
  std::string text(sql);
  auto it = impl_->by_text.find(text);
  if (it != impl_->by_text.end() && !it->second->in_use) {
    it->second->in_use = true;
    return Statement(this, it->second->stmt);
  }
  sqlite3_stmt* stmt = nullptr;
  const char* tail = nullptr;
  int rc = sqlite3_prepare_v3(impl_->db, text.c_str(), static_cast<int>(text.size()), SQLITE_PREPARE_PERSISTENT, &stmt,
                              &tail);
  if (rc != SQLITE_OK) return impl_->Error(rc, sql);
  std::string_view rest(tail);
  if (stmt == nullptr || rest.find_first_not_of(" \t\r\n;") != std::string_view::npos) {
    sqlite3_finalize(stmt);
    return absl::InvalidArgumentError(absl::StrCat("not exactly one statement: ", FirstWords(sql)));
  }
  // In use by an outer loop, or text that sqlite3_sql would not give back: such a statement serves once.
  bool cacheable = it == impl_->by_text.end() && text == sqlite3_sql(stmt);
  if (cacheable && impl_->cache.size() >= kMaxCached) {
    auto victim = impl_->cache.begin();
    while (victim != impl_->cache.end() && victim->in_use) ++victim;
    if (victim == impl_->cache.end()) {
      cacheable = false;
    } else {
      sqlite3_finalize(victim->stmt);
      impl_->by_text.erase(victim->text);
      impl_->cache.erase(victim);
    }
  }
  if (cacheable) {
    impl_->cache.push_back({text, stmt, true});
    impl_->by_text.emplace(std::move(text), std::prev(impl_->cache.end()));
  }
  return Statement(this, stmt);
}

absl::Status Database::Execute(std::string_view sql) {
  if (!impl_->Mine()) return absl::InternalError("SQL was run outside of a transaction or read");
  return impl_->Execute(sql);
}

int64_t Database::last_insert_rowid() const { return sqlite3_last_insert_rowid(impl_->db); }
int64_t Database::changes() const { return sqlite3_changes64(impl_->db); }

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_),
      stmt_(std::exchange(other.stmt_, nullptr)),
      stepped_(other.stepped_),
      done_(other.done_),
      error_(std::move(other.error_)) {}

Statement::~Statement() {
  if (stmt_ != nullptr) db_->impl_->Release(stmt_);
}

void Statement::Bound(int rc) {
  if (rc != SQLITE_OK && error_.ok()) error_ = db_->impl_->Error(rc, sqlite3_sql(stmt_));
}

Statement& Statement::Bind(int index, int64_t value) {
  if (stepped_) Reset();
  Bound(sqlite3_bind_int64(stmt_, index, value));
  return *this;
}

Statement& Statement::BindText(int index, std::string_view value) {
  if (stepped_) Reset();
  // A null pointer would bind NULL, which an empty string is not.
  Bound(sqlite3_bind_text64(stmt_, index, value.data() == nullptr ? "" : value.data(), value.size(), SQLITE_TRANSIENT,
                            SQLITE_UTF8));
  return *this;
}

Statement& Statement::BindBlob(int index, std::string_view value) {
  if (stepped_) Reset();
  Bound(sqlite3_bind_blob64(stmt_, index, value.data() == nullptr ? "" : value.data(), value.size(), SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::BindNull(int index) {
  if (stepped_) Reset();
  Bound(sqlite3_bind_null(stmt_, index));
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  BW_RETURN_IF_ERROR(error_);
  if (done_) return false;  // SQLite would start again by itself
  stepped_ = true;
  int rc = sqlite3_step(stmt_);
  if (rc == SQLITE_ROW) return true;
  done_ = true;
  if (rc == SQLITE_DONE) return false;
  error_ = db_->impl_->Error(rc, sqlite3_sql(stmt_));
  return error_;
}

absl::Status Statement::Run() {
  while (true) {
    absl::StatusOr<bool> row = Step();
    if (row.ok() && *row) continue;
    Reset();
    return row.status();
  }
}

void Statement::Reset() {
  sqlite3_reset(stmt_);
  stepped_ = done_ = false;
  error_ = absl::OkStatus();
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(stmt_, column); }

std::string Statement::Text(int column) const {
  const unsigned char* text = sqlite3_column_text(stmt_, column);
  if (text == nullptr) return "";
  return std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(sqlite3_column_bytes(stmt_, column)));
}

std::string Statement::Blob(int column) const {
  const void* blob = sqlite3_column_blob(stmt_, column);
  if (blob == nullptr) return "";
  return std::string(static_cast<const char*>(blob), static_cast<size_t>(sqlite3_column_bytes(stmt_, column)));
}

bool Statement::IsNull(int column) const { return sqlite3_column_type(stmt_, column) == SQLITE_NULL; }

}  // namespace bailiwick::sql
