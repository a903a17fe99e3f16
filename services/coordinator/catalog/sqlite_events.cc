// What happened, and the alarms that are raised with their event.
#include <algorithm>

#include "services/coordinator/catalog/sqlite_catalog.h"

namespace bailiwick::coordinator {
namespace {

constexpr uint64_t kMaxEvents = 100'000;

}  // namespace

absl::StatusOr<uint64_t> SqliteCatalog::AppendEvent(const control::v1::Event& event) {
  uint64_t sequence = 0;
  BW_RETURN_IF_ERROR(Write([&](sql::Database& db) { return Append(db, event, &sequence); }));
  return sequence;
}

absl::StatusOr<uint64_t> SqliteCatalog::PutRpoAlarm(const RpoAlarm& alarm, bool raised,
                                                    const control::v1::Event& event) {
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

absl::StatusOr<std::vector<control::v1::Event>> SqliteCatalog::Events(uint64_t after, uint32_t limit) {
  return SelectEvents("SELECT sequence, event FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", after, limit);
}

absl::StatusOr<std::vector<control::v1::Event>> SqliteCatalog::NewestEvents(uint32_t limit) {
  BW_ASSIGN_OR_RETURN(
      std::vector<control::v1::Event> events,
      SelectEvents("SELECT sequence, event FROM events WHERE sequence > ? ORDER BY sequence DESC LIMIT ?", 0, limit));
  std::reverse(events.begin(), events.end());
  return events;
}

absl::Status SqliteCatalog::Append(sql::Database& db, const control::v1::Event& event, uint64_t* sequence) {
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

absl::StatusOr<std::vector<control::v1::Event>> SqliteCatalog::SelectEvents(const char* sql, uint64_t after,
                                                                            uint32_t limit) {
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

}  // namespace bailiwick::coordinator
