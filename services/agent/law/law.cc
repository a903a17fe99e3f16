#include "services/agent/law/law.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {

absl::StatusOr<config::Classification> LawSnapshot::Classify(DatasetId id, const std::string& name) const {
  if (auto it = classifications.find(id); it != classifications.end() && !it->second.family) return it->second;
  size_t at = name.rfind('@');
  if (at != std::string::npos) {
    std::string site = name.substr(at + 1);
    for (const auto& [family_id, family] : classifications) {
      if (family.family && config::StreamId(family_id, site) == id) return config::StreamOf(family, site, world);
    }
  }
  return absl::NotFoundError(absl::StrCat("no signed classification of dataset ", name, " is known here"));
}

absl::StatusOr<store::VersionRecord> OpenVersionRecord(const crypto::Envelope& envelope, const LawSnapshot& law) {
  BW_ASSIGN_OR_RETURN(store::VersionRecord record, store::DecodeVersionRecord(envelope.payload));
  auto site = law.world.sites.find(record.home_site);
  if (site == law.world.sites.end() || site->second.enrolment_keys.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the policy here pins no agent of ", record.home_site, ", home of ", record.dataset));
  }
  std::vector<std::string> keys;
  for (const auto& [agent, key] : site->second.enrolment_keys) keys.push_back(key);
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kVersionType, keys),
                              absl::StrCat("version record of ", record.dataset)));
  auto classification = law.Classify(record.dataset_id, record.dataset);
  if (!classification.ok()) return absl::FailedPreconditionError(classification.status().message());
  const std::string claim = absl::StrCat("version ", record.number, " of ", record.dataset, " was committed by ",
                                         record.home_site, ", which is not its home in epoch ", record.home_epoch);
  if (record.home_epoch > classification->epoch) return absl::FailedPreconditionError(claim);
  if (record.home_epoch == classification->epoch && record.home_site != classification->home_site) {
    return absl::PermissionDeniedError(claim);
  }
  return record;
}

std::vector<std::string> Law::Migrations() {
  return {
      "CREATE TABLE law(id INTEGER PRIMARY KEY CHECK(id = 1), revision INTEGER NOT NULL, offer BLOB NOT NULL) STRICT;",
  };
}

namespace {

std::string Serialize(const crypto::Envelope& bundle, const std::vector<crypto::Envelope>& classifications) {
  agent::v1::PolicyOffer offer;
  rpc::ToProto(bundle, offer.mutable_bundle());
  for (const auto& c : classifications) rpc::ToProto(c, offer.add_classifications());
  return offer.SerializeAsString();
}

}  // namespace

absl::Status Law::Load() {
  std::string bytes;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT offer FROM law WHERE id = 1"));
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (row) bytes = select.Blob(0);
    return absl::OkStatus();
  }));
  if (bytes.empty()) return absl::OkStatus();
  agent::v1::PolicyOffer offer;
  if (!offer.ParseFromString(bytes)) return absl::DataLossError("the installed policy bundle is unreadable");
  std::vector<crypto::Envelope> classifications;
  for (const auto& c : offer.classifications()) classifications.push_back(rpc::FromProto(c));
  std::vector<crypto::Envelope> kept;
  BW_ASSIGN_OR_RETURN(auto snapshot, Build(rpc::FromProto(offer.bundle()), classifications, &kept));
  absl::MutexLock lock(&mutex_);
  current_ = std::move(snapshot);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const LawSnapshot>> Law::Build(const crypto::Envelope& bundle,
                                                              const std::vector<crypto::Envelope>& classifications,
                                                              std::vector<crypto::Envelope>* kept) const {
  BW_ASSIGN_OR_RETURN(config::Bundle opened, config::OpenBundle(bundle, root_sha256_));
  auto snapshot = std::make_shared<LawSnapshot>();
  snapshot->world = std::move(opened.world);
  snapshot->resources = std::move(opened.resources);
  std::map<DatasetId, crypto::Envelope> newest;
  for (const auto& envelope : classifications) {
    // One that cannot be verified is left out: its dataset is unknown in law and nothing of it flows.
    auto c = config::OpenClassification(envelope, snapshot->world);
    if (!c.ok()) continue;
    auto known = snapshot->classifications.find(c->dataset_id);
    if (known != snapshot->classifications.end() && known->second.revision >= c->revision) continue;
    snapshot->classifications[c->dataset_id] = *c;
    newest[c->dataset_id] = envelope;
  }
  for (auto& [id, envelope] : newest) kept->push_back(envelope);
  return snapshot;
}

absl::Status Law::Install(const crypto::Envelope& bundle, const std::vector<crypto::Envelope>& classifications) {
  absl::MutexLock one(&install_mutex_);
  std::shared_ptr<const LawSnapshot> before = current();
  std::vector<crypto::Envelope> all = classifications;
  if (before != nullptr) {
    // What we know already competes with what is offered: the highest revision of each wins, so nothing is rolled back.
    std::string bytes;
    BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT offer FROM law WHERE id = 1"));
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (row) bytes = select.Blob(0);
      return absl::OkStatus();
    }));
    agent::v1::PolicyOffer known;
    if (!known.ParseFromString(bytes)) return absl::DataLossError("the installed policy bundle is unreadable");
    for (const auto& c : known.classifications()) all.push_back(rpc::FromProto(c));
  }
  std::vector<crypto::Envelope> kept;
  BW_ASSIGN_OR_RETURN(auto snapshot, Build(bundle, all, &kept));
  if (before != nullptr) {
    if (snapshot->world.revision < before->world.revision) {
      return absl::FailedPreconditionError(absl::StrCat("policy revision ", snapshot->world.revision,
                                                        " is older than the installed ", before->world.revision));
    }
    if (snapshot->world.revision == before->world.revision && snapshot->world.digest != before->world.digest) {
      return absl::FailedPreconditionError(
          absl::StrCat("another bundle claims the installed policy revision ", snapshot->world.revision));
    }
  }
  const uint64_t revision = snapshot->world.revision;
  const std::string offer = Serialize(bundle, kept);
  BW_RETURN_IF_ERROR(db_->Transaction([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO law(id, revision, offer) VALUES(1, ?, ?)"));
    return put.Bind(1, revision).BindBlob(2, offer).Run();
  }));
  absl::MutexLock lock(&mutex_);
  current_ = std::move(snapshot);
  return absl::OkStatus();
}

std::shared_ptr<const LawSnapshot> Law::current() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

uint64_t Law::revision() const {
  auto law = current();
  return law == nullptr ? 0 : law->world.revision;
}

}  // namespace bailiwick::agent
