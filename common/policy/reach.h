// Can data with these labels ever get to a region? Exact, over any number of hops: each hop needs transfer and reside
// from the site that sends to the one that receives; a site that is not the home needs transit from the home to itself
// to send on; the bounds on hops that a copy carries hold for every copy made from it; a relabelling that a rule
// permits at the home changes the labels of all copies (as long as no rule names relabel, it is not followed: then it
// is the step of whoever signs the law). A copy may wait where it lies for a window to open. Obligations about how data
// is stored do not stop it. Pure, deterministic, thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/policy/evaluator.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

struct ReachQuery {
  Labels data;
  std::string to;                      // region subtree
  std::vector<std::string> homes;      // sites, or regions for every site in them; empty: every site outside `to`
  std::optional<std::string> purpose;  // of every flow; unset: any, also none
  absl::Time now;
  bool only_now = false;   // only what holds at `now`; otherwise at any time from then on
  bool any_sites = false;  // also through a site without labels and entity in every region
};

struct ReachStep {
  bool relabel = false;
  std::string from, to;  // sites; of a relabelling both the home
  std::string from_region, to_region;
  Labels data;                     // what it goes as; of a relabelling: the labels after it
  std::vector<std::string> rules;  // "transfer by acme/r1, r2", one an action
  std::string purpose;             // that the step needs; empty: none
  absl::Time at;                   // the first time at which it can happen
};

// One reason for which nothing goes on from where the data can be.
struct ReachCut {
  std::string what;  // "transfer", "reside", "transit", "hops"
  Reason reason = Reason::kNoPermit;
  std::string rule;               // empty: no rule permits it
  size_t pairs = 0;               // of a site that the data reaches and one that it does not
  std::string from, to;           // an example, "site (region)"
  std::vector<std::string> into;  // regions of the sites it keeps out of, sorted
};

struct Reach {
  bool reaches = false;
  bool begins_there = false;      // a home lies in the region: nothing has to move
  std::vector<ReachStep> path;    // the earliest, of those the one with fewest hops
  std::vector<ReachCut> cut;      // when it does not; the most pairs first
  size_t sites = 0, classes = 0;  // looked at; classes: what the law can tell apart
  size_t targets = 0;             // sites in the region
  size_t reached = 0;             // sites where the data can be, homes included, when it does not reach the region
  bool relabel_ruled = false;     // some rule names relabel
};

// NOT_FOUND: a home or the region is not declared. RESOURCE_EXHAUSTED: relabelling is permitted and the rules tell too
// many label sets apart.
absl::StatusOr<Reach> FindReach(const World& world, const ReachQuery& query);

// Label sets that any rule can tell apart, beginning with `like`, each as close to it as can be; RESOURCE_EXHAUSTED
// above `most`.
absl::StatusOr<std::vector<Labels>> LabelSpace(const World& world, const Labels& like, size_t most);

// Purposes that rules name, "" and one that no rule names.
std::vector<std::string> PurposeSpace(const World& world);

}  // namespace bailiwick::policy
