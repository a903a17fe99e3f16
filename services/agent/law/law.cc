#include "services/agent/law/law.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "common/audit/log.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"

namespace bailiwick::agent {

absl::StatusOr<config::Classification> LawSnapshot::Classify(DatasetId id, const std::string& name) const {
  if (auto it = classifications.find(id); it != classifications.end() && !it->second.family) {
    if (it->second.dataset == name) return it->second;
    return absl::NotFoundError(
        absl::StrCat("the dataset that calls itself ", name, " is classified as ", it->second.dataset));
  }
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

std::string Law::LaterMigration() {
  return "CREATE TABLE law_records(dataset BLOB PRIMARY KEY, envelope BLOB NOT NULL) STRICT, WITHOUT ROWID;"
         "CREATE TABLE law_state(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;";
}

namespace {

constexpr const char* kTimestampKey = "timestamp";
constexpr const char* kFloorKey = "floor";    // milliseconds
constexpr const char* kDigestKey = "digest";  // "REVISION HEX", as it was installed: tells when the disk changed it

std::string Serialize(const crypto::Envelope& envelope) {
  types::v1::Envelope message;
  rpc::ToProto(envelope, &message);
  return message.SerializeAsString();
}

absl::StatusOr<crypto::Envelope> Parse(const std::string& bytes) {
  types::v1::Envelope message;
  if (!message.ParseFromString(bytes)) return absl::DataLossError("a signed record of the law is unreadable");
  return rpc::FromProto(message);
}

absl::Status Put(sql::Database& db, const char* key, const std::string& value) {
  BW_ASSIGN_OR_RETURN(sql::Statement put, db.Prepare("INSERT OR REPLACE INTO law_state(key, value) VALUES(?, ?)"));
  return put.BindText(1, key).BindBlob(2, value).Run();
}

absl::Status PutFloor(sql::Database& db, absl::Time floor) {
  return floor == absl::InfinitePast() ? absl::OkStatus() : Put(db, kFloorKey, absl::StrCat(absl::ToUnixMillis(floor)));
}

// Which keys may classify what: records verified under the same need no second look.
std::string TrustOf(const resource::v1::PolicyBundle& bundle) {
  resource::v1::PolicyBundle keys;
  keys.set_root(bundle.root());
  *keys.mutable_classifier_keys() = bundle.classifier_keys();
  *keys.mutable_classifiers() = bundle.classifiers();
  return keys.SerializeAsString();
}

std::string Ago(absl::Duration d) { return absl::FormatDuration(absl::Trunc(d, absl::Seconds(1))); }

policy::GrantDecision Deny(const char* code, std::string message) { return {false, code, std::move(message), ""}; }

}  // namespace

struct Law::Draft {
  std::shared_ptr<LawSnapshot> snapshot;
  std::string trust;
  std::string root;                             // hash
  std::optional<agent::v1::PolicyOffer> offer;  // when the bundle is to be stored
  Records records;
  std::set<DatasetId> changed;
};

absl::StatusOr<std::string> Law::Get(const char* key) {
  std::string value;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT value FROM law_state WHERE key = ?"));
    select.BindText(1, key);
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (row) value = select.Blob(0);
    return absl::OkStatus();
  }));
  return value;
}

absl::StatusOr<Law::Records> Law::ReadRecords() {
  Records records;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT envelope FROM law_records"));
    while (true) {
      BW_ASSIGN_OR_RETURN(bool row, select.Step());
      if (!row) return absl::OkStatus();
      Known known;
      BW_ASSIGN_OR_RETURN(known.envelope, Parse(select.Blob(0)));
      BW_ASSIGN_OR_RETURN(known.record, config::ReadKeptClassification(known.envelope));
      const DatasetId id = known.record.dataset_id;
      records[id] = std::move(known);
    }
  }));
  return records;
}

absl::StatusOr<uint64_t> Law::StoredRevision() {
  uint64_t revision = 0;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT revision FROM law WHERE id = 1"));
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (row) revision = static_cast<uint64_t>(select.Int(0));
    return absl::OkStatus();
  }));
  return revision;
}

absl::StatusOr<std::optional<LawOffer>> Law::ReadStored() {
  std::string bytes;
  BW_RETURN_IF_ERROR(db_->Read([&](sql::Database& db) -> absl::Status {
    BW_ASSIGN_OR_RETURN(sql::Statement select, db.Prepare("SELECT offer FROM law WHERE id = 1"));
    BW_ASSIGN_OR_RETURN(bool row, select.Step());
    if (row) bytes = select.Blob(0);
    return absl::OkStatus();
  }));
  if (bytes.empty()) return std::nullopt;
  agent::v1::PolicyOffer stored;
  if (!stored.ParseFromString(bytes)) return absl::DataLossError("the installed policy bundle is unreadable");
  LawOffer offer;
  offer.bundle = rpc::FromProto(stored.bundle());
  for (const auto& root : stored.roots()) offer.roots.push_back(rpc::FromProto(root));
  for (const auto& c : stored.classifications())
    offer.classifications.push_back(rpc::FromProto(c));  // of an older version
  return offer;
}

absl::Status Law::Load() {
  absl::MutexLock one(&install_mutex_);
  BW_ASSIGN_OR_RETURN(std::string floor, Get(kFloorKey));
  if (int64_t millis; absl::SimpleAtoi(floor, &millis)) clock_.Raise(absl::FromUnixMillis(millis));
  const absl::StatusOr<std::optional<LawOffer>> offer = ReadStored();
  if (!offer.ok() && !absl::IsDataLoss(offer.status())) return offer.status();
  if (offer.ok() && !offer->has_value()) return absl::OkStatus();
  Draft draft;
  BW_ASSIGN_OR_RETURN(draft.records, ReadRecords());
  const absl::Status opened = offer.ok() ? OpenOffered(**offer, &draft) : offer.status();
  if (absl::IsPermissionDenied(opened) || absl::IsDataLoss(opened) || absl::IsInvalidArgument(opened)) {
    records_ = std::move(draft.records);  // what they may not fall behind
    BW_ASSIGN_OR_RETURN(const uint64_t revision, StoredRevision());
    BW_ASSIGN_OR_RETURN(const std::string noted, Get(kDigestKey));
    const std::pair<std::string, std::string> parts = absl::StrSplit(noted, absl::MaxSplits(' ', 1));
    floor_ = {revision, absl::HexStringToBytes(parts.second)};
    if (parts.first != absl::StrCat(revision)) {  // an older build installed it
      floor_->digest = offer.ok() ? std::string(crypto::Sha256((*offer)->bundle->payload).view()) : "";
    }
    SetAside(offer.ok() ? (*offer)->bundle : std::nullopt, revision, opened);
    return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(opened);
  floor_ = {draft.snapshot->world.revision, draft.snapshot->world.digest};
  BW_RETURN_IF_ERROR(NoteDigest(draft.snapshot->world));
  records_ = std::move(draft.records);
  trust_ = draft.trust;
  {
    absl::MutexLock lock(&mutex_);
    root_now_ = draft.root;
    current_ = std::move(draft.snapshot);
  }
  BW_ASSIGN_OR_RETURN(std::string kept, Get(kTimestampKey));
  if (kept.empty()) return absl::OkStatus();
  if (auto envelope = Parse(kept); envelope.ok()) {
    auto timestamp = config::OpenTimestamp(*envelope, current()->world);
    if (timestamp.ok()) Vouch(*timestamp);
  }
  return absl::OkStatus();
}

// Signed by nobody who counts here now, or damaged; it counted when it was installed, so nothing older takes its place.
void Law::SetAside(const std::optional<crypto::Envelope>& bundle, uint64_t revision, const absl::Status& why) {
  telemetry::Log(
      telemetry::Level::kWarning, "policy-set-aside",
      {{"revision", revision},
       {"why", why},
       {"remedy", "nothing flows until the coordinator sends a policy of the root pinned at the last join"}});
  if (!bundle.has_value()) return;
  auto opened = config::OpenUnsigned(*bundle);
  if (!opened.ok()) return;
  absl::MutexLock lock(&mutex_);
  aside_ = std::move(opened->resources);
}

// The bundle and the records, verified, into `draft`, whose records are those known before.
absl::Status Law::OpenOffered(const LawOffer& offer, Draft* draft) {
  const std::shared_ptr<const LawSnapshot> before = current();
  draft->snapshot = std::make_shared<LawSnapshot>();
  if (!offer.bundle.has_value()) {
    if (before == nullptr)
      return absl::FailedPreconditionError("classifications were offered before any policy bundle");
    *draft->snapshot = *before;
    draft->trust = trust_;
    {
      absl::MutexLock lock(&mutex_);
      draft->root = root_now_;
    }
  } else {
    std::string pinned = root_sha256_;
    if (before != nullptr) {
      absl::MutexLock lock(&mutex_);
      pinned = root_now_;  // what signed before the last rotation signs no more
    }
    BW_ASSIGN_OR_RETURN(config::Bundle opened, config::OpenBundle(*offer.bundle, pinned, offer.roots));
    draft->root = std::string(crypto::Sha256(opened.message.root()).view());
    draft->trust = TrustOf(opened.message);
    clock_.Raise(rpc::FromProto(opened.message.issued_at()));
    draft->snapshot->world = std::move(opened.world);
    draft->snapshot->resources = std::move(opened.resources);
    Reopen(trust_, draft);
  }
  Take(offer.classifications, draft);
  draft->snapshot->classifications.clear();
  for (const auto& [id, known] : draft->records) {
    if (known.valid) draft->snapshot->classifications[id] = known.record;
  }
  return absl::OkStatus();
}

// Whether what is known still counts under the draft's bundle.
void Law::Reopen(const std::string& trust, Draft* draft) {
  const bool same = !trust.empty() && trust == draft->trust;
  for (auto& [id, known] : draft->records) {
    if (same && known.record.limited_by.empty()) continue;
    auto c = config::OpenClassification(known.envelope, draft->snapshot->world);
    known.valid = c.ok();
    if (c.ok()) known.record = *std::move(c);
  }
}

void Law::Take(const std::vector<crypto::Envelope>& offered, Draft* draft) {
  for (const crypto::Envelope& envelope : offered) {
    auto decoded = config::ReadKeptClassification(envelope);  // cheap; believed only when it changes nothing
    if (!decoded.ok()) continue;
    auto known = draft->records.find(decoded->dataset_id);
    const bool same = known != draft->records.end() && known->second.envelope.payload == envelope.payload;
    if (same && known->second.valid) continue;
    auto c = config::OpenClassification(envelope, draft->snapshot->world);
    if (!c.ok()) continue;
    if (known != draft->records.end() && !same &&
        !config::MayReplace(known->second.record, *c, draft->snapshot->world).ok()) {
      continue;
    }
    draft->changed.insert(c->dataset_id);
    draft->records[c->dataset_id] = {*c, envelope, true};
  }
}

absl::Status Law::Persist(const Draft& draft) {
  return db_->Transaction([&](sql::Database& db) -> absl::Status {
    if (draft.offer.has_value()) {
      BW_ASSIGN_OR_RETURN(sql::Statement put,
                          db.Prepare("INSERT OR REPLACE INTO law(id, revision, offer) VALUES(1, ?, ?)"));
      const std::string bytes = draft.offer->SerializeAsString();
      BW_RETURN_IF_ERROR(put.Bind(1, draft.snapshot->world.revision).BindBlob(2, bytes).Run());
      const policy::World& world = draft.snapshot->world;
      BW_RETURN_IF_ERROR(Put(db, kDigestKey, absl::StrCat(world.revision, " ", absl::BytesToHexString(world.digest))));
    }
    for (DatasetId id : draft.changed) {
      BW_ASSIGN_OR_RETURN(sql::Statement put,
                          db.Prepare("INSERT OR REPLACE INTO law_records(dataset, envelope) VALUES(?, ?)"));
      const std::string bytes = Serialize(draft.records.at(id).envelope);
      BW_RETURN_IF_ERROR(put.BindBlob(1, id.view()).BindBlob(2, bytes).Run());
    }
    return PutFloor(db, clock_.floor());
  });
}

// An older build installed it and noted nothing: noted while it is whole, it can be told from another one later.
absl::Status Law::NoteDigest(const policy::World& world) {
  const std::string digest = absl::StrCat(world.revision, " ", absl::BytesToHexString(world.digest));
  BW_ASSIGN_OR_RETURN(const std::string noted, Get(kDigestKey));
  if (noted == digest) return absl::OkStatus();
  const absl::Status put = db_->Transaction([&](sql::Database& db) { return Put(db, kDigestKey, digest); });
  return absl::IsResourceExhausted(put) ? absl::OkStatus() : put;  // a full disk stops no start; at the next one
}

absl::Status Law::CheckFloor(const policy::World& world) const {
  if (!floor_.has_value()) return absl::OkStatus();
  if (world.revision < floor_->revision) {
    return absl::FailedPreconditionError(
        absl::StrCat("policy revision ", world.revision, " is older than the installed ", floor_->revision,
                     "; if the coordinator came back from a backup, sign a newer one: bailiwick policy refresh"));
  }
  // Without a digest it was found unreadable, installed by a build that noted none: what the root signed replaces it.
  if (world.revision == floor_->revision && !floor_->digest.empty() && world.digest != floor_->digest) {
    return absl::FailedPreconditionError(
        absl::StrCat("another bundle claims the installed policy revision ", world.revision));
  }
  return absl::OkStatus();
}

absl::Status RecordLaw(audit::Log* log, uint64_t revision) {
  absl::Status recorded = log->AppendOrOwe("policy-installed", absl::StrCat("revision/", revision), "{}");
  if (!recorded.ok()) telemetry::Log(telemetry::Level::kError, "audit-failed", {{"error", recorded}});
  return absl::IsResourceExhausted(recorded) ? absl::OkStatus() : recorded;
}

absl::Status Law::Install(const LawOffer& offer, const std::function<absl::Status(uint64_t revision)>& record) {
  absl::MutexLock one(&install_mutex_);
  const std::shared_ptr<const LawSnapshot> before = current();
  Draft draft;
  draft.records = records_;
  BW_RETURN_IF_ERROR(OpenOffered(offer, &draft));
  const policy::World& world = draft.snapshot->world;
  BW_RETURN_IF_ERROR(CheckFloor(world));
  const bool bundle_moved = before == nullptr || world.digest != before->world.digest;
  if (bundle_moved) {
    draft.offer.emplace();
    rpc::ToProto(*offer.bundle, draft.offer->mutable_bundle());
    for (const auto& root : offer.roots) rpc::ToProto(root, draft.offer->add_roots());
    // The records of a database of an older version leave the offer that they lay in.
    for (const auto& [id, known] : draft.records) draft.changed.insert(id);
    if (record != nullptr && recorded_ != world.digest) {
      BW_RETURN_IF_ERROR(record(world.revision));
      recorded_ = world.digest;
    }
  }
  if (bundle_moved || !draft.changed.empty()) {
    BW_RETURN_IF_ERROR(Persist(draft));
    records_ = std::move(draft.records);
    trust_ = draft.trust;
    floor_ = {world.revision, world.digest};
    absl::MutexLock lock(&mutex_);
    root_now_ = draft.root;
    current_ = std::move(draft.snapshot);
  }
  if (offer.timestamp.has_value()) RefreshLocked(*offer.timestamp).IgnoreError();  // CheckFresh says what is missing
  return absl::OkStatus();
}

absl::Status Law::Refresh(const crypto::Envelope& envelope) {
  absl::MutexLock one(&install_mutex_);
  return RefreshLocked(envelope);
}

absl::Status Law::LearnTime(const crypto::Envelope& envelope) {
  absl::MutexLock one(&install_mutex_);
  const std::shared_ptr<const LawSnapshot> law = current();
  if (law == nullptr) return absl::FailedPreconditionError("a policy timestamp came before any policy bundle");
  BW_ASSIGN_OR_RETURN(absl::Time issued_at, config::OpenTime(envelope, law->world));
  {
    absl::MutexLock lock(&mutex_);
    if (issued_at < issued_) {
      return absl::FailedPreconditionError("the policy timestamp is older than one that was seen before");
    }
  }
  clock_.Observe(issued_at);
  return absl::OkStatus();
}

absl::Status Law::RefreshLocked(const crypto::Envelope& envelope) {
  const std::shared_ptr<const LawSnapshot> law = current();
  if (law == nullptr) return absl::FailedPreconditionError("a policy timestamp came before any policy bundle");
  BW_ASSIGN_OR_RETURN(config::PolicyTimestamp timestamp, config::OpenTimestamp(envelope, law->world));
  {
    absl::MutexLock lock(&mutex_);
    if (timestamp.issued_at < issued_) {
      return absl::FailedPreconditionError("the policy timestamp is older than one that was seen before");
    }
  }
  clock_.Observe(timestamp.issued_at);
  if (timestamp.issued_at > clock_.Now() + TrustedClock::kMaxSkew) {  // kept, it would shut out all true ones
    return absl::FailedPreconditionError("the policy timestamp is from the future");
  }
  BW_RETURN_IF_ERROR(db_->Transaction([&](sql::Database& db) -> absl::Status {
    BW_RETURN_IF_ERROR(Put(db, kTimestampKey, Serialize(envelope)));
    return PutFloor(db, clock_.floor());
  }));
  Vouch(timestamp);
  return absl::OkStatus();
}

void Law::Vouch(const config::PolicyTimestamp& timestamp) {
  const std::string digest = current()->world.digest;
  const absl::Duration left = timestamp.expires - std::max(clock_.Now(), timestamp.issued_at);
  absl::MutexLock lock(&mutex_);
  issued_ = timestamp.issued_at;
  vouched_digest_ = digest;
  vouched_until_ = timestamp.expires;
  vouched_boot_ = clock_.BootTime() + left;
}

policy::GrantDecision Law::CheckFresh() const {
  const absl::Time now = clock_.Now();
  const absl::Duration boot = clock_.BootTime();
  absl::MutexLock lock(&mutex_);
  if (current_ == nullptr) return Deny("POLICY_DENIED", "no policy is installed here yet");
  const policy::World& world = current_->world;
  if (now >= world.expires) {
    // A clock that is wrong is the cause, not the law.
    if (absl::Status clock = clock_.Check(); !clock.ok()) return Deny("CLOCK_SKEW", std::string(clock.message()));
    return Deny("POLICY_STALE",
                absl::StrCat("policy revision ", world.revision, " came to its end ", Ago(now - world.expires),
                             " ago; sign it anew with: bailiwick policy refresh"));
  }
  if (!world.timestamp_keys.empty() && vouched_digest_ != world.digest) {
    return Deny("POLICY_STALE", absl::StrCat("the coordinator has not yet said with a timestamp that policy revision ",
                                             world.revision, " is the current one"));
  }
  if (!world.timestamp_keys.empty() && (now >= vouched_until_ || boot >= vouched_boot_)) {
    return Deny(
        "POLICY_STALE",
        absl::StrCat("the coordinator last said ", Ago(now - issued_), " ago that policy revision ", world.revision,
                     " is the current one, which counts for ", absl::FormatDuration(world.timestamp_life)));
  }
  absl::Status clock = clock_.Check();
  if (!clock.ok()) return Deny("CLOCK_SKEW", std::string(clock.message()));
  return {true, "", "", ""};
}

absl::Status Law::KeepTime() {
  return db_->Transaction([&](sql::Database& db) { return PutFloor(db, clock_.floor()); });
}

absl::Time Law::vouched_until() const {
  absl::MutexLock lock(&mutex_);
  return current_ != nullptr && vouched_digest_ == current_->world.digest ? vouched_until_ : absl::InfinitePast();
}

absl::Time Law::called_current() const {
  absl::MutexLock lock(&mutex_);
  if (current_ == nullptr) return absl::InfinitePast();
  if (vouched_digest_ == current_->world.digest) return issued_;
  return current_->world.timestamp_keys.empty() ? current_->world.issued_at : absl::InfinitePast();
}

std::shared_ptr<const LawSnapshot> Law::current() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

config::Catalog Law::resources() const {
  absl::MutexLock lock(&mutex_);
  return current_ != nullptr ? current_->resources : aside_;
}

uint64_t Law::revision() const {
  auto law = current();
  return law == nullptr ? 0 : law->world.revision;
}

}  // namespace bailiwick::agent
