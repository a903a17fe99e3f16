// What should lie where, what is missing, and which transfers to start now. "Why is it not there yet" is answered from
// the same data: every desired pair of dataset and site has exactly one reason, the first that applies.
//
// A long way is gone once: while a version is on its way to a site, others that are nearer to that one than to the
// source wait for it and get it from there, unless the law, a route or a stall is against it. Nearness is how much of
// the region's path two sites share.
//
// Pure: no I/O and no clock; the time is part of the input. Not thread-safe: one owner calls it. Between calls it keeps
// only the backoff of each (dataset, site), so one failing item waits alone, and which sources to avoid for a while.
// The plan depends on the values of the input, never on the order of its lists.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/policy/model.h"
#include "services/coordinator/planner/compiled_law.h"

namespace bailiwick::coordinator {

// Running and starting transfers together, of the same or a higher priority: what is less urgent yields and stands in
// nobody's way, and two ends that have none between them get one however slow the others are, up to twice as many in
// all. Each one reads or writes a disk and holds buffers at both ends.
inline constexpr int kMaxTransfersPerDestination = 4;
inline constexpr int kMaxTransfersPerSource = 8;

// A source that let a transfer down is asked again so long after, unless there is no other.
inline constexpr absl::Duration kAvoid = absl::Seconds(60);

// So much of a version must be missing for a second source to be asked as well.
inline constexpr uint64_t kShareBytes = uint64_t{256} << 20;

inline constexpr absl::Duration kBackoffMin = absl::Seconds(1);  // doubles with each failure
inline constexpr absl::Duration kBackoffMax = absl::Seconds(60);
// A peer that denied has another view of the law; it changes with the next bundle, not with patience.
inline constexpr absl::Duration kBackoffDenied = absl::Seconds(15);

struct PlannedSite {
  std::string name;
  std::string region;
  std::string spiffe_id;
  policy::Labels labels;
  bool connected = false;
  bool approved = false;
  bool newcomer = false;  // not approved: the machine that is has gone away, and another joined
  std::string revoked;    // when and why its agent was, one sentence's end; empty: it was not
  bool dialable = false;  // has an endpoint and is not outbound-only
  std::string endpoint;
  absl::Time last_seen;  // default value: unknown
  bool joined = false;
  uint64_t policy_revision = 0;
  std::string policy_stale;  // why nothing flows there now, as its agent said: its law is too old, or its clock is off
};

struct PlannedVersion {
  VersionNumber number = 0;
  absl::Time committed_at;
  uint64_t logical_bytes = 0;
};

struct PlannedDataset {
  DatasetId id;
  std::string name;
  policy::Labels labels;
  std::string home_site;
  std::vector<PlannedVersion> versions;                 // known, ascending
  std::map<std::string, std::set<VersionNumber>> held;  // site -> numbers, the home's too
  // Those of `versions` that the dataset's own retention lets go: who still has one keeps it for a reason of its own
  // (it is pinned, or laid out), and every other site would drop it at once.
  std::set<VersionNumber> expired;
  // Those of them that it lets go as of the newest commit too: a clock that jumped ahead makes nothing one of these.
  std::set<VersionNumber> retired;
  // Site -> the version that it is to show, 0: the newest. Site "": those of which nothing else is said.
  std::map<std::string, VersionNumber> pinned;
  // When the next one after the newest that a site holds (0: that has none) was committed, also where retention took
  // it.
  std::map<VersionNumber, absl::Time> next_commit;
  // At the home and no copy: it has what differs from a version that it gave up (the base), for sites that have the
  // rest.
  std::map<VersionNumber, VersionNumber> partial;  // number -> base
  // Those of `held` of which something is damaged at the home. It is to have them back, and asked for them only where
  // nobody else can be: what is whole of them counts.
  std::set<VersionNumber> damaged;
  VersionNumber home_lacks =
      0;  // the newest, of a home of before, which the home of now cannot commit without; 0: none
  std::map<std::string, std::set<VersionNumber>> foreign;  // replica -> numbers under which it holds another version
  std::map<std::string, std::set<VersionNumber>> broken;  // replica -> numbers that it holds but for what is damaged
  uint32_t drop_after = 0;  // so many other sites must hold what the home gives up; 0: it does not
  // Site -> number -> transfers between the home and that copy; what is missing is not known. The home's are 0.
  std::map<std::string, std::map<VersionNumber, uint32_t>> hops;
  std::string source_problem;
  std::map<std::string, std::string> problems;  // site -> problem of its replica, a sentence
};

enum class Order { kNewestFirst, kInOrder };

struct PlannedTarget {
  enum class Kind { kSite, kRegion, kSelector };
  std::string site;
  std::string region;
  policy::Selector sites;
  Kind kind = Kind::kSite;
  uint32_t copies = 0;  // 0: all that match
};

struct PlannedPolicy {
  std::string name;
  policy::Selector select;
  std::vector<PlannedTarget> to;
  int priority = 2;  // 1 low, 2 normal, 3 high
  Order order = Order::kNewestFirst;
  bool history = true;  // also what is older than the newest
  absl::Duration rpo = absl::InfiniteDuration();
  bool materialize = true;
  std::string purpose;  // what the law is asked with; empty: none
};

struct RunningTransfer {
  std::string transfer_id;
  DatasetId dataset;
  std::string dataset_name;
  VersionNumber version = 0;
  std::string source;
  std::string destination;
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
  bool stalled = false;  // nothing has come for a while, and neither a cap nor its priority is the cause
  int priority = 2;
  bool yields = false;  // to a more urgent one
};

struct PlanInput {
  const policy::World* world = nullptr;  // null: no policy installed, everything is denied
  CompiledLaw* law = nullptr;            // of the world; null: judged rule by rule, slower and with the same answers
  absl::Time now;
  absl::Duration boot;  // monotonic; what backoff counts in
  uint64_t policy_revision = 0;
  std::map<std::string, PlannedSite> sites;  // by name, declared or joined
  std::vector<PlannedDataset> datasets;
  std::vector<PlannedPolicy> policies;
  std::vector<RunningTransfer> running;
};

// Codes of wanted pairs: no-version, current, denied, past-retention, not-joined, not-approved, offline, transferring,
// source-offline, no-route, policy-pending, policy-stale, failed, waiting, starting. Of others: home, no-dataset,
// no-site, no-policy, not-selected, enough-copies.
struct Reason {
  std::string code;
  std::string sentence;
  std::string rule;           // of the law, when it denies
  VersionNumber version = 0;  // the one the sentence is about
  bool satisfied = false;
};

struct Wanted {
  DatasetId dataset;
  std::string dataset_name;
  std::string site;
  int priority = 2;
  Order order = Order::kNewestFirst;
  bool history = false;
  absl::Duration rpo = absl::InfiniteDuration();
  bool materialize = false;
  std::set<std::string> purposes;  // of the policies that want it; any one that the law permits is enough
  Reason reason;
  absl::Duration
      lag;  // age of the oldest version that may lie there, is missing and newer than what it holds; 0: current
  VersionNumber lagging_at = 0;  // that version; 0: current
  bool rpo_breached = false;     // whatever keeps it away, the law too: a policy asked for it
};

struct StartTransfer {
  DatasetId dataset;
  std::string dataset_name;
  VersionNumber version = 0;
  std::string source;
  std::string destination;
  bool receiver_dials = false;  // else the source dials
  uint64_t total_bytes = 0;
  std::string purpose;  // the one that the law permits
  int priority = 2;
};

struct Plan {
  std::vector<Wanted> wanted;        // every desired (dataset, site), sorted by dataset name and site
  std::vector<StartTransfer> start;  // in the order to start them
  std::vector<std::string> replace;  // stalled ones that another source can go on with: end them
  // Of each dataset of which something is damaged at its home: how the newest such version comes back, or why it does
  // not.
  std::map<DatasetId, std::string> healing;
};

class Planner {
 public:
  Plan Run(const PlanInput& input);

  // A transfer of the pair ended. `denied`: one end refused it by law. `boot` as in PlanInput.
  void Failed(DatasetId dataset, const std::string& site, const std::string& message, bool denied, absl::Duration boot);
  void Succeeded(DatasetId dataset, const std::string& site);
  // The source let a transfer of the pair down.
  void Avoid(DatasetId dataset, const std::string& site, const std::string& source, absl::Duration boot);
  void Forgive(const std::string& site);  // whoever let it down: it went away itself
  // The policy changed: everything may be tried again at once.
  void ResetBackoff();
  // The site connected: what goes there, and the datasets that it has, may be tried again at once.
  void ResetBackoff(const std::string& site, const std::set<DatasetId>& has);

  struct Backoff {
    int failures = 0;  // that count towards doubling
    absl::Duration next_boot;
    std::string message;
  };
  using BackoffMap = std::map<std::pair<DatasetId, std::string>, Backoff>;
  using Avoided = std::map<std::tuple<DatasetId, std::string, std::string>, absl::Duration>;  // until when

 private:
  // Whether another source could go on with what stalls.
  bool Replaceable(const PlanInput& input, const PlannedDataset& dataset, const std::set<std::string>& purposes,
                   const RunningTransfer& running) const;

  Avoided avoided_;
  BackoffMap backoff_;  // only of pairs that are wanted, after each Run
};

// For a pair that is not wanted (or unknown): why not. `last`: what was planned last.
Reason NotSelected(const PlanInput& input, const std::string& dataset, const std::string& site, const Plan& last = {});

}  // namespace bailiwick::coordinator
