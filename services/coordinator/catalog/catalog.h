// What the coordinator knows, durably, behind one narrow interface: SQLite embedded today. Holds digests, counts and
// signed records; never a file's name or a byte of content. Every Put is durable on OK and idempotent. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/agent/v1/evict.pb.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "bailiwick/control/v1/control.pb.h"
#include "common/base/ids.h"
#include "common/config/world.h"
#include "common/crypto/sign.h"
#include "common/os/files.h"
#include "common/store/version.h"
#include "services/coordinator/planner/rpo.h"

namespace bailiwick::coordinator {

inline constexpr uint32_t kRecoveries = 20;  // of an agent that joins

struct AgentRow {
  std::string site;
  std::string spiffe_id;
  std::string enrolment_key;  // as the agent gave it; trusted once the bundle pins it
  std::string incarnation;
  std::string endpoint;  // empty: outbound-only
  std::string admin_endpoint;
  std::string build;
  uint64_t policy_revision = 0;
  std::string policy_error;
  absl::Time last_seen;
  absl::Time certificate_expires = absl::UnixEpoch();  // the epoch: not known
  absl::Time renewed = absl::UnixEpoch();              // the epoch: never
  uint32_t recoveries_left = kRecoveries;
  // Of another machine that joined while the bundle pins the key above: it takes this one's place once its own is
  // pinned. Empty: none did.
  std::string newcomer_key;
  std::string newcomer_incarnation;
  absl::Time newcomer_joined = absl::UnixEpoch();
  bool proves_key = false;  // more than one machine joined: who says hello proves which one it is
};

struct VersionRow {
  store::VersionRecord record;
  Digest identity;
  crypto::Envelope envelope;
};

struct ReplicaRow {  // a dataset at a site, as its agent last said
  std::set<VersionNumber> versions;
  VersionNumber current = 0;
  std::string problem;
  std::string source_problem;
  std::optional<agent::v1::Fence> fence;
  uint64_t stored_bytes = 0;
  // Of a home that gives up content that others hold; no copies.
  std::set<VersionNumber> dropped;
  std::map<VersionNumber, VersionNumber> partial;  // there but for what version `second` holds as well
  // Of a home: those of `versions` of which something is damaged there. Not stored, like what follows.
  std::set<VersionNumber> damaged;
  // Of others: these are known here, and what they hold under the number is another version.
  std::set<VersionNumber> foreign;
  // Of others: what they have of these is damaged, so they are not among `versions`.
  std::set<VersionNumber> broken;
  bool never_laid_out = false;
  // How many transfers lie between the home and its versions; those it does not say it does not know. Not stored: the
  // agent says it again when it connects.
  std::map<VersionNumber, uint32_t> hops;
};

struct ReceiptRow {  // of an erasure; its signature was verified when it came
  std::string id;
  DatasetId dataset;
  std::string dataset_name;  // as the receipt has it: another dataset may have it by now
  std::string site;
  std::string order_id;  // of a redaction
  crypto::Envelope envelope;
  uint64_t ordinal = 0;  // in the order in which they came; the catalog gives it
};

struct ReceiptFilter {
  std::string dataset_name, site;  // empty: all
  uint64_t before = 0;             // only those with lower ordinals; 0: all
};

struct ReceiptPage {
  std::vector<ReceiptRow> receipts;  // newest first
  bool more = false;                 // there are older ones
};

struct RedactionRow {  // at least one key of the policy root signed it
  DatasetId dataset;
  crypto::Envelope envelope;
  std::string by;  // the admin who gave it first
  absl::Time since;
  // It was never given: it had too few signatures whenever it came. That the law asks for fewer since gives no order:
  // somebody has to. Empty, until the core has started: a build of before kept it.
  std::optional<bool> waits = false;
};

struct TransferRow {
  control::v1::Transfer view;
  DatasetId dataset;
  std::string dialler;  // a site
  bool ended = false;
};

struct PendingRow {  // a change that waits for signatures
  control::v1::ApplyRequest request;
  std::string by;
  absl::Time since;
};

struct BundleRow {
  crypto::Envelope envelope;
  std::string by;  // empty: by a version that did not record it
  std::string summary;
  absl::Time at;
};

struct Snapshot {  // everything but events, at start
  config::Catalog resources;
  uint64_t generation = 0;
  std::string root_sha256;                 // fixed by the first bundle
  std::optional<crypto::Envelope> bundle;  // the newest
  std::map<DatasetId, crypto::Envelope> classifications;
  std::map<std::string, DatasetId> dataset_ids;  // of Dataset resources, families included
  std::map<std::string, AgentRow> agents;        // by site
  std::map<DatasetId, std::map<VersionNumber, VersionRow>> versions;
  std::map<DatasetId, std::map<std::string, ReplicaRow>> replicas;
  std::map<std::pair<DatasetId, std::string>, VersionNumber> pins;  // site "" is every replica
  std::map<std::string, agent::v1::Hold> holds;                     // by id
  std::map<uint64_t, agent::v1::ReleasedHold> released_holds;       // by ordinal: oldest first
  std::map<std::string, agent::v1::KeptHolds> kept_holds;           // by site, as its agent last said
  std::map<std::string, RedactionRow> redactions;                   // by order id
  RpoAlarms rpo_alarms;
  std::map<std::string, agent::v1::Denied> denied;         // by SPIFFE id
  std::map<std::string, control::v1::Proposal> proposals;  // by id
  // By order id, those of an order as they came. Of all others, which only ever become more, none is in memory.
  std::map<std::string, std::vector<ReceiptRow>> redaction_receipts;
  std::vector<TransferRow> transfers;                      // in the order of their last Put
  config::RootChain roots;                                 // of the newest bundle
  std::optional<PendingRow> pending;
};

struct Change {  // one apply
  std::vector<config::Resource> upserts;
  std::vector<config::ResourceKey> deletes;
  uint64_t generation = 0;
  std::optional<crypto::Envelope> bundle;
  uint64_t bundle_revision = 0;
  std::string root_sha256;
  std::vector<std::pair<DatasetId, crypto::Envelope>> classifications;
  std::map<std::string, DatasetId> dataset_ids;  // the whole map after the change
  config::RootChain roots;                       // the whole chain after the change
  bool drop_pending = false;
  std::string by, summary;  // for the history of bundles
  absl::Time at;
};

class Catalog {
 public:
  static constexpr uint64_t kMaxEndedTransfers = 100;
  // A site that was away while more were released keeps what it knew, and says so.
  static constexpr uint64_t kMaxReleasedHolds = 10'000;
  virtual ~Catalog() = default;
  // FAILED_PRECONDITION: written by a newer version. DATA_LOSS: corrupt.
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(os::Files* files, const std::string& path);

  virtual absl::StatusOr<Snapshot> Load() = 0;
  // Rises with every durable change: a coordinator that shows a lower one than before runs on an old copy.
  virtual uint64_t sequence() const = 0;
  virtual absl::Status Apply(const Change& change) = 0;            // one transaction
  virtual absl::Status PutPending(const PendingRow* pending) = 0;  // null: none
  // Newest first. `revision` 0: all, at most `limit`.
  virtual absl::StatusOr<std::vector<BundleRow>> Bundles(uint64_t revision, uint32_t limit) = 0;
  virtual absl::Status PutAgent(const AgentRow& agent) = 0;
  virtual absl::Status PutProposal(const control::v1::Proposal& proposal) = 0;
  virtual absl::Status RemoveProposal(const std::string& id) = 0;
  virtual absl::Status PutDenied(const agent::v1::Denied& denied) = 0;
  virtual absl::Status PutVersion(const VersionRow& version) = 0;  // also one that was forgotten
  // Nothing of them but number and identity stays: what is said of them later is told from what was never announced.
  virtual absl::Status ForgetVersions(DatasetId dataset, const std::vector<const VersionRow*>& versions) = 0;
  // Of a version that was forgotten; nothing: no such version was.
  virtual absl::StatusOr<std::optional<Digest>> ForgottenVersion(DatasetId dataset, VersionNumber number) = 0;
  virtual absl::Status PutReplica(DatasetId dataset, const std::string& site, const ReplicaRow& replica) = 0;
  // Number 0 at a site: it follows the newest although every other replica is pinned.
  virtual absl::Status PutPin(DatasetId dataset, const std::string& site, VersionNumber number) = 0;
  virtual absl::Status RemovePin(DatasetId dataset, const std::string& site) = 0;
  virtual absl::Status PutHold(const agent::v1::Hold& hold) = 0;
  // The hold is gone and remembered as released, both or neither; of those released before, the newest stay. `ordinal`
  // is higher than any before.
  virtual absl::Status ReleaseHold(uint64_t ordinal, const agent::v1::ReleasedHold& released) = 0;
  virtual absl::Status PutKeptHolds(const std::string& site, const agent::v1::KeptHolds& kept) = 0;
  virtual absl::Status PutReceipt(const ReceiptRow& receipt) = 0;  // also one that is there
  virtual absl::StatusOr<std::optional<ReceiptRow>> FindReceipt(const std::string& id) = 0;
  // But for those of redactions. At most `limit` (0: any number), and no more than have `bytes` together, but one.
  virtual absl::StatusOr<ReceiptPage> Receipts(const ReceiptFilter& filter, uint32_t limit, size_t bytes) = 0;
  virtual absl::Status PutRedaction(const std::string& order_id, const RedactionRow& redaction) = 0;
  virtual absl::Status RemoveRedaction(const std::string& order_id) = 0;
  virtual absl::Status PutToken(const std::string& sha256, const std::string& site, absl::Time expires) = 0;
  // The token's site, and the token is spent. UNAUTHENTICATED: unknown, used or expired.
  virtual absl::StatusOr<std::string> SpendToken(const std::string& sha256, absl::Time now) = 0;
  // Whether a token for this site or person was ever spent.
  virtual absl::StatusOr<bool> HasSpentToken(const std::string& name) = 0;
  virtual absl::Status PutTransfer(const TransferRow& transfer) = 0;  // the newest kMaxEndedTransfers ended ones stay
  // Returns the event's sequence number; old ones beyond the bound go.
  virtual absl::StatusOr<uint64_t> AppendEvent(const control::v1::Event& event) = 0;
  // The alarm is raised, or ended, and its event appended: both or neither.
  virtual absl::StatusOr<uint64_t> PutRpoAlarm(const RpoAlarm& alarm, bool raised, const control::v1::Event& event) = 0;
  virtual absl::StatusOr<std::vector<control::v1::Event>> Events(uint64_t after, uint32_t limit) = 0;
  virtual absl::StatusOr<std::vector<control::v1::Event>> NewestEvents(uint32_t limit) = 0;
};

}  // namespace bailiwick::coordinator
