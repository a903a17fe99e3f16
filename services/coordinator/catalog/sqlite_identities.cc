// Agents, people, what was revoked, tokens.
#include "absl/strings/str_cat.h"
#include "common/identity/verify.h"
#include "services/coordinator/catalog/sqlite_catalog.h"

namespace bailiwick::coordinator {

absl::Status SqliteCatalog::PutAgent(const AgentRow& a) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(
        auto put, db.Prepare("INSERT OR REPLACE INTO agents(site, spiffe_id, enrolment_key, incarnation, endpoint,"
                             " admin_endpoint, build, policy_revision, policy_error, last_seen, certificate_expires,"
                             " renewed, recoveries_left, newcomer_key, newcomer_incarnation, newcomer_joined,"
                             " proves_key) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    return put.BindText(1, a.site)
        .BindText(2, a.spiffe_id)
        .BindBlob(3, a.enrolment_key)
        .BindBlob(4, a.incarnation)
        .BindText(5, a.endpoint)
        .BindText(6, a.admin_endpoint)
        .BindText(7, a.build)
        .Bind(8, a.policy_revision)
        .BindText(9, a.policy_error)
        .Bind(10, absl::ToUnixMillis(a.last_seen))
        .Bind(11, absl::ToUnixMillis(a.certificate_expires))
        .Bind(12, absl::ToUnixMillis(a.renewed))
        .Bind(13, static_cast<int64_t>(a.recoveries_left))
        .BindBlob(14, a.newcomer_key)
        .BindBlob(15, a.newcomer_incarnation)
        .Bind(16, absl::ToUnixMillis(a.newcomer_joined))
        .Bind(17, static_cast<int64_t>(a.proves_key))
        .Run();
  });
}

absl::Status SqliteCatalog::PutProposal(const control::v1::Proposal& proposal) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO proposals(id, proposal) VALUES(?, ?)"));
    const std::string bytes = proposal.SerializeAsString();
    return put.BindText(1, proposal.id()).BindBlob(2, bytes).Run();
  });
}

absl::Status SqliteCatalog::RemoveProposal(const std::string& id) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto remove, db.Prepare("DELETE FROM proposals WHERE id = ?"));
    return remove.BindText(1, id).Run();
  });
}

absl::Status SqliteCatalog::PutDenied(const agent::v1::Denied& denied) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT OR REPLACE INTO denied(spiffe_id, denied) VALUES(?, ?)"));
    const std::string bytes = denied.SerializeAsString();
    return put.BindText(1, denied.spiffe_id()).BindBlob(2, bytes).Run();
  });
}

absl::Status SqliteCatalog::PutToken(const std::string& sha256, const std::string& site, absl::Time expires) {
  return Write([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto put, db.Prepare("INSERT INTO tokens(sha256, site, expires, used) VALUES(?, ?, ?, 0)"));
    return put.BindBlob(1, sha256).BindText(2, site).Bind(3, absl::ToUnixMillis(expires)).Run();
  });
}

absl::StatusOr<std::string> SqliteCatalog::SpendToken(const std::string& sha256, absl::Time now) {
  std::string site;
  BW_RETURN_IF_ERROR(Write([&](sql::Database& db) -> absl::Status {
    {
      BW_ASSIGN_OR_RETURN(auto select, db.Prepare("SELECT site, expires, used FROM tokens WHERE sha256 = ?"));
      select.BindBlob(1, sha256);
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return identity::Refuse("TOKEN_UNKNOWN", "the token is not known here");
      if (select.Int(2) != 0)
        return identity::Refuse("TOKEN_USED",
                                absl::StrCat("the token for ", select.Text(0), " was used already; ask for a new one"));
      if (select.Int(1) < absl::ToUnixMillis(now))
        return identity::Refuse("TOKEN_EXPIRED",
                                absl::StrCat("the token for ", select.Text(0), " has expired; ask for a new one"));
      site = select.Text(0);
    }
    BW_ASSIGN_OR_RETURN(auto spend, db.Prepare("UPDATE tokens SET used = 1 WHERE sha256 = ?"));
    return spend.BindBlob(1, sha256).Run();
  }));
  return site;
}

absl::StatusOr<bool> SqliteCatalog::HasSpentToken(const std::string& name) {
  bool spent = false;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto select, db.Prepare("SELECT 1 FROM tokens WHERE site = ? AND used = 1 LIMIT 1"));
    select.BindText(1, name);
    BW_ASSIGN_OR_RETURN(spent, select.Step());
    return absl::OkStatus();
  }));
  return spent;
}

absl::Status SqliteCatalog::LoadIdentities(sql::Database& db, Snapshot* s) {
  BW_RETURN_IF_ERROR(
      ForEach(db,
              "SELECT site, spiffe_id, enrolment_key, incarnation, endpoint, admin_endpoint, build,"
              " policy_revision, policy_error, last_seen, certificate_expires, renewed, recoveries_left, newcomer_key,"
              " newcomer_incarnation, newcomer_joined, proves_key FROM agents",
              [&](sql::Statement& row) -> absl::Status {
                AgentRow a{row.Text(0),
                           row.Text(1),
                           row.Blob(2),
                           row.Blob(3),
                           row.Text(4),
                           row.Text(5),
                           row.Text(6),
                           row.Uint(7),
                           row.Text(8),
                           absl::FromUnixMillis(row.Int(9)),
                           absl::FromUnixMillis(row.Int(10)),
                           absl::FromUnixMillis(row.Int(11)),
                           static_cast<uint32_t>(row.Uint(12)),
                           row.Blob(13),
                           row.Blob(14),
                           absl::FromUnixMillis(row.Int(15)),
                           row.Int(16) != 0};
                s->agents[a.site] = std::move(a);
                return absl::OkStatus();
              }));
  BW_RETURN_IF_ERROR(ForEach(db, "SELECT denied FROM denied", [&](sql::Statement& row) -> absl::Status {
    agent::v1::Denied denied;
    if (!denied.ParseFromString(row.Blob(0))) return absl::DataLossError("the catalog holds an unreadable revocation");
    s->denied[denied.spiffe_id()] = std::move(denied);
    return absl::OkStatus();
  }));
  return ForEach(db, "SELECT proposal FROM proposals", [&](sql::Statement& row) -> absl::Status {
    control::v1::Proposal proposal;
    if (!proposal.ParseFromString(row.Blob(0))) return absl::DataLossError("the catalog holds an unreadable proposal");
    s->proposals[proposal.id()] = std::move(proposal);
    return absl::OkStatus();
  });
}

}  // namespace bailiwick::coordinator
