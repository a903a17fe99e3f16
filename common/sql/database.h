// SQLite as Bailiwick uses it: one connection per database does all writes and checkpoints, files go through os::Files,
// WAL with synchronous=FULL and locking_mode=EXCLUSIVE (so no shared memory), foreign_keys, trusted_schema=OFF,
// cell_size_check, mmap_size=0, a busy timeout of zero. A commit is durable when Commit returns OK.
//
// Database is thread-safe by its mutex: all use happens in the body of a Transaction or Read; Statements live inside
// one.
//
// Errors: ALREADY_EXISTS a unique or primary key is taken; FAILED_PRECONDITION another constraint (foreign key, check,
// not null); RESOURCE_EXHAUSTED the disk is full; DATA_LOSS the file is corrupt; INTERNAL others. After a failed sync
// of any of its files the database refuses every further transaction: close it and open it again, which reads back what
// is really on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/os/files.h"

struct sqlite3;
struct sqlite3_stmt;

namespace bailiwick::sql {

class Database;

// A prepared statement, valid until the body that made it ends. Columns and parameters count from 0 and 1 as SQLite's
// do. Bind after Step starts the statement anew and keeps the other bindings; an error of Bind is returned by the next
// Step.
class Statement {
 public:
  Statement(Statement&&) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();
  Statement& Bind(int index, int64_t value);
  Statement& Bind(int index, uint64_t value) { return Bind(index, static_cast<int64_t>(value)); }
  Statement& Bind(int index, int value) { return Bind(index, static_cast<int64_t>(value)); }
  Statement& BindText(int index, std::string_view value);
  Statement& BindBlob(int index, std::string_view value);
  Statement& BindNull(int index);
  absl::StatusOr<bool> Step();  // true: a row is there
  absl::Status Run();           // steps to the end and resets, for statements without rows of interest
  void Reset();                 // keeps bindings
  int64_t Int(int column) const;
  uint64_t Uint(int column) const { return static_cast<uint64_t>(Int(column)); }
  std::string Text(int column) const;
  std::string Blob(int column) const;
  bool IsNull(int column) const;

 private:
  friend class Database;
  Statement(Database* db, sqlite3_stmt* stmt) : db_(db), stmt_(stmt) {}
  void Bound(int rc);

  Database* db_;
  sqlite3_stmt* stmt_;
  bool stepped_ = false;
  bool done_ = false;
  absl::Status error_;
};

struct OpenOptions {
  os::Files* files = nullptr;  // required
  std::string path;
  // Migrations in order; user_version counts how many have run. Opening a database with a higher user_version than
  // there are migrations is FAILED_PRECONDITION ("written by a newer Bailiwick").
  std::vector<std::string> migrations;
};

class Database {
 public:
  // DATA_LOSS: not a database or corrupt (nothing is changed). FAILED_PRECONDITION: newer format.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const OpenOptions& options);
  ~Database();

  // Runs `body` under the mutex inside BEGIN IMMEDIATE ... COMMIT; rolls back when it returns an error. Not reentrant.
  absl::Status Transaction(const std::function<absl::Status(Database&)>& body);
  // Runs `body` under the mutex without a transaction of its own: for reads.
  absl::Status Read(const std::function<absl::Status(Database&)>& body);

  // Inside Transaction or Read only. Statements are cached by text.
  absl::StatusOr<Statement> Prepare(std::string_view sql);
  absl::Status Execute(std::string_view sql);
  int64_t last_insert_rowid() const;
  int64_t changes() const;

 private:
  Database() = default;
  friend class Statement;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bailiwick::sql
