// The catalog in one SQLite database. What is kept of one kind is written and read in one file: sqlite_law.cc
// (resources, what is signed, what waits for signatures), sqlite_identities.cc (agents, people, tokens),
// sqlite_copies.cc (versions, replicas and what is known of them, transfers), sqlite_events.cc. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status.h"
#include "common/sql/database.h"
#include "services/coordinator/catalog/catalog.h"

namespace bailiwick::coordinator {

class SqliteCatalog : public Catalog {
 public:
  static std::vector<std::string> Migrations();
  explicit SqliteCatalog(std::unique_ptr<sql::Database> db) : db_(std::move(db)) {}

  absl::Status Begin();  // before anything else
  uint64_t sequence() const override { return sequence_; }
  absl::StatusOr<Snapshot> Load() override;
  absl::Status Apply(const Change& change) override;
  absl::Status PutPending(const PendingRow* pending) override;
  absl::StatusOr<std::vector<BundleRow>> Bundles(uint64_t revision, uint32_t limit) override;
  absl::Status PutAgent(const AgentRow& a) override;
  absl::Status PutProposal(const control::v1::Proposal& proposal) override;
  absl::Status RemoveProposal(const std::string& id) override;
  absl::Status PutDenied(const agent::v1::Denied& denied) override;
  absl::Status PutVersion(const VersionRow& v) override;
  absl::Status ForgetVersions(DatasetId dataset, const std::vector<const VersionRow*>& versions) override;
  absl::StatusOr<std::optional<Digest>> ForgottenVersion(DatasetId dataset, VersionNumber number) override;
  absl::Status PutReplica(DatasetId dataset, const std::string& site, const ReplicaRow& r) override;
  absl::Status PutPin(DatasetId dataset, const std::string& site, VersionNumber number) override;
  absl::Status RemovePin(DatasetId dataset, const std::string& site) override;
  absl::Status PutHold(const agent::v1::Hold& hold) override;
  absl::Status ReleaseHold(uint64_t ordinal, const agent::v1::ReleasedHold& released) override;
  absl::Status PutKeptHolds(const std::string& site, const agent::v1::KeptHolds& kept) override;
  absl::Status PutReceipt(const ReceiptRow& r) override;
  absl::StatusOr<std::optional<ReceiptRow>> FindReceipt(const std::string& id) override;
  absl::StatusOr<ReceiptPage> Receipts(const ReceiptFilter& filter, uint32_t limit, size_t bytes) override;
  absl::Status PutRedaction(const std::string& order_id, const RedactionRow& r) override;
  absl::Status RemoveRedaction(const std::string& order_id) override;
  absl::Status PutToken(const std::string& sha256, const std::string& site, absl::Time expires) override;
  absl::StatusOr<std::string> SpendToken(const std::string& sha256, absl::Time now) override;
  absl::StatusOr<bool> HasSpentToken(const std::string& name) override;
  absl::Status PutTransfer(const TransferRow& t) override;
  absl::StatusOr<uint64_t> AppendEvent(const control::v1::Event& event) override;
  absl::StatusOr<uint64_t> PutRpoAlarm(const RpoAlarm& alarm, bool raised, const control::v1::Event& event) override;
  absl::StatusOr<std::vector<control::v1::Event>> Events(uint64_t after, uint32_t limit) override;
  absl::StatusOr<std::vector<control::v1::Event>> NewestEvents(uint32_t limit) override;

 private:
  // In one transaction, which raises the sequence.
  absl::Status Write(const std::function<absl::Status(sql::Database&)>& body);
  static absl::Status PutMeta(sql::Database& db, const std::string& key, const std::string& value);
  static absl::StatusOr<std::string> GetMeta(sql::Database& db, const std::string& key);
  static std::string Pack(const crypto::Envelope& envelope);
  static absl::StatusOr<crypto::Envelope> Unpack(const std::string& bytes);
  template <typename F>
  static absl::Status ForEach(sql::Database& db, const char* sql, F row_body) {
    BW_ASSIGN_OR_RETURN(auto select, db.Prepare(sql));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      BW_RETURN_IF_ERROR(row_body(select));
    }
  }

  static absl::Status LoadLaw(sql::Database& db, Snapshot* s);
  static absl::Status LoadIdentities(sql::Database& db, Snapshot* s);
  static absl::Status LoadCopies(sql::Database& db, Snapshot* s);
  static absl::Status LoadHolds(sql::Database& db, Snapshot* s);
  absl::Status ReadOldReceipts();
  static absl::StatusOr<ReceiptRow> ReceiptOf(const sql::Statement& row);
  static absl::Status Append(sql::Database& db, const control::v1::Event& event, uint64_t* sequence);
  absl::StatusOr<std::vector<control::v1::Event>> SelectEvents(const char* sql, uint64_t after, uint32_t limit);

  std::unique_ptr<sql::Database> db_;
  absl::Mutex write_mutex_;  // one writer at a time counts
  std::atomic<uint64_t> sequence_{0};
};

}  // namespace bailiwick::coordinator
