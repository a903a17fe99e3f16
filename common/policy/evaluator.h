// Default deny; forbid overrides permit; order never matters. What cannot be evaluated (missing label, unknown region
// or site, expired set, unknown obligation) denies with reason kError: it never makes a rule vanish. Pure and
// thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

struct Request {
  Labels data;            // labels of the dataset
  std::string from_site;  // as declared in the world
  std::string to_site;
  Action action = Action::kTransfer;
};

enum class Reason { kPermitted, kForbidden, kNoPermit, kError };

struct RuleOutcome {
  std::string rule;  // "policy/id"
  Effect effect;
  bool applies = false;
  bool error = false;
  std::string failing;  // first failing condition, or the error; empty when it applies
};

struct Decision {
  bool permitted = false;
  Reason reason = Reason::kNoPermit;
  std::string rule;      // the forbid or permit that decided, the rule in error; empty for kNoPermit
  std::string sentence;  // for people
  uint64_t revision = 0;
};

// Fast path: stops at the first decisive rule (errors and forbids first).
Decision Evaluate(const World& world, const Request& request, absl::Time now);

// A copy needs both: may it go, and may it lie there.
Decision EvaluateReplication(const World& world, const Labels& data, const std::string& from_site,
                             const std::string& to_site, absl::Time now);

// Only the verdict of EvaluateReplication, without a sentence: for checks over many pairs of sites.
bool PermitsReplication(const World& world, const Labels& data, const std::string& from_site,
                        const std::string& to_site, absl::Time now);

struct Explanation {
  Decision decision;
  std::vector<RuleOutcome> rules;  // every rule, in name order
  std::string remedy;              // the smallest change that would allow it; empty when permitted
};
Explanation Explain(const World& world, const Request& request, absl::Time now);

const char* ReasonName(Reason reason);  // PERMITTED, FORBIDDEN, NO_PERMIT, ERROR
const char* ActionName(Action action);  // transfer, reside, transit, relabel, move-site

}  // namespace bailiwick::policy
