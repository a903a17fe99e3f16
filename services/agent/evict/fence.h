// What becomes of a copy that the law no longer permits at this site: fenced, then erased, then free again. Pure: facts
// in, the next state and what to do out; no I/O, no clock. The driver (evictor.h) makes the state durable before it
// acts.
//
//   none ──unlawful──▶ fenced ──ordered or nothing whole is here──▶ erasing ──▶ erased ──lawful──▶ none
//    │                   └───────────────lawful──────────────▶ none      └─(rest held)─▶ fenced
//    └──overdue or left behind──▶ retiring ──▶ none
//
// Invariants: erasing and retiring are never left but by their end; what a hold names, what the law only fails to
// judge, and the home's own data are never erased by a fence; a version of an unlawful copy is erased only when the
// coordinator said that it is verified elsewhere; what the law permits is never erased but for a retention that the law
// itself obliges to, or when it is no whole version. A version past its retention is fenced by what may be believed of
// the time and erased by what is known of it, when it lies elsewhere or the law lets it lie at its home no longer
// either.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/rpc/receipt.h"

namespace bailiwick::agent {

// Of the law installed here about a dataset lying here.
struct Verdict {
  bool lawful = true;
  bool judged = true;  // false: it cannot be evaluated, which denies
  std::string reason;  // FORBIDDEN, NO_PERMIT, ERROR
  std::string rule;
  std::string sentence;
  uint64_t revision = 0;
  std::string digest;
  bool certain = true;  // of an unlawful copy: also at the time that is known to have come
  absl::Duration max_retention = absl::InfiniteDuration();   // of a lawful copy, counted from the commit of a version
  absl::Duration home_retention = absl::InfiniteDuration();  // that of the copy at the home
  std::string retention_rule;
};

struct LocalVersion {
  rpc::VersionRef ref;
  absl::Time committed_at;
};

struct Erasure {
  std::string receipt_id;  // 16 bytes
  std::string cause;       // unlawful, max-retention, transfer-stopped
  std::vector<rpc::VersionRef> versions;
  bool everything = false;  // not of what a lawful copy retires: others may be writing to it
  uint64_t bytes_before = 0;
  bool encrypted = false;  // under a data key, which goes first
};

enum class FenceStage { kFenced, kErasing, kErased, kRetiring };

struct Fence {
  FenceStage stage = FenceStage::kFenced;
  std::string reason, rule, sentence;
  uint64_t revision = 0;
  std::string digest;
  absl::Time since;
  std::string hindrance;            // why what should go is still here
  std::set<VersionNumber> held;     // should go, a hold keeps them
  std::set<VersionNumber> waiting;  // past their time; go when they are known to lie elsewhere and the time is known
  Erasure erasure;                  // of kErasing and kRetiring
  // Whether the copy as a whole is out of use.
  bool closed() const { return stage != FenceStage::kRetiring; }
  // Of a copy that is in use: versions of which nothing comes or goes and nothing is laid out.
  std::set<VersionNumber> Withheld() const;
};

struct Facts {
  bool home = false;
  Verdict verdict;
  std::vector<LocalVersion> versions;  // whole ones that are here, ascending
  bool parts = false;                  // something is on the disk that is no whole version, or a tree
  bool left_behind = false;            // parts of a version whose flow the law ended
  std::set<VersionNumber> held;        // by holds; kEveryVersion: all
  std::set<Digest> safe;               // identities that the coordinator says are verified elsewhere
  absl::Time now;                      // what may be believed of the time
  absl::Time known;                    // what is known to have come; not later than `now`
  VersionNumber acknowledged = 0;      // home: the coordinator has stored the versions up to here
  std::string new_receipt_id;
  static constexpr VersionNumber kEveryVersion = 0;
};

struct Step {
  std::optional<Fence> fence;  // the state from now on
  bool record = false;         // it differs from before: durable first, in the audit log first
  bool close = false;          // the copy is out of use from now on: flows end, what is laid out is withdrawn
  bool open = false;           // lawful again: it is laid out anew
  bool erase = false;          // there is an erasure to carry through
  std::string alarm;           // a sentence for people, once: it differs from the one before
  // When what lies here was committed first; the evictor's.
  absl::Time oldest = absl::InfiniteFuture();
};

Step Decide(const std::optional<Fence>& before, const Facts& facts);

// After the erasure was carried through: what is left of the state. Nothing: the copy is free.
std::optional<Fence> AfterErasure(const Fence& fence);

}  // namespace bailiwick::agent
