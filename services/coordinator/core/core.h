// The coordinator's heart: what is known, what is wanted, what runs. One mutex guards it all; RPC handlers enter and
// leave quickly, one thread plans whenever something changed and every second (level-triggered: a lost wake-up costs a
// second, no more).
//
// Invariants: what a caller was told is in the catalog; a mutating decision is in the audit log before it takes effect;
// a transfer is started only with a permit of the current bundle; nothing here ever holds a byte or a file's name of a
// dataset.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/control/v1/control.pb.h"
#include "bailiwick/enroll/v1/enroll.pb.h"
#include "common/audit/log.h"
#include "common/config/world.h"
#include "common/crypto/sign.h"
#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "common/os/random.h"
#include "common/policy/evaluator.h"
#include "common/rpc/gate.h"
#include "common/rpc/redaction.h"
#include "services/coordinator/ca/authority.h"
#include "services/coordinator/catalog/catalog.h"
#include "services/coordinator/core/danger.h"
#include "services/coordinator/core/rate_meter.h"
#include "services/coordinator/core/rehearsal.h"
#include "services/coordinator/planner/compiled_law.h"
#include "services/coordinator/planner/eviction.h"
#include "services/coordinator/planner/home_drop.h"
#include "services/coordinator/planner/planner.h"
#include "services/coordinator/sessions/session.h"

namespace bailiwick::coordinator {

inline constexpr size_t kPageBytes = 1 << 20;  // after which a page of versions, or of receipts, ends

// Who is believed, and by whose word. What the members point to outlives the core.
struct Identities {
  std::string trust_domain;
  Authority* authority = nullptr;
  std::function<std::string()> roots;  // PEM, all whose certificates count
  std::shared_ptr<rpc::Gate> gate;
};

struct CoreConfig {
  Identities identities;
  std::string control_address;  // what agents and admins dial
  std::string join_address;
};

class Core {
 public:
  Core(Catalog* catalog, audit::Log* audit, const crypto::SigningKey* grant_key,
       const crypto::SigningKey* timestamp_key, const os::Clock* clock, os::Random* random)
      : catalog_(catalog),
        audit_(audit),
        grant_key_(grant_key),
        timestamp_key_(timestamp_key),
        clock_(clock),
        random_(random) {}
  ~Core();
  absl::Status Load();
  // Before the first RPC: who this is. Then where it listens: until that is known nobody joins. Then planning may
  // begin.
  void Prepare(Identities identities);
  void Listening(std::string control_address, std::string join_address);
  void Start();
  // Whether the planning thread has come round since this was asked last: a watchdog's question.
  bool TurnedSinceAsked() { return turned_.exchange(false); }
  // For the desk that keeps audit logs: the keys that the law pins for a site; an event and a record of its own.
  std::vector<std::string> PinnedKeys(const std::string& site) const;
  void AuditAlarm(const std::string& kind, const std::string& site, const std::string& message);
  void Reconcile();  // one round, as the planning thread does; also looks after running transfers and silent sessions
  void Stop();

  // Agents.
  absl::Status OnHello(const std::shared_ptr<Session>& session, const agent::v1::AgentHello& hello);
  void OnMessage(const std::shared_ptr<Session>& session, const agent::v1::AgentMessage& message);
  void OnClosed(const std::shared_ptr<Session>& session);
  absl::StatusOr<agent::v1::RenewResponse> Renew(const rpc::Peer& peer, const agent::v1::RenewRequest& request);
  absl::StatusOr<enroll::v1::JoinResponse> Join(const enroll::v1::JoinRequest& request);
  absl::StatusOr<enroll::v1::ChallengeResponse> Challenge();
  absl::StatusOr<enroll::v1::JoinResponse> Recover(const enroll::v1::RecoverRequest& request);
  void TrustChanged();  // tells every agent

  // Admins. `who` is the admin's SPIFFE id.
  // Any of the acts below that take a Rehearsal, with one.
  absl::StatusOr<control::v1::DryRunResponse> DryRun(const std::string& who, const control::v1::DryRunRequest& request);
  control::v1::GetInfoResponse Info();
  absl::StatusOr<control::v1::ApplyResponse> Apply(const std::string& who, const control::v1::ApplyRequest& request,
                                                   Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::ListResourcesResponse> Resources(const control::v1::ListResourcesRequest& request);
  absl::StatusOr<control::v1::GetPolicyResponse> Policy(const control::v1::GetPolicyRequest& request);
  absl::StatusOr<control::v1::ListPoliciesResponse> Policies(const control::v1::ListPoliciesRequest& request);
  control::v1::GetPendingResponse GetPending();
  absl::StatusOr<control::v1::RejectPendingResponse> RejectPending(const std::string& who,
                                                                   const control::v1::RejectPendingRequest& request,
                                                                   Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::CreateJoinTokenResponse> CreateJoinToken(
      const std::string& who, const control::v1::CreateJoinTokenRequest& request, Rehearsal* dry = nullptr);
  control::v1::ListSitesResponse Sites();
  control::v1::ListAgentsResponse Agents();
  absl::StatusOr<control::v1::RevokeResponse> Revoke(const std::string& who, const control::v1::RevokeRequest& request,
                                                     Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::AllowRecoveriesResponse> AllowRecoveries(
      const std::string& who, const control::v1::AllowRecoveriesRequest& request, Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::RotateAuthorityResponse> RotateAuthority(const std::string& who,
                                                                       Rehearsal* dry = nullptr);
  control::v1::ListAuthoritiesResponse Authorities();

  // People: core_people.cc.
  absl::StatusOr<enroll::v1::JoinResponse> Login(const enroll::v1::LoginRequest& request);
  absl::StatusOr<control::v1::CreateLoginTokenResponse> CreateLoginToken(
      const std::string& who, const control::v1::CreateLoginTokenRequest& request, Rehearsal* dry = nullptr);
  control::v1::WhoAmIResponse WhoAmI(const rpc::Peer& peer);
  control::v1::ListProposalsResponse Proposals();
  absl::StatusOr<control::v1::ApproveResponse> Approve(const std::string& who,
                                                       const control::v1::ApproveRequest& request,
                                                       Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::WithdrawResponse> Withdraw(const std::string& who,
                                                         const control::v1::WithdrawRequest& request,
                                                         Rehearsal* dry = nullptr);
  control::v1::ListDatasetsResponse Datasets();
  absl::StatusOr<control::v1::ListVersionsResponse> Versions(const control::v1::ListVersionsRequest& request);
  absl::StatusOr<control::v1::ListReplicasResponse> Replicas(const std::string& dataset, const std::string& site);
  control::v1::ListTransfersResponse Transfers(const std::string& id);
  absl::StatusOr<control::v1::WhyResponse> Why(const std::string& dataset, const std::string& site);
  absl::StatusOr<control::v1::PinResponse> Pin(const std::string& who, const control::v1::PinRequest& request,
                                               Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::HoldResponse> Hold(const std::string& who, const control::v1::HoldRequest& request,
                                                 Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::ListHoldsResponse> Holds(const std::string& dataset);
  absl::StatusOr<control::v1::ReleaseResponse> Release(const std::string& who,
                                                       const control::v1::ReleaseRequest& request,
                                                       Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::ListEvictionsResponse> Evictions(const control::v1::ListEvictionsRequest& request);
  absl::StatusOr<control::v1::RedactResponse> Redact(const std::string& who, const control::v1::RedactRequest& request,
                                                     Rehearsal* dry = nullptr);
  absl::StatusOr<control::v1::ListRedactionsResponse> Redactions(const control::v1::ListRedactionsRequest& request);
  size_t WaitingRedactions();  // how many of them are in state waiting
  absl::StatusOr<std::vector<control::v1::Event>> Events(const control::v1::EventsRequest& request);

 private:
  // A dataset or a family's stream, as the resources, sites and classifications make it now.
  struct Stream {
    DatasetId id;
    std::string name;
    std::string family;  // empty: not of a family
    std::string home_site;
    policy::Labels labels;
    uint64_t epoch = 0;
    resource::v1::DatasetSpec spec;
  };
  struct Transfer {
    control::v1::Transfer view;
    DatasetId dataset;
    VersionNumber version = 0;
    std::string dialler, other;  // sites
    absl::Duration last_report;
    absl::Duration progressed;  // when bytes came last, or something else than its ends held it back
    absl::Duration apart;       // bytes come so far apart, by what came lately
    absl::Duration renew_at;
    uint64_t policy_revision = 0;
    bool delivered = false;  // reported done; the destination's own report confirms it
    bool adopted = false;    // was running before this coordinator started; nobody has spoken of it yet
    RateMeter wire, done;    // bytes
    struct Word {            // what limits it, as one end said last
      std::string limit;
      absl::Duration at = -absl::InfiniteDuration();
    };
    Word source_says, destination_says;
    int priority = 2;
    bool yields = false;  // to a more urgent one, by the last plan
  };

  // So long without a byte is no longer the pace of a slow link.
  static absl::Duration StallsAfter(const Transfer& transfer);
  // By a cap, its priority, or a destination that is away.
  bool HeldBack(const Transfer& transfer, absl::Duration now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Stalled(const Transfer& transfer, absl::Duration now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What an end says limits it, unless it said so too long ago.
  static std::string SaysNow(const Transfer::Word& word, absl::Duration now);

  // Everything below: mutex_ held.
  std::map<DatasetId, Stream> Streams() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Stream* FindStream(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status NoDataset(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // what to say then
  absl::Status CheckSite(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // NOT_FOUND: undeclared
  // What is declared and has the nearest name, as the end of an error; empty: nothing is near.
  std::string DidYouMean(const std::string& kind, const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // An event for each declared family some of whose streams of `before` there are no more.
  void TellEnded(const std::map<DatasetId, Stream>& before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the name is (or was) the stream with this id of a family that is declared.
  bool Retired(DatasetId id, const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Rebuild() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // streams_ after resources or sites changed
  absl::Status InstallBundle(const crypto::Envelope& envelope) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether what comes without any signature is looked at all the same: in a rehearsal, of which nothing comes.
  enum class Signatures { kNeeded, kToCome };
  static bool Unsigned(const crypto::Envelope& envelope, Signatures signatures);
  static void RehearseChange(const Change& change, const std::string& missing, Rehearsal* dry);  // core_dry_run.cc
  // FAILED_PRECONDITION: the law asks for the first time what a connected agent does not enforce.
  absl::Status CheckEnforced(const config::Catalog& law) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `missing` says which signatures the request lacks; empty: none.
  absl::StatusOr<Change> CheckApply(const control::v1::ApplyRequest& request, config::Catalog* after,
                                    std::string* missing, Signatures signatures) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // FAILED_PRECONDITION: another number of copies becomes unlawful than the request says; core_expect.cc.
  absl::Status CheckExpected(const control::v1::ApplyRequest& request, const policy::World& world,
                             const config::Catalog& after) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoots(const control::v1::ApplyRequest& request, Change* change, std::string* missing,
                          Signatures signatures) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<config::Bundle> OpenOrPending(const crypto::Envelope& envelope, const std::string& root_sha256,
                                               std::string* missing, Signatures signatures)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void AddMissing(const std::string& what, const crypto::Envelope& envelope,
                         const std::vector<std::string>& keys, size_t threshold, std::string* missing);
  static std::string PendingId(const control::v1::ApplyRequest& request);
  static void MergeSignatures(const control::v1::ApplyRequest& from, control::v1::ApplyRequest* to);
  control::v1::Pending PendingView() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MayWait(bool same) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // `same`: as the change that waits
  absl::Status KeepPending(const std::string& who, const control::v1::ApplyRequest& request, bool same)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<crypto::Envelope> MakeTimestamp() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendTimestamps() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Event(const std::string& kind, const std::string& site, const std::string& dataset, VersionNumber version,
             const std::string& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  control::v1::Event MakeEvent(const std::string& kind, const std::string& site, const std::string& dataset,
                               VersionNumber version, const std::string& message) const;
  // Alarms that begin or end with the plan, each once, also over restarts.
  void CareForRpo() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Audit(const std::string& kind, const std::string& subject, const std::string& detail);
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { dirty_ = true; }

  // The law and the classifications, in parts; with `changed` only those.
  void SendPolicy(Session& session, const std::set<DatasetId>* changed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the law lets the wanted copy come from the home, for any of its purposes.
  bool Lawful(const Stream& stream, const Wanted& wanted) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendAssignments(const std::string& site, Session& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PushAssignments() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnReplica(const std::string& site, const agent::v1::ReplicaReport& report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeVersion(const Stream& stream, const std::string& site, const agent::v1::HeldVersion& held)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Versions that nobody holds any more: core_forget.cc.
  void ForgetVersions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // a bounded part of what there is to forget
  // What something still refers to, or a site holds.
  std::set<VersionNumber> InNeed(DatasetId dataset) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The identity of a version that was forgotten.
  std::optional<Digest> Forgotten(DatasetId dataset, VersionNumber number) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of a site that holds it after all; whether it is known again.
  bool TakeBack(const Stream& stream, const Digest& identity, const std::string& site,
                const agent::v1::HeldVersion& held) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AskForRecords(DatasetId dataset, const std::string& site, const std::vector<VersionNumber>& numbers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnTransfer(const std::string& site, const agent::v1::TransferReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status SaveTransfer(const Transfer& transfer, bool ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the site is declared and lies in the region that the identity says.
  absl::Status CheckSite(const identity::SpiffeId& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t InstalledRevision() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // the highest that an approved agent has
  void DropForeignSessions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // People: core_people.cc.
  static rpc::People PeopleOf(const config::Catalog& resources);
  void ApplyPeople() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // to the gate, and to those who are connected
  // Dangerous acts need a second person: there is one who could say yes, not counting who was revoked.
  bool TakesTwo() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasRole(const std::string& who, unsigned roles) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether what they said then still counts. FAILED_PRECONDITION: they were revoked since, or lost these roles.
  absl::Status CheckStands(const std::string& who, absl::Time since, unsigned roles) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Stakes StakesOf(const Change& change) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasPast(const std::string& dataset, DatasetId id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckMayApply(const std::string& who, const control::v1::ApplyRequest& request,
                             const config::Catalog& after) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether neither a RoleBinding nor a login knows the name. NOT_FOUND: and it is much like one that a binding names.
  absl::Status CheckPerson(const std::string& name, bool* never_seen) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why the change waits for another person than who gave it first; empty: it does not. `completes`: it is the
  // pending one.
  std::string NeedsSecond(const std::string& who, const Change& change, const config::Catalog& after,
                          bool completes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndProposals() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // that nobody approved for a month
  // The same act by the same person that waits for another already; null: none.
  const control::v1::Proposal* FindSame(const std::string& who, const control::v1::Proposal& proposal) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<control::v1::Proposal> Propose(const std::string& who, control::v1::Proposal proposal,
                                                const std::string& what, Rehearsal* dry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<control::v1::ReleaseResponse> ReleaseNow(const std::string& who,
                                                          const control::v1::ReleaseRequest& request, Rehearsal* dry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<control::v1::AllowRecoveriesResponse> AllowRecoveriesNow(
      const std::string& who, const control::v1::AllowRecoveriesRequest& request, Rehearsal* dry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Their proposal to let the person log in, approved or not; null: none.
  const control::v1::Proposal* FindLogin(const std::string& who, const std::string& person) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<control::v1::CreateLoginTokenResponse> ProposeLogin(
      const std::string& who, const control::v1::CreateLoginTokenRequest& request, Rehearsal* dry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ApproveLogin(const std::string& who, control::v1::Proposal proposal, Rehearsal* dry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<control::v1::CreateLoginTokenResponse> CreateLoginTokenNow(
      const std::string& who, const control::v1::CreateLoginTokenRequest& request, Rehearsal* dry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Identities: core_identity.cc.
  absl::StatusOr<enroll::v1::JoinResponse> Certify(const identity::SpiffeId& id, const std::string& csr_der,
                                                   absl::Duration life) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Lift(const std::string& spiffe_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // who was revoked joins anew
  // A token that does not count, recorded as every refusal is.
  absl::StatusOr<std::string> SpendToken(const std::string& sha256) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckNotRevoked(const std::string& spiffe_id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  agent::v1::CoordinatorMessage TrustMessage() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ApplyDenied() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // to the gate, and to those who are connected
  bool Approved(const std::string& site) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Pins(const std::string& site, const std::string& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Which of the machines that joined as a site it is: its enrolment key, empty from a build of before, and that key's
  // signature over the message.
  struct MachineProof {
    std::string key, message, signature;
  };
  // Whether who says hello, or asks for a certificate, is the machine that serves the site. PERMISSION_DENIED
  // otherwise.
  absl::Status CheckMachine(const std::string& spiffe_id, const AgentRow& row, const MachineProof& proof) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The machine that the bundle pins is away, and another that joined waits to be approved in its place.
  bool Awaits(const std::string& site) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Newcomers whose keys the bundle pins take the places of the machines before them.
  void SeatNewcomers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool OutboundOnly(const std::string& site) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Eviction: core_evict.cc.
  // Whether the copy is out of use: its agent says so, or the law as it is known here.
  bool Unlawful(const Stream* stream, const std::string& site, const ReplicaRow& row, policy::Decision* decision) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The versions of a lawful copy but for those that its agent fenced because they are past their time.
  static std::set<VersionNumber> InUse(const ReplicaRow& row);
  static std::set<VersionNumber> Whole(const ReplicaRow& row);  // without what is damaged there
  std::vector<UnlawfulCopy> UnlawfulCopies() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanEvictionsOnce(PlanInput input) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnFence(const std::string& site, const std::string& dataset, const ReplicaRow& before, const ReplicaRow& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnReceipt(const std::string& site, const types::v1::Envelope& envelope) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const EvictionStatus* FindEviction(DatasetId dataset, const std::string& site) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string NameOf(DatasetId dataset) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // also of what was deleted

  // Holds: core_holds.cc.
  struct KeptHold {
    agent::v1::Hold hold;
    std::set<std::string> sites;  // that keep it though this coordinator does not know it; empty: it does
  };
  void AddHolds(const std::string& site, agent::v1::Holds* holds) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ids of what was released, as far as the site has to be told.
  std::set<std::string> ReleasedFor(const std::string& site) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the site keeps, and neither is known here nor was released.
  std::vector<agent::v1::Hold> KeptAt(const std::string& site) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<KeptHold> KeptHolds() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // of all sites; the same ones once
  void ForgetKeptHolds(const std::string& site) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // another machine serves it
  void OnKeptHolds(const std::string& site, const agent::v1::KeptHolds& said) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // At least one.
  absl::StatusOr<std::vector<KeptHold>> ToRelease(const control::v1::ReleaseRequest& request) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Homes that give up what others hold: core_home.cc.
  struct HomeDropState {
    HomeDrop drop;
    absl::Duration asked = -absl::InfiniteDuration();
    std::map<std::string, types::v1::Envelope> words;  // of the sites that answered since
  };
  void PlanHomeDrops(const PlanInput& input) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AskForCopies(DatasetId dataset, const std::string& site, const std::set<VersionNumber>& numbers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnCopies(const std::string& site, const types::v1::Envelope& envelope) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // That something is damaged at the home, and how it comes back or why it does not; empty: nothing is. `where`:
  // "here".
  std::string HomeDamage(const Stream& stream, const ReplicaRow& row, absl::string_view where) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What there is to say of the home: what is wrong with its source, what it gave up, what is damaged and what it keeps
  // for now.
  std::string HomeReason(const Stream& stream, const ReplicaRow& row) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Redaction: core_redact.cc.
  // Why it is not sent out, one sentence; empty: it is.
  std::string Unordered(const RedactionRow& row) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DecideRedactions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One with the same contents and chunks that waits for signatures; null: none.
  const RedactionRow* FindWaiting(const rpc::RedactionOrder& order) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops an order that was never sent out. NOT_FOUND. FAILED_PRECONDITION: it was.
  absl::Status WithdrawRedaction(const std::string& who, const std::string& id, Rehearsal* dry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the site holds something of the dataset, or is to.
  bool HasPart(const std::string& site, DatasetId dataset) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendRedactions(const std::string& site, Session& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddRedactionSites(const rpc::RedactionOrder& order, control::v1::Redaction* view, bool proofs) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void PlanLoop();
  std::vector<RunningTransfer> Running() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  PlanInput Input() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With whom sites go on while this coordinator is away: core_offline.cc.
  void PlanStanding(const PlanInput& input) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration TimestampEvery() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanOnce() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StartTransferNow(const StartTransfer& start) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<crypto::Envelope> MakeGrant(const Transfer& transfer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What sites may send now, where it changed: core_caps.cc.
  void PushCaps() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Which transfers wait for more urgent ones, by the plan.
  void CareForPriorities() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a view says beside what is stored: pace, end, limit.
  void AddPace(const Transfer& transfer, control::v1::Transfer* view) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those that say nothing, and those whose certificate does not count any more.
  void CloseSilentSessions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CareForTransfers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // renewals, policy changes, silence
  // Ends it at both ends.
  void CancelTransfer(const std::string& id, const std::string& code, const std::string& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndTransfer(const std::string& id, bool done, const std::string& code, const std::string& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Wanted* FindWanted(DatasetId dataset, const std::string& site) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Catalog* const catalog_;
  audit::Log* const audit_;
  const crypto::SigningKey* const grant_key_;
  const crypto::SigningKey* const timestamp_key_;
  const os::Clock* const clock_;
  os::Random* const random_;
  std::thread planner_thread_;

  mutable absl::Mutex mutex_;
  CoreConfig config_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<bool> turned_{true};
  bool dirty_ ABSL_GUARDED_BY(mutex_) = true;
  Snapshot state_ ABSL_GUARDED_BY(mutex_);
  std::optional<config::Bundle> bundle_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<CompiledLaw> law_ ABSL_GUARDED_BY(mutex_);  // of bundle_
  std::map<DatasetId, config::Classification> classifications_ ABSL_GUARDED_BY(mutex_);
  std::map<DatasetId, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<Session>> sessions_ ABSL_GUARDED_BY(mutex_);  // by site
  std::map<std::string, absl::Duration> heard_ ABSL_GUARDED_BY(mutex_);  // boot time of a session's last message
  std::map<std::string, std::set<std::string>> enforces_ ABSL_GUARDED_BY(mutex_);  // by site, of its last hello
  std::map<std::string, uint64_t> free_bytes_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, agent::v1::PolicyInstalled> policy_said_ ABSL_GUARDED_BY(mutex_);  // by site
  absl::Duration next_timestamp_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  std::map<std::string, Transfer> transfers_ ABSL_GUARDED_BY(mutex_);  // running
  std::deque<control::v1::Transfer> ended_ ABSL_GUARDED_BY(mutex_);    // newest last, bounded
  Planner planner_ ABSL_GUARDED_BY(mutex_);
  Plan plan_ ABSL_GUARDED_BY(mutex_);
  EvictionPlan evictions_ ABSL_GUARDED_BY(mutex_);
  std::map<DatasetId, HomeDropState> home_drops_ ABSL_GUARDED_BY(mutex_);  // of homes that are connected
  std::set<std::pair<std::string, DatasetId>> heard_of_
      ABSL_GUARDED_BY(mutex_);  // what sites reported in their session
  std::map<std::pair<std::string, DatasetId>, std::string> ordered_ ABSL_GUARDED_BY(mutex_);  // fingerprint last sent
  std::map<std::pair<std::string, DatasetId>, std::set<VersionNumber>> recalled_
      ABSL_GUARDED_BY(mutex_);  // what sites were asked for in their session: once each
  std::map<std::string, std::map<std::string, size_t>> redactions_sent_
      ABSL_GUARDED_BY(mutex_);  // by site and order: with so many signatures, in this session
  std::map<std::pair<std::string, DatasetId>, std::vector<agent::v1::RedactionState>> redactions_said_
      ABSL_GUARDED_BY(mutex_);  // by site, of what is not done there
  std::map<std::pair<DatasetId, std::string>, std::vector<agent::v1::StandingPeer>> standing_
      ABSL_GUARDED_BY(mutex_);                                               // by dataset and who is told
  std::map<std::string, std::string> caps_of_site_ ABSL_GUARDED_BY(mutex_);  // as sent last, in this session
  policy::World cap_zones_ ABSL_GUARDED_BY(mutex_);                          // only time zones, those that caps name
  absl::Time cap_zones_at_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> cap_zone_names_ ABSL_GUARDED_BY(mutex_);
  rpc::People people_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Duration> challenges_ ABSL_GUARDED_BY(mutex_);  // until when each counts, boot time
  std::map<std::string, std::string> wanted_of_site_
      ABSL_GUARDED_BY(mutex_);  // fingerprint of the assignments last sent
};

}  // namespace bailiwick::coordinator
