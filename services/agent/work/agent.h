// The agent at work: holds the parts together. Assignments say what is home and what is a replica here; commits,
// transfers and layouts run as jobs; what changed is reported. Everything goes on without a coordinator from what was
// last assigned. What lies here is judged by the law when a policy arrives and every second: assigned or not, what may
// not lie here is fenced and erased.
//
// Jobs of one dataset run one at a time by kind: "commit:", "show:" and "keep:" (retention, erasure, garbage
// collection: versions are dropped only there, between collections, so a node that a transfer saw complete stays
// complete until its writer closed). Thread-safe.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "common/rpc/gate.h"
#include "common/rpc/refusals.h"
#include "services/agent/audit/audit_link.h"
#include "services/agent/evict/dropper.h"
#include "services/agent/evict/evictor.h"
#include "services/agent/home/commit_preview.h"
#include "services/agent/home/restless.h"
#include "services/agent/home/source_watch.h"
#include "services/agent/keys/at_rest.h"
#include "services/agent/law/law.h"
#include "services/agent/offline/self_granter.h"
#include "services/agent/offline/standing_flows.h"
#include "services/agent/redact/redactor.h"
#include "services/agent/replica/replica_tree.h"
#include "services/agent/session/session_client.h"
#include "services/agent/state/agent_state.h"
#include "services/agent/state/identity.h"
#include "services/agent/transfer/transfer.h"
#include "services/agent/work/job_queue.h"
#include "services/agent/work/local_status.h"
#include "services/agent/work/replica_volume.h"
#include "services/agent/work/scrubber.h"

namespace bailiwick::agent {

struct DatasetFigures;

// What a broken transfer left is for its next attempt to use; so long after the last one nobody is expected any more.
inline constexpr absl::Duration kPartialPatience = absl::Minutes(30);

class Agent {
 public:
  struct Options {
    std::string replicas;              // where they are laid out
    std::string external_credentials;  // a directory that somebody else renews them in; empty: renewed by RPC
    std::shared_ptr<rpc::Gate> gate;
    rpc::Refusals* refusals = nullptr;
    rpc::Proxy proxy;  // the way to the coordinator and to peers
  };
  Agent(AgentState* state, AgentIdentity* identity, Law* law, const Options& options);
  ~Agent();
  // `endpoint`: what peers dial ("" when the site is outbound-only). An empty address of the coordinator: the one that
  // it told, at join or since.
  absl::Status Start(const std::string& endpoint, const std::string& coordinator_address);
  void Stop();

  audit::Log* audit() { return state_->audit(); }

  // For the Transfer service.
  const TransferEnvironment& transfers() const { return transfer_env_; }

  // Whether its ticker has come round since this was asked last: a watchdog's question.
  bool TurnedSinceAsked() { return turned_.exchange(false); }
  // It asked to be stopped, and the program to be started anew: what it found damaged is mended there.
  bool starts_anew() const { return starts_anew_; }

  // For the local service.
  identity::CertificateInfo certificate() const { return identity_->certificate(); }
  std::string enrolment_key() const { return identity_->enrolment_key().public_key(); }  // raw
  bool connected() const { return session_ != nullptr && session_->connected(); }
  // UNAVAILABLE: there is no session. FAILED_PRECONDITION: somebody else renews it.
  absl::Status RenewNow();
  absl::Status MayRenew();  // whether RenewNow would try

  // For the admin service. NOT_FOUND: no such dataset here.
  absl::StatusOr<CommitOutcome> CommitNow(const std::string& dataset, const CommitOptions& options,
                                          const std::function<void(const CommitProgress&)>& progress,
                                          const std::atomic<bool>& cancelled);
  // What CommitNow would make, by ForecastCommit.
  absl::StatusOr<CommitForecast> PreviewCommit(const std::string& dataset, const CommitOptions& options,
                                               const ForecastVisitor& visit, const std::atomic<bool>& cancelled);
  // `id`: which of those that have had the name, as bytes; empty: the one that this site works on, or the only one.
  // NOT_FOUND; FAILED_PRECONDITION: without an id nobody can tell.
  absl::StatusOr<DatasetHandle*> Held(const std::string& dataset, const std::string& id);
  // PERMISSION_DENIED: the copy is fenced.
  absl::StatusOr<store::CatalogVersion> HeldVersion(const DatasetHandle& dataset, VersionNumber number);
  // NOT_FOUND: the home gave up some of its content, with where that lies.
  absl::Status CheckWhole(const DatasetHandle& dataset, VersionNumber number) const;
  absl::Status VerifyTree(const DatasetHandle& dataset, std::vector<std::string>* problems);
  // All versions of it were read back.
  absl::Status NoteReadBack(DatasetHandle& dataset, const VerifyReport& report);
  bool records_owner(const DatasetHandle& dataset);
  // FAILED_PRECONDITION: files of it may not lie in that directory, with the reason.
  absl::Status MayLayOut(const DatasetHandle& dataset, const std::string& directory);

 private:
  struct RunningFlow {
    bool parts = false;  // the dataset had some lying about before
    std::string id;      // of the transfer
    std::string to;      // site, of a flow that leaves
    VersionNumber version = 0;
  };
  // That a lawful copy has nothing past its time, which need not be looked at again and again.
  struct Judged {
    absl::Duration retention = absl::ZeroDuration();
    uint64_t changes = 0;  // of the catalog
    absl::Time until = absl::InfinitePast();
  };
  struct Work {             // one dataset that has a place here
    bool assigned = false;  // by the coordinator; guarded by Agent::mutex_, as the assignment
    agent::v1::Assignment assignment;
    DatasetHandle* dataset = nullptr;
    std::unique_ptr<ReplicaTree> tree;  // used by "show:" jobs and under tree_mutex
    absl::Mutex tree_mutex;
    absl::Mutex commit_mutex;
    std::shared_ptr<SourceWatch> watch;  // of a home; under commit_mutex, as the next
    std::string watch_problem;           // said last
    Restless restless;
    std::atomic<bool> stop_showing{false};
    // Guarded by Agent::mutex_:
    VersionNumber current = 0;
    std::set<VersionNumber> laid_out;
    std::string problem;
    std::string source_problem;
    std::optional<bool> reread;   // of MustReread; nothing: not known yet
    bool never_laid_out = false;  // by law
    std::string layout_error;     // of the last try, with names of files: only for admins who ask here
    absl::Duration next_attempt = absl::ZeroDuration();
    absl::Duration commit_at = absl::ZeroDuration();  // the next by `every`, also where `quiet` brings others
    absl::Duration retry_show = absl::InfiniteDuration();
    absl::Duration report_again = absl::InfiniteDuration();  // versions that the coordinator did not acknowledge
    std::set<VersionNumber> recall;                          // to be reported with their records, once
    bool announces_more = false;                             // of those, than the last report had room for
    absl::Duration next_keep = absl::ZeroDuration();
    bool garbage = false;  // versions were dropped since the last collection
    absl::Duration next_collection = absl::ZeroDuration();
    VersionNumber hook_version = 0, hook_runs = 0;  // whose hook waits, and runs; 0: none does
    bool show_queued = false;
    bool commit_queued = false;
    bool keep_queued = false;
    bool erase_queued = false;
    bool redact_queued = false;
    bool redacting = false;  // nothing is received meanwhile
    absl::Duration next_damage_look = absl::ZeroDuration();
    absl::Duration next_redact = absl::ZeroDuration();  // after one that did not get through
    absl::Duration next_erase = absl::ZeroDuration();   // after one that failed
    absl::Duration collect_at = absl::ZeroDuration();   // what broken transfers left
    VersionNumber parts_of = 0;                         // of which the first of them came; 0: of one before the start
    bool parts_in_way = false;                          // they go as soon as nothing is received
    bool parts_fit = true;                              // it did not find the disk full
    absl::Duration next_parts_drop = absl::ZeroDuration();
    std::map<std::shared_ptr<FlowControl>, RunningFlow> flows;
    int receiving = 0;
    bool stopped_by_law = false;  // one of the flows into it
    std::string alarm;            // said last
    Judged judged;
    std::string source_path;                             // with the assignment's spec
    std::map<Digest, std::set<std::string>> copies;      // which other sites said that they hold a version
    absl::Duration copies_until = absl::ZeroDuration();  // their word counts
    absl::Duration next_drop = absl::ZeroDuration();
  };

  void OnMessage(const agent::v1::CoordinatorMessage& message);
  void OnPolicy(const agent::v1::PolicyOffer& offer);
  void AnnounceAgain();
  void OnTimestamp(const types::v1::Envelope& timestamp);
  void SendPolicyState(const std::string& error);
  void LookAtPolicyAge();
  void OnAssignments(const agent::v1::Assignments& assignments, bool persist);
  void OnCaps(const agent::v1::SendCaps& message);
  absl::Status RestoreCaps();
  void OnOrder(const agent::v1::TransferOrder& order);
  void OnEvict(const agent::v1::EvictOrder& order);
  void SendState();
  void SendReport(const std::shared_ptr<Work>& work);
  // What of `versions`, all of the dataset's here, a report can tell at once.
  void TellVersions(Work& work, const std::vector<store::CatalogVersion>& versions,
                    const std::map<VersionNumber, uint32_t>& hops, agent::v1::ReplicaReport* report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SayFiguresOf(const Work& work, const std::vector<store::CatalogVersion>& versions, const DatasetFigures& figures)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendHeartbeat();
  // Holds that the coordinator's list has not: once in each session, then when they change.
  void SayKeptHolds();
  void Tick();
  void TickLoop();
  void QueueShow(const std::shared_ptr<Work>& work);
  void QueueKeep(const std::shared_ptr<Work>& work);
  void QueueCommit(const std::shared_ptr<Work>& work);
  void Show(const std::shared_ptr<Work>& work);
  void PrepareSpare(Work& work);
  // A disk is full: trees of before, which only save time, go, and what only they kept with them; from time to time
  // also what came of versions that found it full, but of `but`, which waits for its own.
  void MakeRoom(const Work* but);
  void EmptySpares(const std::shared_ptr<Work>& work);
  void QueueHook(const std::shared_ptr<Work>& work, VersionNumber version);
  void RunHook(Work& work);
  void LookAtVolume();
  absl::StatusOr<std::optional<store::CatalogVersion>> VersionToShow(DatasetHandle& dataset, VersionNumber pinned);
  void Keep(const std::shared_ptr<Work>& work);
  int DropExpired(const std::shared_ptr<Work>& work);
  bool CollectionDue(const std::shared_ptr<Work>& work, int dropped);
  void KeepAllSoon();
  void CollectNow(const std::shared_ptr<Work>& work);
  // What the law asks of data at rest; true when plain packs wait for a collection.
  bool KeepAtRest(const std::shared_ptr<Work>& work);
  void MissedFor(const absl::Status& status);
  void LookForRoom();
  void NoteEnded(const agent::v1::AgentMessage& message);
  void SayEndedAgain();
  void AutoCommit(const std::shared_ptr<Work>& work);
  static bool SameCommit(const resource::v1::DatasetSpec& a, const resource::v1::DatasetSpec& b);
  absl::StatusOr<CommitOutcome> Commit(const std::shared_ptr<Work>& work, const CommitOptions& options,
                                       const std::function<void(const CommitProgress&)>& progress,
                                       const std::atomic<bool>& cancelled);
  SourceSpec SourceOf(const resource::v1::DatasetSpec& spec) const;
  // What to say of files that commit after commit found changing; empty: nothing. Under commit_mutex, as the next four.
  std::string NeverRests(Work& work, const CommitOutcome& outcome, absl::Duration settle);
  // `ingest: consume`. What is in the way, for people, empty: nothing.
  std::string Consume(Work& work, const SourceSpec& source, const store::CatalogVersion& version);
  SourceWatch* WatchOf(Work& work);
  absl::StatusOr<absl::Time> LastChange(Work& work, const SourceSpec& source);
  void SayWatchProblem(Work& work);
  // NOT_FOUND, when it is not there after a while either: a dataset declared a moment ago is on its way.
  absl::StatusOr<std::shared_ptr<Work>> AwaitWork(const std::string& name, const std::atomic<bool>& cancelled);
  // FAILED_PRECONDITION elsewhere than at the home.
  absl::StatusOr<agent::v1::Assignment> HomeAssignment(Work& work);
  std::shared_ptr<Work> FindWork(DatasetId id);
  std::shared_ptr<Work> FindWork(const std::string& name);
  // Runs a flow, or what leads to one, on a thread of its own. False: as many run as may, or one of this id does.
  bool Launch(const std::string& transfer_id, const std::shared_ptr<FlowControl>& control, std::function<void()> run);
  void CancelFlows(const std::string& transfer_id, const std::string& why);
  absl::StatusOr<std::shared_ptr<grpc::Channel>> DialPeer(const std::string& peer, const std::string& endpoint);

  // Who this is, and who is believed: agent_identity.cc.
  void LookAtIdentity();
  absl::Status TakeExternal();
  absl::Status RenewCertificate();
  absl::Status Recover(bool expired);
  void OnTrust(const agent::v1::Trust& trust);
  void KeepTrust(const agent::v1::Trust& trust) ABSL_EXCLUSIVE_LOCKS_REQUIRED(trust_mutex_);
  void RetryTrust();  // now and then: a full disk may have room again
  absl::Status LoadTrust();
  absl::Status MoveTo(const std::string& control_address);
  absl::Status InstallRoots(const std::string& roots_pem);
  void ApplyDenied(const agent::v1::Trust& trust);
  std::shared_ptr<Work> EnsureWork(DatasetHandle* dataset);  // unassigned when new
  std::vector<std::shared_ptr<Work>> AllWork();

  void OnRecall(const agent::v1::Recall& recall);

  // Without the coordinator: agent_offline.cc.
  void LookAtStanding();
  void StopStanding();
  void GoOn(const std::shared_ptr<Work>& work);
  void SendStanding(DatasetHandle& dataset, const store::CatalogVersion& version, const agent::v1::StandingPeer& peer);
  void AskHome(DatasetHandle& dataset, const agent::v1::StandingPeer& home);
  absl::Status AskAndReceive(const Question& question, const agent::v1::StandingPeer& home,
                             const std::shared_ptr<FlowControl>& control);
  absl::StatusOr<OfferedVersion> OfferTo(const Question& question, const std::string& peer);
  void RenewStanding();
  agent::v1::LocalStatus LocalStatus();

  // Fences and erasures: agent_evict.cc.
  void JudgeAll();
  void Judge(const std::shared_ptr<Work>& work);
  void Close(const std::shared_ptr<Work>& work);
  void QueueErase(const std::shared_ptr<Work>& work);
  void Erase(const std::shared_ptr<Work>& work);
  absl::Status RemoveTreesOf(const std::shared_ptr<Work>& work, const std::vector<VersionNumber>* only);
  void WithdrawTree(const std::shared_ptr<Work>& work);
  bool Closed(DatasetId dataset);
  void SendReceipts();
  void FlowBegan(DatasetHandle& dataset, VersionNumber version, bool receive, const std::string& transfer_id,
                 const std::string& peer_site, const std::shared_ptr<FlowControl>& control);
  void FlowEnded(DatasetHandle& dataset, bool receive, const std::shared_ptr<FlowControl>& control, const FlowEnd& end);
  bool CollectParts(const std::shared_ptr<Work>& work);
  // What other sites hold and the home gives up: agent_drop.cc.
  void OnCopyQuestion(const agent::v1::CopyQuestion& question);
  void OnDropOffer(const agent::v1::DropOffer& offer);
  Keeps Kept(const std::shared_ptr<Work>& work);
  std::vector<HeldElsewhere> Droppable(const std::shared_ptr<Work>& work);
  void GiveUp(const std::shared_ptr<Work>& work);
  void CareForDropped(const std::shared_ptr<Work>& work);
  // Of damage on disk: agent_damage.cc.
  absl::Status LoadDamage(DatasetHandle& dataset);
  absl::Status SetDamage(DatasetHandle& dataset, const std::set<VersionNumber>& damaged);
  void LookAtIndex();
  void LookAtLosses(Work& work);
  void WasReadBack(DatasetHandle& dataset, const VerifyReport& report);
  void FoundDamage(DatasetHandle& dataset, const VerifyReport& report);
  void SuspectDamage(DatasetHandle& dataset);  // looks soon, and tells when there is more than was known
  void LookForDamage(DatasetHandle& dataset);  // once something was met
  void SayDamage(DatasetHandle& dataset);
  void LookWhatHealed(DatasetHandle& dataset);     // after a version came
  bool MustReread(Work& work);                     // whether the next commit has to: something here is damaged
  void Reread(Work& work, VersionNumber version);  // a commit did
  void Notice(const std::string& kind, DatasetId dataset, const std::string& message);

  // Redactions: agent_redact.cc.
  void OnRedactions(const agent::v1::RedactionOrders& orders);
  static constexpr char kRedactionEndsFlows[] = "a redaction is carried out; the transfer begins again";
  void EndFlowsForRedaction(Work& work, bool all);
  void QueueRedact(const std::shared_ptr<Work>& work);
  void Redact(const std::shared_ptr<Work>& work);
  absl::Status RedactTrees(const std::shared_ptr<Work>& work);
  // Why the bytes must stay for now; empty: nothing keeps them.
  absl::StatusOr<std::string> RedactionLock(DatasetHandle& dataset, const store::Redaction& redaction,
                                            bool override_locks);

  AgentState* const state_;
  AgentIdentity* const identity_;
  Law* const law_;
  const std::string replicas_;
  ReplicaVolume volume_;  // of replicas_
  const std::string external_credentials_;
  const std::shared_ptr<rpc::Gate> gate_;
  rpc::Refusals* const refusals_;
  const rpc::Proxy proxy_;
  AtRestKeeper at_rest_;
  std::string endpoint_;
  bool address_is_set_ = false;  // by the operator: what the coordinator says of itself changes nothing
  Pacer pacer_;
  std::string caps_;            // as said last; the session's thread
  std::string recorded_chain_;  // of others, as recorded last; in the lane "identity" of the jobs
  TransferEnvironment transfer_env_;
  Evictor evictor_;
  Dropper dropper_;
  Redactor redactor_;
  SelfGranter granter_;
  StandingFlows standing_;
  audit::Refusals flow_refusals_;
  AuditLink audit_link_;         // in the lane "audit" of its own jobs
  LocalStatusFile status_file_;  // the ticker's
  bool on_its_own_ = false;      // the ticker's
  WatchPump watch_pump_;
  Scrubber scrubber_;
  JobQueue jobs_;  // commits, trees
  JobQueue hook_jobs_;
  JobQueue keep_jobs_;  // what data at rest needs: it may wait for transfers to end, and nothing waits for it
  JobQueue own_jobs_;   // the agent's own: identity, audit
  std::unique_ptr<SessionClient> session_;
  std::thread ticker_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> starts_anew_{false};
  std::atomic<bool> missed_{false};                            // something of the coordinator's, for want of room
  absl::Duration next_room_look_ = -absl::InfiniteDuration();  // the ticker's, as the next
  absl::Duration room_wait_;
  std::deque<std::pair<absl::Duration, agent::v1::AgentMessage>> ended_ ABSL_GUARDED_BY(mutex_);  // transfers, by when
  std::atomic<bool> turned_{true};

  absl::Mutex mutex_;
  std::map<DatasetId, std::shared_ptr<Work>> work_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<FlowControl>> flows_ ABSL_GUARDED_BY(mutex_);
  int flow_threads_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration keep_often_until_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  absl::Duration next_heartbeat_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  absl::Duration next_volume_look_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  std::string volume_problem_ ABSL_GUARDED_BY(mutex_);
  absl::Duration next_signature_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  absl::Duration next_judgement_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  absl::Mutex trust_mutex_;
  std::optional<agent::v1::Trust> unkept_trust_ ABSL_GUARDED_BY(trust_mutex_);  // could not be written yet
  absl::Mutex renew_mutex_;                                                     // one renewal at a time
  absl::Duration next_identity_look_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  bool looking_at_identity_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration away_since_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();  // without a session
  absl::Duration next_recovery_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  std::string identity_error_ ABSL_GUARDED_BY(mutex_);  // as last said
  absl::Duration next_time_kept_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  std::string coordinator_address_ ABSL_GUARDED_BY(mutex_);
  std::string stale_code_ ABSL_GUARDED_BY(mutex_);                // as last reported
  std::optional<std::string> kept_said_ ABSL_GUARDED_BY(mutex_);  // in this session
  uint64_t catalog_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace bailiwick::agent
