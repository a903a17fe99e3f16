#include "common/sql/database.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "common/base/status.h"
#include "common/os/fault_files.h"

namespace bailiwick::sql {
namespace {

const std::vector<std::string> kMigrations = {
    "CREATE TABLE item(id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, name TEXT UNIQUE, data BLOB); -- first\n"
    "CREATE INDEX item_batch ON item(batch);",
    "CREATE TABLE child(id INTEGER PRIMARY KEY, item INTEGER NOT NULL REFERENCES item(id));",
};

class DatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = ::testing::TempDir() + "bw-sql-" + std::to_string(::getpid()) + "-" + info->name();
    Fresh();
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }

  void Fresh() {
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
  }
  absl::StatusOr<std::unique_ptr<Database>> Open(os::Files* files, std::vector<std::string> migrations = kMigrations) {
    return Database::Open({files, root_ + "/db", std::move(migrations)});
  }

  os::Files* files_ = os::Files::System();
  std::string root_;
};

absl::Status Insert(Database& db, int64_t batch, const std::string& name, const std::string& data = "") {
  BW_ASSIGN_OR_RETURN(Statement insert, db.Prepare("INSERT INTO item(batch, name, data) VALUES(?, ?, ?)"));
  return insert.Bind(1, batch).BindText(2, name).BindBlob(3, data).Run();
}

std::multiset<int64_t> Batches(Database& db) {
  std::multiset<int64_t> batches;
  absl::Status status = db.Read([&](Database& d) -> absl::Status {
    BW_ASSIGN_OR_RETURN(Statement select, d.Prepare("SELECT batch FROM item"));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      batches.insert(select.Int(0));
    }
  });
  EXPECT_TRUE(status.ok()) << status;
  return batches;
}

TEST_F(DatabaseTest, KeepsWhatWasCommittedAcrossOpens) {
  {
    auto db = Open(files_);
    ASSERT_TRUE(db.ok()) << db.status();
    ASSERT_TRUE((*db)->Transaction([](Database& d) { return Insert(d, 1, "one", std::string("\0x", 2)); }).ok());
    EXPECT_TRUE(absl::IsAborted((*db)->Transaction([](Database& d) -> absl::Status {
      BW_RETURN_IF_ERROR(Insert(d, 2, "two"));
      return absl::AbortedError("changed my mind");
    })));
  }
  auto db = Open(files_);
  ASSERT_TRUE(db.ok()) << db.status();
  EXPECT_EQ(Batches(**db), (std::multiset<int64_t>{1}));
  absl::Status status = (*db)->Read([](Database& d) -> absl::Status {
    BW_ASSIGN_OR_RETURN(Statement select, d.Prepare("SELECT id, name, data, NULL FROM item WHERE name = ?"));
    BW_ASSIGN_OR_RETURN(bool row, select.BindText(1, "one").Step());
    EXPECT_TRUE(row);
    EXPECT_EQ(select.Text(1), "one");
    EXPECT_EQ(select.Blob(2), std::string("\0x", 2));
    EXPECT_TRUE(select.IsNull(3));
    BW_ASSIGN_OR_RETURN(row, select.Step());
    EXPECT_FALSE(row);
    BW_ASSIGN_OR_RETURN(row, select.Step());
    EXPECT_FALSE(row) << "does not start again by itself";
    BW_ASSIGN_OR_RETURN(row, select.BindText(1, "none").Step());
    EXPECT_FALSE(row);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(DatabaseTest, ErrorsSayWhatHappened) {
  auto db = *Open(files_);
  ASSERT_TRUE(db->Transaction([](Database& d) { return Insert(d, 1, "one"); }).ok());
  absl::Status twice = db->Transaction([](Database& d) { return Insert(d, 2, "one"); });
  EXPECT_TRUE(absl::IsAlreadyExists(twice)) << twice;
  EXPECT_NE(twice.ToString().find(root_ + "/db"), std::string::npos) << twice;
  EXPECT_NE(twice.ToString().find("INSERT INTO item"), std::string::npos) << twice;
  EXPECT_TRUE(absl::IsFailedPrecondition(
      db->Transaction([](Database& d) { return d.Execute("INSERT INTO child(item) VALUES(999)"); })));
  EXPECT_TRUE(absl::IsInternal(db->Transaction([](Database& d) { return d.Execute("NOT SQL"); })));
  EXPECT_FALSE(db->Transaction([](Database& d) { return d.Prepare("SELECT 1; SELECT 2").status(); }).ok());
  EXPECT_FALSE(db->Transaction([](Database& d) -> absl::Status {
                   BW_ASSIGN_OR_RETURN(Statement s, d.Prepare("SELECT ?"));
                   return s.Bind(2, 5).Run();
                 }).ok())
      << "no such parameter";
  EXPECT_FALSE(db->Prepare("SELECT 1").ok()) << "outside of a body";
  EXPECT_FALSE(db->Execute("SELECT 1").ok());
  EXPECT_FALSE(db->Read([](Database& d) { return d.Transaction([](Database&) { return absl::OkStatus(); }); }).ok());
  EXPECT_EQ(Batches(*db).size(), 1u);
}

TEST_F(DatabaseTest, StatementsNestAndAreReused) {
  auto db = *Open(files_);
  absl::Status status = db->Transaction([](Database& d) -> absl::Status {
    for (int i = 0; i < 300; ++i) BW_RETURN_IF_ERROR(Insert(d, i % 3, "n" + std::to_string(i)));
    EXPECT_EQ(d.changes(), 1);
    EXPECT_EQ(d.last_insert_rowid(), 300);
    const char* sql = "SELECT count(*) FROM item WHERE batch <> ?";
    BW_ASSIGN_OR_RETURN(Statement outer, d.Prepare(sql));
    BW_ASSIGN_OR_RETURN(bool row, outer.Bind(1, 0).Step());
    EXPECT_TRUE(row);
    BW_ASSIGN_OR_RETURN(Statement inner, d.Prepare(sql));
    BW_ASSIGN_OR_RETURN(row, inner.Bind(1, 7).Step());
    EXPECT_EQ(outer.Int(0), 200);
    EXPECT_EQ(inner.Int(0), 300);
    for (int i = 0; i < 300; ++i) {  // more texts than the cache holds
      BW_ASSIGN_OR_RETURN(Statement one, d.Prepare("SELECT " + std::to_string(i)));
      BW_ASSIGN_OR_RETURN(row, one.Step());
      EXPECT_EQ(one.Int(0), i);
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  status = db->Read([](Database& d) -> absl::Status {
    BW_ASSIGN_OR_RETURN(Statement s, d.Prepare("SELECT count(*) FROM item WHERE batch <> ?"));
    BW_ASSIGN_OR_RETURN(bool row, s.Step());
    EXPECT_TRUE(row);
    EXPECT_EQ(s.Int(0), 0) << "bindings of the last user are gone: NULL";
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(DatabaseTest, MigratesOnceAndRefusesNewerFormats) {
  ASSERT_TRUE(Open(files_, {kMigrations[0]}).ok());
  {
    auto db = Open(files_);
    ASSERT_TRUE(db.ok()) << db.status();
    EXPECT_TRUE((*db)
                    ->Transaction([](Database& d) -> absl::Status {
                      BW_RETURN_IF_ERROR(Insert(d, 1, "one"));
                      return d.Execute("INSERT INTO child(item) VALUES(1)");
                    })
                    .ok());
  }
  std::string before = *os::ReadFile(files_, root_ + "/db");
  auto older = Open(files_, {kMigrations[0]});
  EXPECT_TRUE(absl::IsFailedPrecondition(older.status())) << older.status();
  EXPECT_NE(older.status().ToString().find("newer Bailiwick"), std::string::npos);
  EXPECT_EQ(*os::ReadFile(files_, root_ + "/db"), before);
  std::vector<std::string> broken = kMigrations;
  broken.push_back("CREATE TABLE extra(x); CREATE TABLE item(y);");
  EXPECT_FALSE(Open(files_, broken).ok());
  broken.back() = "CREATE TABLE extra(x);";
  EXPECT_TRUE(Open(files_, broken).ok()) << "the failed migration left nothing behind";
}

TEST_F(DatabaseTest, RefusesWhatIsNotADatabaseAndLeavesItAlone) {
  for (const std::string& content : {std::string("not a database"), std::string(8192, 'x')}) {
    ASSERT_TRUE(os::WriteFileAtomically(files_, root_ + "/db", content).ok());
    auto db = Open(files_);
    EXPECT_TRUE(absl::IsDataLoss(db.status())) << db.status();
    EXPECT_EQ(*os::ReadFile(files_, root_ + "/db"), content);
  }
}

TEST_F(DatabaseTest, FindsCorruptPages) {
  {
    auto db = *Open(files_);
    ASSERT_TRUE(db->Transaction([](Database& d) -> absl::Status {
                    for (int i = 0; i < 500; ++i)
                      BW_RETURN_IF_ERROR(Insert(d, i, "n" + std::to_string(i), std::string(100, 'd')));
                    return absl::OkStatus();
                  }).ok());
  }
  std::string content = *os::ReadFile(files_, root_ + "/db");
  ASSERT_GT(content.size(), 40000u);
  for (size_t at = 4096; at < content.size(); at += 4096) content.replace(at, 64, 64, '\xee');
  ASSERT_TRUE(os::WriteFileAtomically(files_, root_ + "/db", content).ok());
  auto db = Open(files_);
  absl::Status status =
      db.ok() ? (*db)->Read([](Database& d) { return d.Execute("SELECT sum(length(data)) FROM item"); }) : db.status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST_F(DatabaseTest, ManyThreadsTakeTurns) {
  auto db = *Open(files_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        std::string name = std::to_string(t) + "-" + std::to_string(i);
        EXPECT_TRUE(db->Transaction([&](Database& d) { return Insert(d, t, name); }).ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(Batches(*db).size(), 40u);
}

// A few transactions of three rows each; returns how many were acknowledged.
int64_t RunBatches(Database& db, int64_t first, int64_t last) {
  int64_t acknowledged = first - 1;
  for (int64_t batch = first; batch <= last; ++batch) {
    absl::Status status = db.Transaction([&](Database& d) -> absl::Status {
      for (int i = 0; i < 3; ++i) {
        BW_RETURN_IF_ERROR(Insert(d, batch, std::to_string(batch) + "/" + std::to_string(i), std::string(2000, 'x')));
      }
      return absl::OkStatus();
    });
    if (!status.ok()) break;
    acknowledged = batch;
  }
  return acknowledged;
}

void ExpectWhole(Database& db, int64_t acknowledged) {
  std::multiset<int64_t> batches = Batches(db);
  std::set<int64_t> distinct(batches.begin(), batches.end());
  for (int64_t batch = 1; batch <= acknowledged; ++batch)
    EXPECT_EQ(batches.count(batch), 3u) << "acknowledged batch " << batch;
  for (int64_t batch : distinct) {
    EXPECT_EQ(batches.count(batch), 3u) << "batch " << batch << " is there by half";
    EXPECT_LE(batch, acknowledged + 1);
  }
  absl::Status status = db.Read([](Database& d) -> absl::Status {
    BW_ASSIGN_OR_RETURN(Statement check, d.Prepare("PRAGMA integrity_check"));
    BW_ASSIGN_OR_RETURN(bool row, check.Step());
    EXPECT_TRUE(row);
    EXPECT_EQ(check.Text(0), "ok");
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

// The power goes after each single operation: creation, migration, commits, the checkpoint at close.
TEST_F(DatabaseTest, PowerLossAtEveryOperation) {
  uint64_t total = 0;
  {
    os::FaultFiles faults(files_, root_);
    auto db = Open(&faults);
    ASSERT_TRUE(db.ok());
    ASSERT_EQ(RunBatches(**db, 1, 3), 3);
    db->reset();
    total = faults.operations();
  }
  ASSERT_GT(total, 20u);
  for (uint64_t n = 0; n < total; ++n) {
    for (bool keep : {false, true}) {
      SCOPED_TRACE("power loss after operation " + std::to_string(n) + (keep ? ", all kept" : ""));
      Fresh();
      os::FaultFiles faults(files_, root_);
      faults.StopAfter(n);
      int64_t acknowledged = 0;
      {
        auto db = Open(&faults);
        if (db.ok()) acknowledged = RunBatches(**db, 1, 3);
      }
      ASSERT_TRUE((keep ? faults.KeepUnsynced() : faults.DropUnsynced()).ok());
      auto db = Open(&faults);
      ASSERT_TRUE(db.ok()) << db.status();
      ExpectWhole(**db, acknowledged);
      int64_t next = static_cast<int64_t>(Batches(**db).size() / 3) + 1;
      EXPECT_EQ(RunBatches(**db, next, next), next) << "goes on after the restart";
      ExpectWhole(**db, next);
    }
    if (HasFailure()) break;
  }
}

// One operation fails (a bad sector, a full disk); the process goes on, then the power goes.
TEST_F(DatabaseTest, FailureAtEveryOperation) {
  for (const absl::Status& error : {absl::DataLossError("EIO"), absl::ResourceExhaustedError("ENOSPC")}) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE("operation " + std::to_string(n) + " fails with " + error.ToString());
      Fresh();
      os::FaultFiles faults(files_, root_);
      faults.FailAt(n, error);
      int64_t acknowledged = 0;
      {
        auto db = Open(&faults);
        if (db.ok()) {
          acknowledged = RunBatches(**db, 1, 3);
          ExpectWhole(**db, acknowledged);
        }
      }
      bool reached = faults.operations() >= n;
      const std::vector<std::string> history = faults.history();
      ASSERT_TRUE(faults.DropUnsynced().ok());
      auto db = Open(&faults);
      ASSERT_TRUE(db.ok()) << db.status();
      ExpectWhole(**db, acknowledged);
      if (HasFailure()) {
        for (size_t i = 0; i < history.size(); ++i) ADD_FAILURE() << i + 1 << ": " << history[i];
      }
      if (!reached || HasFailure()) break;
    }
  }
}

TEST_F(DatabaseTest, AFullDiskIsSaidAndOvercome) {
  os::FaultFiles faults(files_, root_);
  auto db = *Open(&faults);
  ASSERT_EQ(RunBatches(*db, 1, 1), 1);
  faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"), /*from_then_on=*/true);
  absl::Status status = db->Transaction([](Database& d) { return Insert(d, 2, "two", std::string(5000, 'x')); });
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  faults.ClearFaults();
  EXPECT_EQ(RunBatches(*db, 2, 3), 3);
  ExpectWhole(*db, 3);
}

TEST_F(DatabaseTest, NothingIsWrittenAfterAFailedSync) {
  os::FaultFiles faults(files_, root_);
  auto db = *Open(&faults);
  ASSERT_EQ(RunBatches(*db, 1, 1), 1);
  auto update = [&] {
    return db->Transaction([](Database& d) { return d.Execute("UPDATE item SET data = 'y' WHERE id = 1"); });
  };
  faults.FailNext("sync ", absl::DataLossError("EIO"));
  EXPECT_FALSE(update().ok());
  absl::Status status = db->Transaction([](Database& d) { return Insert(d, 9, "nine"); });
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.ToString().find("failed to sync before"), std::string::npos) << status;
  db.reset();
  ASSERT_TRUE(faults.DropUnsynced().ok());
  ExpectWhole(**Open(&faults), 1);
}

}  // namespace
}  // namespace bailiwick::sql
