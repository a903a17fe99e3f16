// Default deny; forbid overrides permit; order never matters. What cannot be evaluated (missing label, unknown region
// or site, expired set, unknown obligation, purpose not given, time zone past its horizon) denies with reason kError:
// it never makes a rule vanish. Where any guardrail rule permits the action, a permit of each tier is needed. Pure and
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
  std::string purpose;  // empty: none; a rule with `purposes` is then an error
};

// A version on its way from one site to another.
struct Flow {
  Labels data;
  std::string from_site;
  std::string to_site;
  std::string purpose;
  std::string home_site;  // of the dataset; when given and not from_site, `transit` is needed too
};

// What a flow is judged by, in this order: transfer, reside and, of a sender that is not the home, transit.
std::vector<Request> RequestsOf(const Flow& flow);

enum class Reason { kPermitted, kForbidden, kNoPermit, kError };

struct RuleOutcome {
  std::string rule;  // "policy/id"
  Effect effect;
  bool applies = false;
  bool error = false;
  std::string failing;  // first failing condition, or the error; empty when it applies
  Tier tier = Tier::kPolicy;
};

struct Decision {
  bool permitted = false;
  Reason reason = Reason::kNoPermit;
  std::string rule;      // the forbid or permit that decided, the rule in error; empty for kNoPermit
  std::string sentence;  // for people
  uint64_t revision = 0;
  Obligations obligations;  // when permitted: of every permit rule that applies, of both tiers, the strictest of each
  std::string retention_rule;  // the one whose max_retention counts; empty: none
  std::string basis;           // legal basis of the permit that decided; may be empty
};

// Fast path: stops at the first decisive rule (errors and forbids first).
Decision Evaluate(const World& world, const Request& request, absl::Time now);

// Between two sites as given, which need not be in the world (move-site: the site before and after); their regions must
// be declared in it.
Decision EvaluateSites(const World& world, const Labels& data, const Site& from, const Site& to, Action action,
                       const std::string& purpose, absl::Time now);

// A copy needs all: may it go, may it lie there and, when the home is not the sender, may the sender send it on. The
// first denial, or the decision about transfer with the obligations of all.
Decision EvaluateReplication(const World& world, const Flow& flow, absl::Time now);

// Only the verdict of EvaluateReplication, without a sentence: for checks over many pairs of sites.
bool PermitsReplication(const World& world, const Flow& flow, absl::Time now);

struct Explanation {
  Decision decision;
  std::vector<RuleOutcome> rules;  // every rule, in name order
  std::string remedy;              // the smallest change that would allow it; empty when permitted
};
Explanation Explain(const World& world, const Request& request, absl::Time now);

const char* ReasonName(Reason reason);  // PERMITTED, FORBIDDEN, NO_PERMIT, ERROR
const char* ActionName(Action action);  // transfer, reside, transit, relabel, move-site

}  // namespace bailiwick::policy
