// Versions, who holds them, what must stay and what was erased, transfers.
#include <algorithm>
#include <limits>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/coordinator/catalog/sqlite_catalog.h"

namespace bailiwick::coordinator {
namespace {

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

std::string PackGivenUp(const ReplicaRow& row) {
  agent::v1::ReplicaReport message;
  for (VersionNumber n : row.dropped) message.add_dropped(n);
  for (const auto& [number, base] : row.partial) {
    auto* held = message.add_versions();
    held->set_number(number);
    held->set_base(base);
  }
  return message.SerializeAsString();
}
absl::Status UnpackGivenUp(const std::string& bytes, ReplicaRow* row) {
  agent::v1::ReplicaReport message;
  if (!message.ParseFromString(bytes)) return absl::DataLossError("the catalog holds an unreadable replica");
  row->dropped.insert(message.dropped().begin(), message.dropped().end());
  for (const auto& held : message.versions()) row->partial[held.number()] = held.base();
  return absl::OkStatus();
}

// The identities of forgotten versions, one behind the other in blocks that are found by number; zeros: not forgotten.
// Not a table of their own: builds that never forget read the catalog as before.
constexpr VersionNumber kForgottenBlock = 1024;
constexpr size_t kIdentityBytes = Digest::kSize;
std::string ForgottenKey(DatasetId dataset, VersionNumber number) {
  return absl::StrCat("forgotten/", dataset.Hex(), "/", number / kForgottenBlock);
}

// What was released, and what sites keep, are beside the table of holds for the same reason. Ordinals have all the
// digits of the longest one, so that keys are in their order; '0' comes after '/'.
constexpr char kReleased[] = "released-hold/", kAfterReleased[] = "released-hold0";
constexpr char kKept[] = "kept-holds/", kAfterKept[] = "kept-holds0";
std::string ReleasedKey(uint64_t ordinal) { return absl::StrCat(kReleased, absl::Dec(ordinal, absl::kZeroPad20)); }

constexpr size_t kOldReceipts = 1000;  // read at once
constexpr char kReceiptColumns[] = "SELECT ordinal, id, dataset, name, site, order_id, envelope FROM receipts";

}  // namespace

absl::Status SqliteCatalog::PutVersion(const VersionRow& v) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put,
                        db.Prepare("INSERT OR IGNORE INTO versions(dataset, number, envelope) VALUES(?, ?, ?)"));
    const std::string bytes = Pack(v.envelope);
    return put.BindBlob(1, v.record.dataset_id.view()).Bind(2, v.record.number).BindBlob(3, bytes).Run();
  });
}

absl::Status SqliteCatalog::ForgetVersions(DatasetId dataset, const std::vector<const VersionRow*>& versions) {
  return Write([&](sql::Database& db) -> absl::Status {
    std::map<std::string, std::string> blocks;
    for (const VersionRow* v : versions) {
      const std::string key = ForgottenKey(dataset, v->record.number);
      auto [block, fresh] = blocks.try_emplace(key);
      if (fresh) {
        BW_ASSIGN_OR_RETURN(block->second, GetMeta(db, key));
        block->second.resize(kForgottenBlock * kIdentityBytes);
      }
      block->second.replace(v->record.number % kForgottenBlock * kIdentityBytes, kIdentityBytes, v->identity.view());
      BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM versions WHERE dataset = ? AND number = ?"));
      BW_RETURN_IF_ERROR(remove.BindBlob(1, dataset.view()).Bind(2, v->record.number).Run());
    }
    for (const auto& [key, block] : blocks) BW_RETURN_IF_ERROR(PutMeta(db, key, block));
    return absl::OkStatus();
  });
}

absl::StatusOr<std::optional<Digest>> SqliteCatalog::ForgottenVersion(DatasetId dataset, VersionNumber number) {
  std::string block;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(block, GetMeta(db, ForgottenKey(dataset, number)));
    return absl::OkStatus();
  }));
  if (block.empty()) return std::nullopt;
  if (block.size() != kForgottenBlock * kIdentityBytes) {
    return absl::DataLossError("the catalog holds an unreadable list of forgotten versions");
  }
  const std::string identity = block.substr(number % kForgottenBlock * kIdentityBytes, kIdentityBytes);
  if (identity == std::string(kIdentityBytes, '\0')) return std::nullopt;
  return Digest::From(Digest::kSha256, identity);
}

absl::Status SqliteCatalog::PutReplica(DatasetId dataset, const std::string& site, const ReplicaRow& r) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(
        auto put, db.Prepare("INSERT OR REPLACE INTO replicas(dataset, site, versions, current, problem,"
                             " source_problem, fence, stored_bytes, given_up) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    const std::string numbers = PackNumbers(r.versions);
    const std::string given_up = PackGivenUp(r);
    const std::string fence = r.fence.has_value() ? r.fence->SerializeAsString() : "";
    return put.BindBlob(1, dataset.view())
        .BindText(2, site)
        .BindBlob(3, numbers)
        .Bind(4, r.current)
        .BindText(5, r.problem)
        .BindText(6, r.source_problem)
        .BindBlob(7, fence)
        .Bind(8, r.stored_bytes)
        .BindBlob(9, given_up)
        .Run();
  });
}

absl::Status SqliteCatalog::PutPin(DatasetId dataset, const std::string& site, VersionNumber number) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO pins(dataset, site, number) VALUES(?, ?, ?)"));
    return put.BindBlob(1, dataset.view()).BindText(2, site).Bind(3, number).Run();
  });
}

absl::Status SqliteCatalog::RemovePin(DatasetId dataset, const std::string& site) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM pins WHERE dataset = ? AND site = ?"));
    return remove.BindBlob(1, dataset.view()).BindText(2, site).Run();
  });
}

absl::Status SqliteCatalog::PutHold(const agent::v1::Hold& hold) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO holds(id, hold) VALUES(?, ?)"));
    const std::string bytes = hold.SerializeAsString();
    return put.BindBlob(1, hold.hold_id()).BindBlob(2, bytes).Run();
  });
}

absl::Status SqliteCatalog::ReleaseHold(uint64_t ordinal, const agent::v1::ReleasedHold& released) {
  return Write([&](sql::Database& db) -> absl::Status {
    if (!released.kept()) {
      BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM holds WHERE id = ?"));
      BW_RETURN_IF_ERROR(remove.BindBlob(1, released.hold().hold_id()).Run());
    }
    BW_RETURN_IF_ERROR(PutMeta(db, ReleasedKey(ordinal), released.SerializeAsString()));
    if (ordinal < kMaxReleasedHolds) return absl::OkStatus();
    const std::string last = ReleasedKey(ordinal - kMaxReleasedHolds);
    BW_ASSIGN_OR_RETURN(auto old, db.Prepare("DELETE FROM meta WHERE key >= ? AND key <= ?"));
    return old.BindText(1, kReleased).BindText(2, last).Run();
  });
}

absl::Status SqliteCatalog::PutKeptHolds(const std::string& site, const agent::v1::KeptHolds& kept) {
  return Write([&](sql::Database& db) -> absl::Status {
    const std::string key = absl::StrCat(kKept, site);
    if (kept.holds_size() != 0) return PutMeta(db, key, kept.SerializeAsString());
    BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM meta WHERE key = ?"));
    return remove.BindText(1, key).Run();
  });
}

absl::Status SqliteCatalog::LoadHolds(sql::Database& db, Snapshot* s) {
  BW_RETURN_IF_ERROR(ForEach(db, "SELECT hold FROM holds", [&](sql::Statement& row) -> absl::Status {
    agent::v1::Hold hold;
    if (!hold.ParseFromString(row.Blob(0))) return absl::DataLossError("the catalog holds an unreadable hold");
    s->holds[hold.hold_id()] = std::move(hold);
    return absl::OkStatus();
  }));
  auto for_keys = [&db](const std::string& from, const std::string& to, const auto& body) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto select, db.Prepare("SELECT key, value FROM meta WHERE key >= ? AND key < ?"));
    select.BindText(1, from).BindText(2, to);
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      if (!body(select.Text(0).substr(from.size()), select.Blob(1))) {
        return absl::DataLossError("the catalog holds an unreadable hold");
      }
    }
  };
  BW_RETURN_IF_ERROR(for_keys(kReleased, kAfterReleased, [s](const std::string& ordinal, const std::string& value) {
    uint64_t number = 0;
    return absl::SimpleAtoi(ordinal, &number) && s->released_holds[number].ParseFromString(value);
  }));
  return for_keys(kKept, kAfterKept, [s](const std::string& site, const std::string& value) {
    return s->kept_holds[site].ParseFromString(value);
  });
}

absl::Status SqliteCatalog::PutReceipt(const ReceiptRow& r) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put,
                        db.Prepare("INSERT OR IGNORE INTO receipts(id, dataset, name, site, order_id, envelope)"
                                   " VALUES(?, ?, ?, ?, ?, ?)"));
    const std::string bytes = Pack(r.envelope);
    return put.BindBlob(1, r.id)
        .BindBlob(2, r.dataset.view())
        .BindText(3, r.dataset_name)
        .BindText(4, r.site)
        .BindBlob(5, r.order_id)
        .BindBlob(6, bytes)
        .Run();
  });
}

absl::StatusOr<ReceiptRow> SqliteCatalog::ReceiptOf(const sql::Statement& row) {
  ReceiptRow r;
  r.ordinal = row.Uint(0);
  r.id = row.Blob(1);
  BW_ASSIGN_OR_RETURN(r.dataset, DatasetId::From(row.Blob(2)));
  r.dataset_name = row.Text(3);
  r.site = row.Text(4);
  r.order_id = row.Blob(5);
  BW_ASSIGN_OR_RETURN(r.envelope, Unpack(row.Blob(6)));
  return r;
}

absl::StatusOr<std::optional<ReceiptRow>> SqliteCatalog::FindReceipt(const std::string& id) {
  std::optional<ReceiptRow> found;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto select, db.Prepare(absl::StrCat(kReceiptColumns, " WHERE id = ?")));
    select.BindBlob(1, id);
    BW_ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(found, ReceiptOf(select));
    return absl::OkStatus();
  }));
  return found;
}

absl::StatusOr<ReceiptPage> SqliteCatalog::Receipts(const ReceiptFilter& filter, uint32_t limit, size_t bytes) {
  constexpr uint64_t kAll = std::numeric_limits<int64_t>::max();
  ReceiptPage page;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    // In the order of an index, so that no more than the page is read.
    BW_ASSIGN_OR_RETURN(
        auto select, db.Prepare(absl::StrCat(kReceiptColumns, " WHERE order_id = x'' AND ordinal < ?1",
                                             filter.dataset_name.empty() ? "" : " AND name = ?2",
                                             filter.site.empty() ? "" : " AND site = ?3", " ORDER BY ordinal DESC")));
    select.Bind(1, filter.before == 0 ? kAll : std::min(filter.before, kAll));
    if (!filter.dataset_name.empty()) select.BindText(2, filter.dataset_name);
    if (!filter.site.empty()) select.BindText(3, filter.site);
    size_t read = 0;
    while (true) {
      BW_ASSIGN_OR_RETURN(const bool row, select.Step());
      if (!row) return absl::OkStatus();
      read += select.Blob(6).size();
      if (!page.receipts.empty() && (page.receipts.size() == limit || read > bytes)) {
        page.more = true;
        return absl::OkStatus();
      }
      BW_ASSIGN_OR_RETURN(ReceiptRow receipt, ReceiptOf(select));
      page.receipts.push_back(std::move(receipt));
    }
  }));
  return page;
}

// A build of before kept them without what they are found by. It is no change of what is known: the sequence stays.
absl::Status SqliteCatalog::ReadOldReceipts() {
  struct Read {
    uint64_t ordinal;
    std::string dataset_name, order_id;
  };
  std::vector<Read> page;
  do {
    page.clear();
    BW_RETURN_IF_ERROR(db_->Transaction([&](sql::Database& db) -> absl::Status {
      {
        BW_ASSIGN_OR_RETURN(
            auto select,
            db.Prepare("SELECT ordinal, envelope FROM receipts WHERE order_id IS NULL ORDER BY ordinal LIMIT ?"));
        select.Bind(1, uint64_t{kOldReceipts});
        while (true) {
          BW_ASSIGN_OR_RETURN(const bool row, select.Step());
          if (!row) break;
          BW_ASSIGN_OR_RETURN(const crypto::Envelope envelope, Unpack(select.Blob(1)));
          agent::v1::ErasureReceipt receipt;
          if (!receipt.ParseFromString(envelope.payload)) receipt.Clear();  // of no dataset and no order
          page.push_back({select.Uint(0), receipt.dataset(), receipt.order_id()});
        }
      }
      BW_ASSIGN_OR_RETURN(auto update, db.Prepare("UPDATE receipts SET name = ?, order_id = ? WHERE ordinal = ?"));
      for (const Read& read : page) {
        BW_RETURN_IF_ERROR(
            update.BindText(1, read.dataset_name).BindBlob(2, read.order_id).Bind(3, read.ordinal).Run());
      }
      return absl::OkStatus();
    }));
  } while (page.size() == kOldReceipts);
  return absl::OkStatus();
}

absl::Status SqliteCatalog::PutRedaction(const std::string& order_id, const RedactionRow& r) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO redactions(id, dataset, envelope, by_whom, since, "
                                             "waits) VALUES(?, ?, ?, ?, ?, ?)"));
    const std::string bytes = Pack(r.envelope);
    return put.BindBlob(1, order_id)
        .BindBlob(2, r.dataset.view())
        .BindBlob(3, bytes)
        .BindText(4, r.by)
        .Bind(5, absl::ToUnixMillis(r.since))
        .Bind(6, static_cast<int64_t>(r.waits.value_or(false)))
        .Run();
  });
}

absl::Status SqliteCatalog::RemoveRedaction(const std::string& order_id) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM redactions WHERE id = ?"));
    return remove.BindBlob(1, order_id).Run();
  });
}

absl::Status SqliteCatalog::PutTransfer(const TransferRow& t) {
  return Write([&](sql::Database& db) -> absl::Status {
    {
      BW_ASSIGN_OR_RETURN(auto put,
                          db.Prepare("INSERT OR REPLACE INTO transfers(id, ordinal, view, dataset, dialler, ended)"
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

absl::Status SqliteCatalog::LoadCopies(sql::Database& db, Snapshot* s) {
  BW_RETURN_IF_ERROR(ForEach(db, "SELECT envelope FROM versions", [&](sql::Statement& row) -> absl::Status {
    VersionRow v;
    BW_ASSIGN_OR_RETURN(v.envelope, Unpack(row.Blob(0)));
    BW_ASSIGN_OR_RETURN(v.record, store::DecodeVersionRecord(v.envelope.payload));
    v.identity = store::VersionIdentity(v.envelope);
    s->versions[v.record.dataset_id][v.record.number] = std::move(v);
    return absl::OkStatus();
  }));
  BW_RETURN_IF_ERROR(
      ForEach(db,
              "SELECT dataset, site, versions, current, problem, source_problem, fence, stored_bytes, given_up "
              "FROM replicas",
              [&](sql::Statement& row) -> absl::Status {
                BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(row.Blob(0)));
                ReplicaRow r;
                BW_ASSIGN_OR_RETURN(r.versions, UnpackNumbers(row.Blob(2)));
                r.current = row.Uint(3);
                r.problem = row.Text(4);
                r.source_problem = row.Text(5);
                r.stored_bytes = row.Uint(7);
                BW_RETURN_IF_ERROR(UnpackGivenUp(row.Blob(8), &r));
                if (const std::string fence = row.Blob(6); !fence.empty()) {
                  r.fence.emplace();
                  if (!r.fence->ParseFromString(fence)) {
                    return absl::DataLossError("the catalog holds an unreadable fence");
                  }
                }
                s->replicas[id][row.Text(1)] = std::move(r);
                return absl::OkStatus();
              }));
  BW_RETURN_IF_ERROR(ForEach(db, "SELECT dataset, site, number FROM pins", [&](sql::Statement& row) -> absl::Status {
    BW_ASSIGN_OR_RETURN(DatasetId id, DatasetId::From(row.Blob(0)));
    s->pins[{id, row.Text(1)}] = row.Uint(2);
    return absl::OkStatus();
  }));
  BW_RETURN_IF_ERROR(LoadHolds(db, s));
  const std::string of_orders = absl::StrCat(kReceiptColumns, " WHERE order_id > x'' ORDER BY order_id, ordinal");
  BW_RETURN_IF_ERROR(ForEach(db, of_orders.c_str(), [&](sql::Statement& row) -> absl::Status {
    BW_ASSIGN_OR_RETURN(ReceiptRow r, ReceiptOf(row));
    s->redaction_receipts[r.order_id].push_back(std::move(r));
    return absl::OkStatus();
  }));
  BW_RETURN_IF_ERROR(ForEach(db, "SELECT id, dataset, envelope, by_whom, since, waits FROM redactions",
                             [&](sql::Statement& row) -> absl::Status {
                               RedactionRow r;
                               BW_ASSIGN_OR_RETURN(r.dataset, DatasetId::From(row.Blob(1)));
                               BW_ASSIGN_OR_RETURN(r.envelope, Unpack(row.Blob(2)));
                               r.by = row.Text(3);
                               r.since = absl::FromUnixMillis(row.Int(4));
                               if (row.Int(5) == 2) {
                                 r.waits.reset();
                               } else {
                                 r.waits = row.Int(5) != 0;
                               }
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
  return ForEach(db, "SELECT view, dataset, dialler, ended FROM transfers ORDER BY ordinal",
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
                 });
}

}  // namespace bailiwick::coordinator
